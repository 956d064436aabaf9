"""Rows from CLINC150: what people ask of an assistant, which of 150 intents it is, or that it is none of them."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

from aigrid.factory.rows import Row, Split

_SPLITS: dict[str, Split] = {"train": "train", "val": "dev", "test": "test"}


def learnt(path: Path) -> Iterator[Row]:
    """Yield the rows to learn and to choose by, in the splits that the authors fixed."""
    yield from (row for row in _rows(path) if row.split != "test")


def unseen(path: Path) -> Iterator[Row]:
    """Yield the rows to be examined on."""
    yield from (row for row in _rows(path) if row.split == "test")


def _rows(path: Path) -> Iterator[Row]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for name, rows in json.load(file).items():
            split = _SPLITS[name.removeprefix("oos_")]
            for text, intent in rows:
                yield Row(text, intent, split=split, meta={"scope": "out" if intent == "oos" else "in"})
