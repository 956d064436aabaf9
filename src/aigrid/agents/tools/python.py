"""A Python function as a tool: its signature is the schema, its docstring says what it is for.

A parameter called `idempotency_key` is not the model's: it gets the key of this call, which stays the same when the
call is made again after a crash.
"""

import asyncio
import contextvars
import importlib
import importlib.util
import inspect
import sys
import types
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from aigrid.agents.spec import PythonTool
from aigrid.agents.tools.base import Built, Call, Site, ToolError
from aigrid.core.errors import AigridError, ConfigError

KEY = "idempotency_key"
_loaded: dict[tuple[Path, int], types.ModuleType] = {}


def build(tool: PythonTool, site: Site) -> Built:
    """Load the function; raises `ConfigError` where it cannot be found or its parameters have no types."""
    function = _find(tool.function, site.folder)
    hints = typing.get_type_hints(function, include_extras=True)
    fields: list[Any] = []
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise ConfigError(f"{tool.function} takes `*{name}`; a tool's parameters must each have a name")
        if name == KEY:
            continue
        if name not in hints:
            raise ConfigError(f"the parameter `{name}` of {tool.function} has no type; write `{name}: str` or the like")
        kind = hints[name]
        fields.append((name, kind) if parameter.default is parameter.empty else (name, kind, parameter.default))
    shape = msgspec.defstruct("Arguments", fields, kw_only=True, forbid_unknown_fields=True)
    keyed = KEY in inspect.signature(function).parameters

    async def work(arguments: dict[str, Any], call: Call) -> Any:
        try:
            given = msgspec.structs.asdict(msgspec.convert(arguments, shape))
        except msgspec.ValidationError as error:
            raise ToolError(str(error)) from None
        if keyed:
            given[KEY] = call.idempotency_key
        try:
            if inspect.iscoroutinefunction(function):
                return await function(**given)
            context = contextvars.copy_context()
            return await asyncio.to_thread(context.run, lambda: function(**given))
        except AigridError:
            raise
        except Exception as error:
            raise ToolError(f"{type(error).__name__}: {error}") from error

    about = inspect.getdoc(function) or f"Call {tool.function}."
    return Built(about, _schema(shape), safe_to_retry=False, idempotent=keyed, work=work)


def _schema(shape: type[msgspec.Struct]) -> dict[str, Any]:
    (whole,), parts = msgspec.json.schema_components([shape], ref_template="#/$defs/{name}")
    found = parts.pop("Arguments") if "$ref" in whole else whole
    found.pop("title", None)
    return {**found, **({"$defs": parts} if parts else {})}


def _find(dotted: str, folder: Path) -> Callable[..., Any]:
    module_name, _, name = dotted.rpartition(".")
    if not module_name:
        raise ConfigError(f"`function: {dotted}` must name a module and a function, like `desk.escalate`")
    beside = folder / (module_name.replace(".", "/") + ".py")
    try:
        module = _load(beside) if beside.is_file() else importlib.import_module(module_name)
    except Exception as error:
        raise ConfigError(f"cannot load {module_name} for the tool `{dotted}`: {error}") from error
    function = getattr(module, name, None)
    if not callable(function):
        raise ConfigError(f"{module_name} has no function `{name}`")
    return typing.cast("Callable[..., Any]", function)


def _load(path: Path) -> types.ModuleType:
    """Load a file of an agent's folder under a name of its own, so that two agents may each have a `tools.py`."""
    stamp = (path.resolve(), path.stat().st_mtime_ns)
    if stamp not in _loaded:
        name = f"aigrid_agent_{abs(hash(stamp)):x}"
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
        _loaded[stamp] = module
    return _loaded[stamp]
