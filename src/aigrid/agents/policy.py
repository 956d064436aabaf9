"""What an agent may do, decided outside its model: which tools, with which arguments, and what may never leave."""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, best_match

from aigrid.agents.digest import canonical
from aigrid.agents.spec import Guard, Rule
from aigrid.agents.spec_check import check_pattern
from aigrid.core.errors import ConfigError

BLANK = "[withheld]"


class Refused(Exception):
    """A call that is not allowed; the message says why, for the model and the journal."""


class Policy:
    """The rules of one tool: its schema as the model sees it, and the check of what the model then says."""

    def __init__(
        self, name: str, schema: dict[str, Any], rules: Mapping[str, Rule], unless: Mapping[str, Rule], guard: Guard,
        folder: Path,
    ) -> None:  # fmt: skip
        self._name = name
        self._folder = folder
        self._rules = dict(rules)
        self._unless = dict(unless)
        self._never = [check_pattern(each, "guard.never_send") for each in guard.never_send]
        self._fixed = {at: rule.fixed for at, rule in rules.items() if rule.fixed is not msgspec.UNSET}
        properties = schema.get("properties") or {}
        for at, rule in (*rules.items(), *unless.items()):
            if at.partition(".")[0] not in properties:
                known = ", ".join(properties) or "none"
                raise ConfigError(f"tools.{name} has a rule for the argument `{at}`; its arguments are: {known}")
            if rule.pattern is not None:
                check_pattern(rule.pattern, f"tools.{name}.arguments.{at}.pattern")
            if rule.fixed is not msgspec.UNSET and "." in at:
                raise ConfigError(f"tools.{name}.arguments.{at}: only a whole argument can be `fixed`")
        # Arguments with rules must be given: a default of the tool's own would pass by them.
        ruled = {at.partition(".")[0] for at in rules}
        shown = {at: kind for at, kind in properties.items() if at not in self._fixed}
        wanted = dict.fromkeys([*schema.get("required", ()), *(at for at in properties if at in ruled)])
        self.schema: dict[str, Any] = {
            **{key: value for key, value in schema.items() if key in ("$defs", "definitions", "description")},
            "type": "object",
            "properties": {at: _narrowed(kind, rules.get(at)) for at, kind in shown.items()},
            "required": [at for at in wanted if at not in self._fixed],
            "additionalProperties": False,
        }
        whole = {**self.schema, "properties": shown}
        try:
            Draft202012Validator.check_schema(whole)
        except SchemaError as error:
            raise ConfigError(f"the arguments of tools.{name} have no valid JSON schema: {error.message}") from None
        self._validator = Draft202012Validator(whole)

    def check(self, arguments: Any) -> dict[str, Any]:
        """Return the arguments to call with, those that are fixed among them; raises `Refused`."""
        if not isinstance(arguments, dict):
            raise Refused("the arguments must be a JSON object")
        error = best_match(self._validator.iter_errors(arguments))
        if error is not None:
            where = f"{error.json_path.removeprefix('$.')}: " if error.json_path != "$" else ""
            raise Refused(f"{where}{error.message[:300]}")
        for at, rule in self._rules.items():
            if at not in self._fixed:
                for path, value in _values(arguments, at.split(".")):
                    if why := _broken(rule, value, self._folder):
                        raise Refused(f"{path} {why}")
        if at := leak(arguments, self._never):
            raise Refused(f"the arguments hold what may not leave (a text like `{at}`)")
        return {**arguments, **self._fixed}

    def asks(self, arguments: dict[str, Any]) -> bool:
        """Return whether these arguments are beyond what goes without a person's approval."""
        return any(
            _broken(rule, value, self._folder)
            for at, rule in self._unless.items()
            for _, value in _values(arguments, at.split(".")) or [(at, None)]
        )


def leak(value: Any, never: list[re.Pattern[str]]) -> str:
    """Return the pattern that a text somewhere in a value matches; empty where none does."""
    if not never:
        return ""
    joined = "".join(_texts(value, names=False))  # one secret may be told in pieces
    texts = [*_texts(value, names=True), joined, canonical(value).decode()]
    return next((each.pattern for each in never if any(each.search(text) for text in texts)), "")


def blanked(text: str, guard: Guard) -> str:
    """Return a text without what may not leave."""
    for pattern in guard.never_send:
        text = re.sub(pattern, BLANK, text)
    return text


def _texts(value: Any, names: bool) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, item in value.items():
            if names:
                yield str(name)
            yield from _texts(item, names)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item, names)


def _values(value: Any, path: list[str], at: str = "") -> list[tuple[str, Any]]:
    """Return what stands at a path (`*` is each item), with where it stands; what is not there breaks no rule."""
    if not path:
        return [(at, value)]
    first, *rest = path
    if first == "*":
        items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        return [found for name, item in items for found in _values(item, rest, f"{at}.{name}")]
    if isinstance(value, dict) and first in value:
        return _values(value[first], rest, f"{at}.{first}" if at else first)
    return []


def _broken(rule: Rule, value: Any, folder: Path) -> str:
    """Return how a value breaks a rule, as the end of a sentence; empty where it does not."""
    if rule.enum is not None and not any(type(each) is type(value) and each == value for each in rule.enum):
        return f"must be one of {', '.join(map(repr, rule.enum))}"
    if rule.minimum is not None or rule.maximum is not None:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return "must be a number"
        if rule.minimum is not None and not value >= rule.minimum:
            return f"must be at least {rule.minimum:g}"
        if rule.maximum is not None and not value <= rule.maximum:
            return f"must be at most {rule.maximum:g}"
    if rule.max_length is not None and (not isinstance(value, str | list) or len(value) > rule.max_length):
        return f"must have at most {rule.max_length:,} characters or items"
    if (rule.pattern, rule.prefix, rule.inside, rule.hosts) == (None, None, None, None):
        return ""
    if not isinstance(value, str):
        return "must be a text"
    if rule.pattern is not None and not re.fullmatch(rule.pattern, value):
        return f"must match `{rule.pattern}`"
    if rule.prefix is not None and not value.startswith(rule.prefix):
        return f"must begin with `{rule.prefix}`"
    if rule.inside is not None and not _inside(value, folder, rule.inside):
        return f"must be a path inside `{rule.inside}`, without `..`"
    if rule.hosts is not None and not _named(value, rule.hosts):
        return f"must be an https address at {', '.join(rule.hosts)}"
    return ""


def _inside(value: str, folder: Path, inside: str) -> bool:
    """Return whether a path, from the agent's folder like all paths in its file, stays in a part of it, links resolved.

    `..` is refused wherever it leads: a tool may begin from another folder than is thought here.
    """
    if "\x00" in value or ".." in Path(value).parts:
        return False
    root, place = os.path.realpath(folder / inside), os.path.realpath(folder / value)
    return os.path.commonpath([root, place]) == root


def _named(value: str, hosts: list[str]) -> bool:
    try:
        parts = urlsplit(value)
        named, port = parts.hostname, parts.port
    except ValueError:
        return False
    plain = parts.username is None and parts.password is None and not re.search(r"[\s\\\x00-\x1f]", value)
    return parts.scheme == "https" and named in hosts and port in (None, 443) and plain


def _narrowed(schema: Any, rule: Rule | None) -> Any:
    """Return an argument's schema with what its rule adds, as far as a schema can say it."""
    if rule is None or not isinstance(schema, dict):
        return schema
    more = {"enum": rule.enum, "minimum": rule.minimum, "maximum": rule.maximum, "pattern": rule.pattern}
    if rule.max_length is not None:
        more["maxItems" if schema.get("type") == "array" else "maxLength"] = rule.max_length
    if rule.prefix is not None and rule.pattern is None:
        more["pattern"] = f"^{re.escape(rule.prefix)}.*$"
    return {**schema, **{key: value for key, value in more.items() if value is not None}}
