"""Scores of one answer, from 0 to 1: the same for the ladder, the evaluation and the gate."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from aigrid.core.errors import ConfigError
from aigrid.factory.rows import Row, canonical
from aigrid.factory.sources import function

Metric = Callable[[Any, Row], float]
"""Takes an answer and the row that it answers."""


def exact(answer: Any, row: Row) -> float:
    """1 where the answer is the wanted one, space and case aside for text."""
    if isinstance(row.output, str):
        return float(" ".join(str(answer).casefold().split()) == " ".join(row.output.casefold().split()))
    return float(canonical(_parsed(answer)) == canonical(row.output))


def slots(answer: Any, row: Row) -> float:
    """1 where every slot is there with the wanted value and no other is: exact match of the whole call."""
    wanted = {key: str(value).casefold().strip() for key, value in row.output.items()}
    said = _parsed(answer)
    found = {key: str(value).casefold().strip() for key, value in said.items()} if isinstance(said, dict) else None
    return float(found == wanted)


METRICS: dict[str, Metric] = {"exact": exact, "label": exact, "slots": slots}


def metric(name: str, folder: Path) -> Metric:
    """Return a metric by name, or a blueprint's own by `file.py:function`."""
    if name in METRICS:
        return METRICS[name]
    if ":" not in name:
        raise ConfigError(f"no metric `{name}`; there are {', '.join(METRICS)}, or `file.py:function`", param="metric")
    return function(name, folder)


def _parsed(answer: Any) -> Any:
    if not isinstance(answer, str):
        return answer
    try:
        return msgspec.json.decode(answer)
    except (msgspec.DecodeError, UnicodeError):
        return answer
