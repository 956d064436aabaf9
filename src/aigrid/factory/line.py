"""A line as a person writes it: one YAML file, every key known, every stage and every file found before work begins.

    line: intent-router
    about: what a user wants, of 150 intents, or none of them
    data:
      questions: {file: clinc150_full.json.gz, licence: CC BY 3.0, source: clinc/oos-eval}
    stages:
      - curate: {read: clinc150, from: questions}
      - train: {bar: 0.9, rungs: [nearest, linear]}
      - evaluate: {}
      - pack: {name: intent-router}

Stages run in this order. Each sees the folders of those that it names in `after`; unless it names some, of all before.
"""

import os
import re
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from aigrid.agents.spec_check import no_unknown, unique_keys
from aigrid.core.errors import ConfigError
from aigrid.factory.base import stage

Name = Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9_-]{0,62}$")]


class Data(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file that goes in: where it is, from whom, and under which licence."""

    file: str
    licence: str = ""
    source: str = ""


class Planned(msgspec.Struct, frozen=True):
    """A stage of a line: its name, what it is, its settings, and the stages that it sees."""

    name: str
    use: str
    settings: Any
    after: tuple[str, ...]


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    line: Name
    stages: list[dict[str, dict[str, Any] | None]]
    about: str = ""
    seed: int = 1
    date: str = "1970-01-01"
    data: dict[Name, Data] = {}


class Line(msgspec.Struct, frozen=True):
    """A line that can be run. `date` stands in its packs, so that the same line gives the same bytes."""

    name: str
    about: str
    seed: int
    date: str
    folder: Path
    data: dict[str, Data]
    files: dict[str, Path]
    stages: tuple[Planned, ...]


def load(path: Path, folders: tuple[Path, ...] = ()) -> Line:
    """Read a line: a YAML file, or a folder with a `line.yaml`. Data files are looked for in `folders`, then beside it.

    Raises `ConfigError` that says what is wrong, where, and what to do.
    """
    import yaml

    path = path / "line.yaml" if path.is_dir() else path
    try:
        text = path.read_text()
    except OSError as error:
        hint = "name a blueprint's folder or a line's YAML file"
        raise ConfigError(f"cannot read the line {path}: {error.strerror or error}; {hint}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not a text file") from None
    try:
        raw = yaml.load(text, unique_keys())
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(raw, dict):
        raise ConfigError(f"{path} must be a mapping with `line` and `stages`")
    no_unknown(raw, _File, str(path))
    try:
        file = msgspec.convert(raw, _File, strict=True)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{path}: {error}") from None
    return Line(
        file.line, file.about, file.seed, file.date, path.parent.resolve(), file.data,
        {name: _find(name, data, (*folders, path.parent)) for name, data in file.data.items()},
        _stages(file.stages, path),
    )  # fmt: skip


def _find(name: str, data: Data, folders: tuple[Path, ...]) -> Path:
    expanded = re.sub(r"\$\{(\w+)\}", lambda found: os.environ.get(found[1], found[0]), data.file)
    for folder in folders:
        for candidate in (folder / expanded, *sorted(folder.glob(f"*/{expanded}"))):
            if candidate.is_file():
                return candidate.resolve()
    tried = ", ".join(str(folder) for folder in dict.fromkeys(folders))
    origin = f" It comes from {data.source}." if data.source else ""
    raise ConfigError(
        f"the data `{name}` ({data.file}) is not in {tried}; say where with `--data FOLDER`.{origin}", param=name
    )


def _stages(listed: list[dict[str, dict[str, Any] | None]], path: Path) -> tuple[Planned, ...]:
    planned: list[Planned] = []
    for at, item in enumerate(listed, 1):
        if len(item) != 1:
            raise ConfigError(f"stage {at} in {path} must be one name with its settings, such as `- curate: {{}}`")
        [(name, settings)] = item.items()
        settings = dict(settings or {})
        known = [each.name for each in planned]
        if name in known:
            raise ConfigError(f"two stages in {path} are called `{name}`; give one another name and say `use: {name}`")
        use, after = settings.pop("use", name), settings.pop("after", known)
        where = f"stage `{name}` of {path}"
        if not isinstance(use, str) or not isinstance(after, list):
            raise ConfigError(f"{where}: `use` is a name and `after` a list of names")
        for each in after:
            if each not in known:
                raise ConfigError(f"{where} comes after `{each}`, which is no stage before it", param=f"{name}.after")
        kind = stage(use, str(path)).Settings
        no_unknown(settings, kind, where)
        try:
            made = msgspec.convert(settings, kind, strict=True)
        except msgspec.ValidationError as error:
            raise ConfigError(f"{where}: {error}", param=name) from None
        planned.append(Planned(name, use, made, tuple(after)))
    if not planned:
        raise ConfigError(f"{path} has no stages")
    return tuple(planned)
