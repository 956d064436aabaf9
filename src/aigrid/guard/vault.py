"""Personal data replaced by tokens such as `<EMAIL_1>`, which only the owner of the key can turn back.

The vault is one file: what each token stands for, encrypted with AES-256-GCM (NIST SP 800-38D) under the owner's key. The
same value has the same token everywhere in one vault, so that texts stay consistent and joins still work.
"""

import json
import os
import re
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from aigrid.core.config import home
from aigrid.core.errors import ConfigError
from aigrid.guard.pii import KINDS, find

_TOKEN = re.compile(r"<[A-Z]+_[0-9]+>")
_LITERAL = "TEXT"
"""The kind of what looks like a token and was in the text before."""
_HEADER = b"aigrid vault 1\n"


def owner_key(path: Path | None = None) -> bytes:
    """Return the owner's key, 32 bytes; made on first use, for the owner's eyes only.

    It is `keys/pii.key` in AIGRID_HOME unless `path` names another. Whoever loses it loses what the vaults hold.
    """
    path = path or home() / "keys" / "pii.key"
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(AESGCM.generate_key(256))
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        pass
    except OSError as error:
        raise ConfigError(f"cannot write the key {path}: {error.strerror}") from error
    key = path.read_bytes()
    if len(key) != 32:
        raise ConfigError(f"{path} is no key: it has {len(key)} bytes, not 32; restore it from a backup")
    return key


class Vault:
    """Replaces personal data and restores it. Use as a context, or call `save`: until then tokens are not on disk."""

    def __init__(self, path: Path, key: bytes, kinds: Iterable[str] = KINDS) -> None:
        """Open the vault at `path`, or begin one; raises `ConfigError` where `key` does not open it."""
        self.path = path
        self._cipher = AESGCM(key)
        self._kinds = tuple(kinds)
        self._values: dict[str, str] = {}
        if path.exists():
            self._values = self._read()
        self._tokens = {(token[1 : token.rindex("_")], value): token for token, value in self._values.items()}
        self._counts: dict[str, int] = {}
        for kind, _ in self._tokens:
            self._counts[kind] = self._counts.get(kind, 0) + 1

    def __enter__(self) -> "Vault":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.save()

    def __len__(self) -> int:
        return len(self._values)

    def replace(self, text: str) -> str:
        """Return a text with tokens for its personal data. `restore` of the result is the text, for every text."""
        parts = []
        at = 0
        for begin, end in [*((found.start(), found.end()) for found in _TOKEN.finditer(text)), (len(text), len(text))]:
            parts.append(self._replace(text[at:begin]))
            if begin < end:
                parts.append(self._token(_LITERAL, text[begin:end]))
            at = end
        return "".join(parts)

    def _replace(self, text: str) -> str:
        parts: list[str] = []
        at = 0
        for span in find(text, self._kinds):
            parts += (text[at : span.start], self._token(span.kind, text[span.start : span.end]))
            at = span.end
        return "".join((*parts, text[at:]))

    def _token(self, kind: str, value: str) -> str:
        token = self._tokens.get((kind, value))
        if token is None:
            self._counts[kind] = self._counts.get(kind, 0) + 1
            token = self._tokens[kind, value] = f"<{kind}_{self._counts[kind]}>"
            self._values[token] = value
        return token

    def restore(self, text: str) -> str:
        """Return a text with what its tokens stand for; tokens that are not of this vault stay."""
        return _TOKEN.sub(lambda token: self._values.get(token[0], token[0]), text)

    def save(self) -> None:
        """Write the vault, whole or not at all."""
        nonce = os.urandom(12)
        sealed = self._cipher.encrypt(nonce, json.dumps(self._values).encode(), _HEADER)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = self.path.with_name(self.path.name + ".part")
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(_HEADER + nonce + sealed)
            file.flush()
            os.fsync(file.fileno())
        part.replace(self.path)

    def _read(self) -> dict[str, str]:
        data = self.path.read_bytes()
        begin = len(_HEADER)
        try:
            if not data.startswith(_HEADER):
                raise InvalidTag
            plain = self._cipher.decrypt(data[begin : begin + 12], data[begin + 12 :], _HEADER)
        except (InvalidTag, ValueError):
            raise ConfigError(
                f"{self.path} cannot be opened: this is not its key, or the file was changed; "
                "the key is keys/pii.key in the AIGRID_HOME that made it"
            ) from None
        values: dict[str, str] = json.loads(plain)
        return values
