"""What no type says about an agent's file: unknown keys with the nearest known one, keys that stand there twice."""

import difflib
import functools
import re
from typing import TYPE_CHECKING, Any, Union, get_args, get_origin

import msgspec

from aigrid.core.errors import ConfigError

if TYPE_CHECKING:
    from yaml import SafeLoader


def no_unknown(data: Any, kind: Any, where: str, at: str = "") -> None:
    """Raise `ConfigError` for the first key that `kind` does not know."""
    if get_origin(kind) is dict and isinstance(data, dict):
        for name, item in data.items():
            no_unknown(item, get_args(kind)[1], where, f"{at}.{name}" if at else str(name))
        return
    struct = _struct(kind, data, where, at)
    if struct is None or not isinstance(data, dict):
        return
    fields = {field.encode_name: field.type for field in msgspec.structs.fields(struct)}
    tag = struct.__struct_config__.tag_field
    known = [*fields, *([tag] if tag else [])]
    for key, item in data.items():
        path = f"{at}.{key}" if at else str(key)
        if key not in known:
            raise ConfigError(f"unknown key `{path}` in {where}{_hint(str(key), known)}", param=path)
        if key in fields:
            no_unknown(item, fields[key], where, path)


def check_pattern(pattern: str, at: str) -> re.Pattern[str]:
    """Return a pattern compiled; raises `ConfigError` that says where it stands."""
    try:
        return re.compile(pattern)
    except re.error as error:
        raise ConfigError(f"{at} is `{pattern}`, which is no regular expression: {error}", param=at) from None


def _struct(kind: Any, data: Any, where: str, at: str) -> type[msgspec.Struct] | None:
    """Return the Struct that a value is meant to be: of several with a tag, the one it names."""
    options = [each for each in _flat(kind) if isinstance(each, type) and issubclass(each, msgspec.Struct)]
    if len(options) < 2 or not isinstance(data, dict):
        return options[0] if options else None
    tags = {str(each.__struct_config__.tag): each for each in options}
    named = data.get(str(options[0].__struct_config__.tag_field))
    if named not in tags:
        field = f"{at}.{options[0].__struct_config__.tag_field}"
        raise ConfigError(f"`{field}` in {where} is {named!r}{_hint(str(named), list(tags))}", param=field)
    return tags[named]


def _flat(kind: Any) -> list[Any]:
    if get_origin(kind) in (Union, type(int | str)):
        return [each for one in get_args(kind) for each in _flat(one)]
    return [kind]


def _hint(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"; did you mean `{near[0]}`?" if near else f"; known: {', '.join(sorted(known))}"


@functools.cache
def unique_keys() -> "type[SafeLoader]":
    """Return YAML's safe loader, less keys that stand twice: the second would silently undo the first."""
    import yaml

    class Loader(yaml.SafeLoader):  # type: ignore[misc]
        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            seen: set[Any] = set()
            for key_node, _ in node.value:
                key = self.construct_object(key_node, deep=True)
                if isinstance(key, list | dict):
                    raise yaml.constructor.ConstructorError(None, None, "a key must be a word", key_node.start_mark)
                if key in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key `{key}` stands twice", key_node.start_mark
                    )
                seen.add(key)
            return super().construct_mapping(node, deep)

    return Loader
