"""Keys: secrets are made here, kept nowhere but as their SHA-256, and found in memory."""

import hashlib
import secrets
import string
from collections.abc import Callable, Iterable

from aigrid.core.clock import SECOND, mono_ns
from aigrid.ledger.base import Key

PREFIX = "sk-aigrid-"
_ALPHABET = string.ascii_letters + string.digits
_LENGTH = 40
_UNKNOWN_KEPT = 4096
_RECENT = 4096
_UNKNOWN_FOR_NS = 2 * SECOND


def new_secret() -> str:
    """Return a new secret: `sk-aigrid-` and 40 letters and digits (238 bits)."""
    return PREFIX + "".join(secrets.choice(_ALPHABET) for _ in range(_LENGTH))


def digest(secret: str) -> bytes:
    """Return the SHA-256 of a secret, all that is kept of it."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


class KeyRing:
    """All keys by digest and id, and for a short while the digests that no key has.

    Secrets that were good are remembered while no key changes, so that a hash is not taken for each request.
    """

    def __init__(self, mono: Callable[[], int] = mono_ns) -> None:
        self.by_id: dict[str, Key] = {}
        self._by_digest: dict[bytes, Key] = {}
        self._unknown: dict[bytes, int] = {}
        self._recent: dict[str, Key] = {}
        self._mono = mono

    def authenticate(self, secret: str) -> Key | None:
        """Return the live key of a secret, None if there is none here."""
        key = self._recent.get(secret)
        if key is None:
            key = self._by_digest.get(digest(secret))
            if key is None or key.revoked_ns is not None:
                return None
            if len(self._recent) >= _RECENT:
                self._recent.clear()
            self._recent[secret] = key
        return key

    def put(self, changed: Iterable[tuple[bytes, Key]]) -> None:
        """Take in new or changed keys."""
        for hashed, key in changed:
            self._by_digest[hashed] = key
            self.by_id[key.id] = key
            self._unknown.clear()
            self._recent.clear()

    def worth_asking(self, secret: str) -> bool:
        """Return whether the database could know a secret that is not here: well formed, and not asked just now."""
        if not secret.startswith(PREFIX):
            return False
        hashed = digest(secret)
        return hashed not in self._by_digest and self._unknown.get(hashed, 0) <= self._mono()

    def unknown(self, secret: str) -> None:
        """Remember for two seconds that no key has this secret."""
        if len(self._unknown) >= _UNKNOWN_KEPT:
            self._unknown.clear()
        self._unknown[digest(secret)] = self._mono() + _UNKNOWN_FOR_NS
