"""Writes the generated parts of the reference: what stands between `<!-- generated:NAME -->` markers.

Settings come from their own descriptions, commands from their own help, and so on: nothing is told twice.
`python docs/generate.py` rewrites the pages; a test compares them with what it would write.
"""

import ast
import inspect
import json
import re
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec
from typer.main import get_command

import aigrid
from aigrid.agents.described import DESCRIBED
from aigrid.cli.app import app
from aigrid.core import errors
from aigrid.core.config import SECTIONS, TABLES, describe
from aigrid.core.errors import AigridError
from aigrid.factory.base import STAGES, stage
from aigrid.gateway import openapi
from aigrid.gateway.metrics import Metrics
from aigrid.ledger import schema

DOCS = Path(__file__).resolve().parent
SOURCE = Path(aigrid.__file__).parent
_JOIN = re.compile(r"(?<!\n)\n(?!\n)")
_MARK = re.compile(r"(<!-- generated:(?P<name>[a-z-]+) -->\n).*?(<!-- /generated:(?P=name) -->)", re.DOTALL)


def row(*cells: Any) -> str:
    """Return one row of a Markdown table."""
    return "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def settings() -> Iterator[str]:
    """Yield every section of `aigrid.toml`."""
    for names, brackets in ((SECTIONS, "[{}]"), (TABLES, "[[{}]]")):
        for name, section in names.items():
            yield f"## `{brackets.format(name)}`\n"
            yield f"{(section.__doc__ or '').strip()}\n"
            yield row("setting", "type", "default", "what it is")
            yield "|---|---|---|---|"
            for key, kind, default, text in describe(section):
                shown = default if default == "required" else f"`{toml(default)}`"
                yield row(f"`{key}`", kind.replace("NoneType", "none"), shown, text)
            yield ""


def toml(default: str) -> str:
    """Return a default as it would be written in `aigrid.toml`; `unset` for none."""
    found = ast.literal_eval(default)
    return "unset" if found is None else json.dumps(found)


def stages() -> Iterator[str]:
    """Yield the stages of lines, with what a line may say about each."""
    for use in STAGES:
        module: Any = stage(use, "the reference")
        yield f"## `{use}`\n"
        yield f"{_JOIN.sub(' ', (module.__doc__ or '').strip())}\n"
        seen: list[Any] = [module.Settings]
        for kind in seen:
            if kind is not module.Settings:
                yield f"### `{use}`: {kind.__name__}\n"
            yield f"{_JOIN.sub(' ', inspect.cleandoc(kind.__doc__ or ''))}\n"
            yield row("setting", "type", "default")
            yield "|---|---|---|"
            hints = get_type_hints(kind)
            for found in msgspec.structs.fields(kind):
                shown = found.default if found.default is not msgspec.NODEFAULT else None
                if found.default_factory is not msgspec.NODEFAULT:
                    shown = found.default_factory()
                required = found.required
                text = "required" if required else f"`{json.dumps(shown)}`" if shown is not None else "–"
                yield row(f"`{found.encode_name}`", _kind(hints[found.name]), text)
                seen += [inner for inner in _structs(hints[found.name]) if inner not in seen]
            yield ""


def _structs(kind: Any) -> Iterator[Any]:
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        yield kind
    for inner in get_args(kind):
        yield from _structs(inner)


def _kind(kind: Any) -> str:
    """Return a type in words."""
    if kind is type(None):
        return "none"
    if get_origin(kind) is Literal:
        return " or ".join(f"`{each}`" for each in get_args(kind))
    inner = [_kind(each) for each in get_args(kind) if each is not ...]
    if get_origin(kind) in (list, tuple):
        return f"list of {inner[0]}"
    if get_origin(kind) is dict:
        return f"{inner[0]} to {inner[1]}"
    if inner:
        return " or ".join(dict.fromkeys(inner))
    return {"str": "text", "int": "whole number", "float": "number", "bool": "yes or no"}.get(
        kind.__name__, kind.__name__
    )


def commands(command: Any = None, path: tuple[str, ...] = ("aigrid",)) -> Iterator[str]:
    """Yield every command with its arguments and options."""
    command = command or get_command(app)
    children = getattr(command, "commands", None)
    if children:
        for name, child in children.items():
            yield from commands(child, (*path, name))
        return
    arguments = [param for param in command.params if param.param_type_name == "argument"]
    usage = " ".join(
        [*path, *(f"[{label(argument)}]" if not argument.required else label(argument) for argument in arguments)]
    )
    yield f"## `{' '.join(path)}`\n"
    yield f"    {usage} [OPTIONS]\n"
    yield _JOIN.sub(" ", command.help.strip()) + "\n"
    yield row("", "default", "what it does")
    yield "|---|---|---|"
    hints = get_type_hints(inspect.unwrap(command.callback))
    for param in command.params:
        if param.name == "help":
            continue
        shown = (
            f"`{label(param)}`" if param.param_type_name == "argument" else ", ".join(f"`{opt}`" for opt in param.opts)
        )
        yield row(shown + value(param, hints), default(param), param.help)
    yield ""


def label(param: Any) -> str:
    """Return how an argument is called in a usage line."""
    return str(param.metavar or param.name.upper())


def value(param: Any, hints: dict[str, Any]) -> str:
    """Return what an option takes, e.g. ` USD` or ` fast|think`; empty for flags and arguments."""
    if param.param_type_name == "argument" or getattr(param, "is_flag", False):
        return ""
    if param.metavar:
        return f" {param.metavar}"
    kinds = [kind for kind in get_args(hints[param.name]) or [hints[param.name]] if kind is not type(None)]
    if all(isinstance(kind, str) for kind in kinds):
        return f" {'|'.join(kinds)}"
    if get_origin(kinds[0]) is Literal:
        return f" {'|'.join(get_args(kinds[0]))}"
    return {int: " N", float: " X"}.get(kinds[0], " TEXT")


def default(param: Any) -> str:
    """Return an option's default as people should read it."""
    shown = getattr(param, "show_default", None)
    if isinstance(shown, str):
        return shown
    if param.required:
        return "required"
    if getattr(param, "is_flag", False) or param.default in (None, "", 0) or callable(param.default):
        return ""
    return f"`{param.default}`"


def endpoints() -> Iterator[str]:
    """Yield every path of the API."""
    yield row("method", "path", "what it does")
    yield "|---|---|---|"
    for path, methods in document()["paths"].items():
        for method, about in methods.items():
            yield row(method.upper(), f"`{path}`", about.get("summary", ""))


def fields() -> Iterator[str]:
    """Yield what each request body may hold."""
    described = document()
    for path, methods in described["paths"].items():
        for method in (each for each in methods.values() if "requestBody" in each):
            (content,) = method["requestBody"]["content"].values()
            shape = content["schema"]  # of a form it stands here, of JSON elsewhere
            if "$ref" in shape:
                shape = described["components"]["schemas"][shape["$ref"].rpartition("/")[2]]
            needed = shape.get("required", [])
            yield f"### `{path}`\n"
            names = [f"**`{field}`**" if field in needed else f"`{field}`" for field in shape["properties"]]
            yield f"{', '.join(names)}\n"


def document() -> dict[str, Any]:
    """Return the published OpenAPI document."""
    found: dict[str, Any] = json.loads(openapi.document(tuple(DESCRIBED)))
    return found


def administration() -> Iterator[str]:
    """Yield the endpoints under `/admin/`, from the docstrings of their handlers."""
    yield row("endpoint", "what it does")
    yield "|---|---|"
    above = [*sorted((SOURCE / "agents").glob("api*.py")), SOURCE / "ran" / "harvest" / "attach.py"]
    for file in [*sorted((SOURCE / "gateway").glob("admin*.py")), *above]:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.AsyncFunctionDef):
                text = ast.get_docstring(node) or ""
                if re.match(r"(GET|POST|PUT|DELETE) /admin/", text):
                    where, _, what = " ".join(text.split()).partition(": ")
                    yield row(f"`{where}`", what)


def metrics() -> Iterator[str]:
    """Yield every metric."""
    yield row("metric", "type", "what it is")
    yield "|---|---|---|"
    still = SimpleNamespace(running=0, waiting=0, lag_s=0.0, engines=[])
    text = Metrics().expose(still).decode()  # type: ignore[arg-type]
    helps = dict(re.findall(r"^# HELP (\S+) (.+)$", text, re.MULTILINE))
    for metric, kind in re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE):
        yield row(f"`{metric}`", kind, helps[metric])


def error_classes() -> list[type[AigridError]]:
    """Return the errors of the one tree that are part of the API."""
    return [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, AigridError)]


def error_types() -> Iterator[str]:
    """Yield every kind of error with its status."""
    yield row("status", "`type`", "`code`", "what it means")
    yield "|---|---|---|---|"
    for kind in sorted(error_classes(), key=lambda kind: kind.status):
        text = " ".join((kind.__doc__ or "").partition("\n\n")[0].split())
        yield row(kind.status, f"`{kind.type}`", f"`{kind.default_code}`" if kind.default_code else "", text)


def special_codes() -> dict[str, str]:
    """Return the codes given where an error is raised, or by a class of a part, and the class of that error."""
    found: dict[str, str] = {}
    kinds = {kind.__name__ for kind in error_classes()}
    for file in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in kinds:
                for keyword in node.keywords:
                    if keyword.arg == "code" and isinstance(keyword.value, ast.Constant) and keyword.value.value:
                        found[str(keyword.value.value)] = node.func.id
            if isinstance(node, ast.ClassDef) and file != Path(errors.__file__):
                bases = {base.id for base in node.bases if isinstance(base, ast.Name)} & kinds - {"AigridError"}
                for line in node.body if bases else []:
                    match line:
                        case ast.Assign([ast.Name("default_code")], ast.Constant(code)):
                            found[str(code)] = bases.pop()
    return dict(sorted(found.items()))


def error_codes() -> Iterator[str]:
    """Yield the codes that are more exact than their class."""
    yield row("`code`", "status")
    yield "|---|---|"
    for code, kind in special_codes().items():
        yield row(f"`{code}`", getattr(errors, kind).status)


def tables() -> Iterator[str]:
    """Yield the ledger's tables with their columns."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    schema.migrate(connection)
    names = [found[0] for found in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    for table in names:
        columns = [f"`{column[1]}`" for column in connection.execute(f"PRAGMA table_info({table})")]
        yield f"**`{table}`**: {', '.join(columns)}\n"
    connection.close()


BLOCKS: dict[str, Callable[[], Iterator[str]]] = {
    "settings": settings,
    "stages": stages,
    "commands": commands,
    "endpoints": endpoints,
    "fields": fields,
    "administration": administration,
    "metrics": metrics,
    "error-types": error_types,
    "error-codes": error_codes,
    "tables": tables,
}


def fill(text: str) -> str:
    """Return a page with its generated blocks written anew."""

    def write(match: re.Match[str]) -> str:
        lines = "\n".join(BLOCKS[match["name"]]()).rstrip()
        return f"{match[1]}\n{lines}\n\n{match[3]}"

    return _MARK.sub(write, text)


def main() -> None:
    """Rewrite every page."""
    for page in sorted(DOCS.rglob("*.md")):
        old = page.read_text()
        if (new := fill(old)) != old:
            page.write_text(new)
            print(f"rewrote {page.relative_to(DOCS.parent)}")


if __name__ == "__main__":
    main()
