"""Where rows come from: JSON Lines, CSV, Parquet, chats, what people rated, what agents answered, a blueprint's reader.

Every reader says which row of which file it cannot use; nothing is skipped silently.
"""

import csv
import gzip
import importlib.util
import inspect
import io
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import msgspec

from aigrid.core.errors import BadRequest, ConfigError
from aigrid.factory.base import Job
from aigrid.factory.ratings import lessons
from aigrid.factory.rows import Row, Split

Kind = Literal["jsonl", "csv", "parquet", "chat", "feedback", "runs", "ratings"]


OWN = ("feedback", "runs", "ratings")
"""Kinds that are no files: what happened in this factory."""


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Rows of one kind. `read` is a kind, or `file.py:function` of the blueprint: a function of a path that yields rows.

    `data` names one of the line's files (`feedback`, `runs` and `ratings` need none: they are this factory's own). `input` and
    `output` are the fields or columns to take; `split` fixes where all these rows go. With `evaluate` they are never
    trained on, and no row that is may share text with them.
    """

    read: str = "jsonl"
    data: str = ""
    input: str = "input"
    output: str = "output"
    split: Split = ""
    evaluate: bool = False


def rows(source: Source, job: Job) -> Iterator[Row]:
    """Yield the rows of a source; raises `BadRequest` with file and line where one is unusable."""
    name = source.data or source.read
    for at, found in enumerate(_found(source, job), 1):
        row = found if isinstance(found, Row) else _row(found, source, f"{name}:{at}")
        changes: dict[str, Any] = {"origin": row.origin or name, "group": row.group}
        if source.split or source.evaluate:
            changes["split"] = source.split or "test"
        yield msgspec.structs.replace(row, **changes)


def own(line: str, found: Iterable[Source]) -> Iterator[Any]:
    """Yield all rows of this factory's own that sources read."""
    for source in found:
        match source.read:
            case "feedback":
                from aigrid.agents.feedback import training

                yield from training()
            case "runs":
                yield from _runs()
            case "ratings":
                yield from lessons(line)


def _found(source: Source, job: Job) -> Iterable[Any]:
    if source.read in OWN:
        return own(job.about["line"], [source])
    match source.read:
        case "jsonl" | "chat":
            return _lines(job.file(source.data))
        case "csv":
            return _csv(job.file(source.data))
        case "parquet":
            return _parquet(job.file(source.data))
        case _:
            reader = function(source.read, job.folder)
            paths = [job.file(source.data)] if source.data else []
            found: Iterable[Any] = reader(*paths)
            return found


def function(name: str, folder: Path) -> Callable[..., Any]:
    """Return a blueprint's function by `file.py:function`; raises `ConfigError` where there is none."""
    file, _, wanted = name.partition(":")
    path = folder / file
    if not wanted or not path.is_file():
        kinds = ", ".join(Kind.__args__)  # type: ignore[attr-defined]
        raise ConfigError(f"`{name}` is neither one of {kinds} nor a `file.py:function` beside the line", param="read")
    key = f"aigrid_blueprint_{folder.name.replace('-', '_')}_{path.stem}"
    spec = importlib.util.spec_from_file_location(key, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[key] = module
    spec.loader.exec_module(module)
    if not inspect.isfunction(getattr(module, wanted, None)):
        raise ConfigError(f"{path} has no function `{wanted}`", param="read")
    chosen: Callable[..., Any] = getattr(module, wanted)
    return chosen


def _row(found: Any, source: Source, where: str) -> Row:
    if not isinstance(found, dict):
        raise BadRequest(f"{where} is no object: {str(found)[:80]}")
    if "messages" in found:
        return _chat(found, where)
    if source.input not in found:
        named = ", ".join(f"`{key}`" for key in list(found)[:10])
        raise BadRequest(f"{where} has no `{source.input}` (it has {named}); say which field with `input:`")
    text = found[source.input]
    if not isinstance(text, str):
        raise BadRequest(f"{where}: `{source.input}` is no text: {str(text)[:80]}")
    meta = {key: value for key, value in found.items() if key not in (source.input, source.output, "split", "group")}
    split = found.get("split", "")
    if split not in ("train", "dev", "test", ""):
        raise BadRequest(f"{where}: the split is `{split}`; it must be train, dev or test")
    return Row(text, found.get(source.output), split=split, group=str(found.get("group", "")), meta=meta)


def _chat(found: dict[str, Any], where: str) -> Row:
    """Return the last answer of a chat, with all that came before it as input."""
    messages = found["messages"]
    usable = isinstance(messages, list) and len(messages) > 1 and all(isinstance(each, dict) for each in messages)
    if not usable or messages[-1].get("role") != "assistant":
        raise BadRequest(f"{where}: `messages` must be a list that ends with what the assistant answered")
    turns = [(str(each.get("role")), each.get("content")) for each in messages]
    if not all(isinstance(content, str) for _, content in turns):
        raise BadRequest(f"{where}: `content` of every message must be text")
    asked = [content for role, content in turns[:-1] if role == "user"]
    single = len(asked) == 1 and len(turns) <= 3
    text = asked[0] if single else "\n".join(f"{role}: {content}" for role, content in turns[:-1])
    meta = {key: value for key, value in found.items() if key != "messages"}
    return Row(str(text), turns[-1][1], meta=meta)


def _open(path: Path) -> io.BufferedReader | gzip.GzipFile:
    return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")


def _lines(path: Path) -> Iterator[Any]:
    with _open(path) as file:
        for at, line in enumerate(file, 1):
            if line.strip():
                try:
                    yield msgspec.json.decode(line)
                except (msgspec.DecodeError, UnicodeDecodeError) as error:
                    raise BadRequest(f"{path}:{at} is not JSON: {error}") from None


def _csv(path: Path) -> Iterator[dict[str, Any]]:
    with io.TextIOWrapper(_open(path), encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        try:
            for row in reader:
                if None in row or None in row.values():
                    raise BadRequest(f"{path}:{reader.line_num} has not as many fields as the heading")
                yield dict(row)
        except csv.Error as error:
            raise BadRequest(f"{path}:{reader.line_num} is not CSV: {error}") from None
        except UnicodeDecodeError:
            raise BadRequest(f"{path} is not UTF-8; save it as UTF-8") from None


def _parquet(path: Path) -> Iterator[dict[str, Any]]:
    from pyarrow import ArrowInvalid
    from pyarrow.parquet import ParquetFile

    try:
        for batch in ParquetFile(path).iter_batches():
            yield from batch.to_pylist()
    except ArrowInvalid as error:
        raise BadRequest(f"{path} is not Parquet: {error}") from None


def _runs() -> Iterator[dict[str, Any]]:
    """Yield what the agents of this factory were asked and answered, of runs that finished."""
    from aigrid.agents import shelf
    from aigrid.agents.views import run_view

    for place in shelf.places():
        run, steps = run_view(place)
        if run.outcome is not None and run.outcome.state == "done" and run.outcome.output:
            task = steps[0].body["task"]["text"]
            said = [{"role": "user", "content": task}, {"role": "assistant", "content": run.outcome.output}]
            yield {"messages": said, "agent": run.agent, "run": run.run}
