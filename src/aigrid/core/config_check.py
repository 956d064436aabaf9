"""What no type says about the settings: names that are used as names, numbers that are numbers."""

import math
import unicodedata
from typing import TYPE_CHECKING, Any

import msgspec

from aigrid.core.errors import ConfigError

if TYPE_CHECKING:
    from aigrid.core.config import Config


def check(config: "Config") -> None:
    """Raise `ConfigError` that names the first setting which cannot be meant."""
    _check_numbers(msgspec.to_builtins(config), "")
    _check_name(config.site.id, "site.id")
    taken = {config.site.id: "site.id"}
    for i, upstream in enumerate(config.upstreams):
        where = f"upstreams[{i}].name"
        _check_name(upstream.name, where)
        if upstream.name in taken:
            raise ConfigError(
                f"{where} is `{upstream.name}`, and so is {taken[upstream.name]}; each place needs a name of its own",
                param=where,
            )
        taken[upstream.name] = where


def _check_numbers(value: Any, at: str) -> None:
    if isinstance(value, dict):
        for name, item in value.items():
            _check_numbers(item, f"{at}.{name}" if at else name)
    elif isinstance(value, list):
        for i, item in enumerate(value):
            _check_numbers(item, f"{at}[{i}]")
    elif isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{at} is {value}; it must be a finite number", param=at)


def _check_name(name: str, where: str) -> None:
    """Refuse what cannot stand in a file name, a header and the ledger."""
    bad = next((char for char in name if char in "/\\" or unicodedata.category(char).startswith("C")), None)
    if bad is not None or ".." in name or not name.strip():
        why = f"it holds {bad!r}" if bad else "it holds `..`" if name.strip() else "it is empty"
        raise ConfigError(f"{where} is {name!r}, which cannot be a name: {why}", param=where)
