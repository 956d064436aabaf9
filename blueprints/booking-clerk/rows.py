"""Rows from Restaurant-8k: what a guest said, and which words of it are which detail of the booking."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

from aigrid.factory.rows import Row


def restaurant8k(path: Path) -> Iterator[Row]:
    """Yield a row for each utterance; what the guest was asked for, if anything, stands in a line before it."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for said in json.load(file):
            text = said["userInput"]["text"]
            asked = sorted(set(said.get("context", {}).get("requestedSlots", [])))
            before = f"asked for {', '.join(asked)}\n" if asked else ""
            values: dict[str, str] = {}
            spans: dict[str, list[int]] = {}
            for label in said.get("labels", []):
                start, end = label["valueSpan"].get("startIndex", 0), label["valueSpan"]["endIndex"]
                if label["slot"] not in values:
                    values[label["slot"]] = text[start:end]
                    spans[label["slot"]] = [len(before) + start, len(before) + end]
            yield Row(before + text, values, meta={"spans": spans})
