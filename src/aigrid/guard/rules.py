"""What a site lets in and out: the policy of `[guard]`, and what it finds in a text.

A finding is named by what it is (`attack`, `EMAIL`, `denied`), never by the text that it was found in.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import msgspec

from aigrid.core.config import Config, GuardConfig
from aigrid.core.errors import ConfigError, Refused
from aigrid.guard import pii
from aigrid.ledger.base import Key

if TYPE_CHECKING:
    from aigrid.guard.classifier import Guard

Where = Literal["input", "output"]


class Finding(NamedTuple):
    """What was found and what is to be done about it."""

    what: str
    action: Literal["flag", "refuse"]


class Rules:
    """One policy, ready to use: what it wants of texts that come in and of those that go out."""

    def __init__(self, config: GuardConfig, guard: "Guard | None") -> None:
        """Read a policy; raises `ConfigError` that names the setting which cannot be meant."""
        self.config = config
        self._guard = guard
        self._deny = [_pattern(each, "guard.deny") for each in config.deny]
        self._allow = [_pattern(each, "guard.allow") for each in config.allow]
        self._schema = _schema(Path(config.output_schema)) if config.output_schema else None
        unknown = set(config.pii_kinds) - set(pii.KINDS)
        if unknown:
            known = ", ".join(pii.KINDS)
            raise ConfigError(f"guard.pii_kinds has {sorted(unknown)[0]!r}; known: {known}", param="guard.pii_kinds")

    def active(self, where: Where) -> bool:
        """Say whether anything is looked for in what goes that way."""
        config = self.config
        if where == "input":
            return config.input != "off" or config.pii_input != "off" or (bool(self._deny) and config.denied != "off")
        return config.pii_output != "off" or (bool(self._deny) and config.denied != "off") or bool(config.output_schema)

    def holds_back(self) -> bool:
        """Say whether an answer has to be whole before any of it is sent: it might be refused."""
        config = self.config
        return (
            config.pii_output == "refuse"
            or bool(self._deny and config.denied == "refuse")
            or bool(config.output_schema)
        )

    def masks(self, where: Where) -> bool:
        """Say whether personal data is replaced in what goes that way."""
        return (self.config.pii_input if where == "input" else self.config.pii_output) == "mask"

    def look(self, text: str, where: Where, trusted: bool = False) -> Iterator[Finding]:
        """Yield what a text holds.

        What the site's own programs say, and what an answer has beside its text, is `trusted`: it is no attack, and
        need not be what a schema wants. With `mask`, personal data is no finding: it does not get through.
        """
        config = self.config
        if config.denied != "off" and any(pattern.search(text) for pattern in self._deny):
            yield Finding("denied", config.denied)
        action = config.pii_input if where == "input" else config.pii_output
        if action in ("flag", "refuse"):
            for kind in sorted({span.kind for span in pii.find(text, config.pii_kinds)}):
                yield Finding(kind, action)
        if where == "output" and not trusted and self._schema is not None and not conforms(text, self._schema):
            yield Finding("schema", "refuse")
        if where == "input" and not trusted and config.input != "off" and self._guard is not None:
            allowed = any(pattern.fullmatch(text) for pattern in self._allow)
            if not allowed and self._guard.check(text).score > config.threshold:
                yield Finding("attack", config.input)

    def personal(self, text: str) -> list[pii.Span]:
        """Return the personal data in a text that counts here."""
        return pii.find(text, self.config.pii_kinds)

    def mask(self, text: str) -> tuple[str, list[str]]:
        """Return a text with `<KIND>` for personal data, and the kinds that were found."""
        spans = self.personal(text)
        parts: list[str] = []
        at = 0
        for span in spans:
            parts += (text[at : span.start], f"<{span.kind}>")
            at = span.end
        return "".join((*parts, text[at:])), [span.kind for span in spans]


_SAID = {
    "attack": "what looks like an attempt to override the model's instructions",
    "denied": "what this site does not allow",
    "schema": "something else than the JSON that this site promises",
}


def refusal(found: Iterable[Finding], where: Where) -> Refused:
    """Return the error that says what was found, without repeating it."""
    names = sorted({finding.what for finding in found if finding.action == "refuse"})
    listed = ", ".join(_SAID.get(name, f"personal data ({name})") for name in names)
    side = "the request" if where == "input" else "the answer"
    code = "content_refused" if where == "input" else "answer_refused"
    return Refused(f"{side} was refused: it holds {listed}; rephrase it, or ask who runs this site", code=code)


def rules_of(config: Config, key: Key, guard: "Guard | None") -> Rules:
    """Return the policy for a key: `[guard]`, with what the first fitting `[[guards]]` says otherwise."""
    policy = config.guard
    for other in config.guards:
        if other.tenant in ("*", key.tenant) and other.key in ("*", key.id, key.name):
            changes = {name: value for name in _CHANGEABLE if (value := getattr(other, name)) is not None}
            policy = msgspec.structs.replace(policy, **changes)
            break
    return Rules(policy, guard)


_CHANGEABLE = ("input", "pii_input", "pii_output", "denied")


def _pattern(text: str, where: str) -> re.Pattern[str]:
    try:
        return re.compile(text, re.IGNORECASE | re.DOTALL)
    except re.error as error:
        raise ConfigError(f"{where} has {text!r}, which is no regular expression: {error}", param=where) from None


def _schema(path: Path) -> dict[str, Any]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except (OSError, msgspec.DecodeError) as error:
        raise ConfigError(
            f"guard.output_schema: {path} is no JSON schema: {error}", param="guard.output_schema"
        ) from None


def conforms(text: str, schema: dict[str, Any]) -> bool:
    """Say whether a text is JSON that a schema allows (JSON Schema; needs the extra `agents`)."""
    from jsonschema import Draft202012Validator

    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError):
        return False
    return bool(Draft202012Validator(schema).is_valid(value))
