"""What a set of rows asks for: labels, slots or text."""

from collections import Counter
from collections.abc import Sequence

from aigrid.core.errors import BadRequest
from aigrid.factory.ladder.base import Task
from aigrid.factory.rows import Row


def of(rows: Sequence[Row], kind: str = "") -> Task:
    """Return the task of training rows; raises `BadRequest` where they ask for different things, or not for `kind`.

    Outputs that are objects are slots. Texts are labels where each is the answer of two rows or more, on average.
    """
    found = _of(rows, kind)
    if kind not in ("", found.kind):
        raise BadRequest(f"the line says that the task is `{kind}`, but the outputs of its rows are {found.kind}")
    return found


def _of(rows: Sequence[Row], kind: str) -> Task:
    if not rows:
        raise BadRequest("there are no rows to train on: the stage before left none in the split `train`")
    objects = sum(isinstance(row.output, dict) for row in rows)
    if objects == len(rows):
        return Task("slots", tuple(sorted({name for row in rows for name in row.output})))
    other = next((row for row in rows if not isinstance(row.output, str)), None)
    if other is not None:
        raise BadRequest(
            f"the row {other.id} has the output {other.output!r}; all outputs must be texts, or all of them objects"
        )
    counts = Counter(row.output for row in rows)
    labels = kind == "label" or (not kind and 2 * len(counts) <= len(rows))
    return Task("label", tuple(sorted(counts))) if labels else Task("text")
