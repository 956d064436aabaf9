"""Rows: the examples that flow through a line, as JSON Lines.

`input` is what a worker is given, `output` what it should answer (text, or JSON). `parents` are the ids of the rows
that a row was made from, `origin` says by what. The id follows from the content, so equal rows have equal ids.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from aigrid.core.errors import BadRequest, ConfigError

Split = Literal["train", "dev", "test", ""]


class Row(msgspec.Struct, omit_defaults=True, frozen=True):
    """One example. `meta` is what a blueprint keeps with it, `group` what must stay in one split."""

    input: str
    output: Any = None
    id: str = ""
    split: Split = ""
    group: str = ""
    origin: str = ""
    parents: tuple[str, ...] = ()
    meta: dict[str, Any] = {}

    @property
    def text(self) -> str:
        """The output as text: as it is, or as canonical JSON."""
        return self.output if isinstance(self.output, str) else canonical(self.output)


def canonical(value: Any) -> str:
    """Return a value as JSON that equal values share."""
    return msgspec.json.encode(value, order="sorted").decode()


def named(row: Row) -> Row:
    """Return the row with its id."""
    if row.id:
        return row
    key = canonical([row.input, row.output, row.origin])
    return msgspec.structs.replace(row, id=hashlib.sha256(key.encode()).hexdigest()[:16])


def write(path: Path, rows: Iterable[Row]) -> int:
    """Write rows, each with its id; returns how many."""
    encoder = msgspec.json.Encoder(order="deterministic")
    count = 0
    with path.open("wb") as file:
        for row in rows:
            file.write(encoder.encode(named(row)) + b"\n")
            count += 1
    return count


def read(path: Path, *splits: Split) -> list[Row]:
    """Read the rows of a file (or of `rows.jsonl` in a folder), of some splits only where they are named."""
    return [row for row in each(path) if not splits or row.split in splits]


def each(path: Path) -> Iterator[Row]:
    """Yield the rows of a file; raises `BadRequest` with the line that is none."""
    path = path / "rows.jsonl" if path.is_dir() else path
    decoder = msgspec.json.Decoder(Row)
    with path.open("rb") as file:
        for at, line in enumerate(file, 1):
            if line.strip():
                try:
                    yield decoder.decode(line)
                except (msgspec.DecodeError, UnicodeDecodeError) as error:
                    raise BadRequest(f"{path}:{at} is no row: {error}") from None


def newest(inputs: Mapping[str, Path]) -> Path:
    """Return the folder of the last stage that left rows; raises `ConfigError` where none did."""
    for folder in reversed(list(inputs.values())):
        if (folder / "rows.jsonl").is_file():
            return folder
    raise ConfigError("no stage before this one leaves rows: begin the line with `curate`")
