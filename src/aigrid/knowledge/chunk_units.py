"""Units: the pieces of a source that chunking does not cut, and the plain text that they stand in."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from aigrid.knowledge.base import Block
from aigrid.knowledge.language import estimate_tokens, sentence_spans

_HEADER_TOKENS = 60
_NUMBER = re.compile(r"^[-+]?[\d.,:/% ]+$")
_ENDS = (".", "!", "?", "…", "。", "！", "？", ")", "”", '"')
_BREAK = re.compile(r"[\s、，。,;；|/]")


@dataclass(frozen=True, slots=True)
class Unit:
    """A piece of the plain text with its place. `block` numbers the block that it is of."""

    start: int
    end: int
    tokens: int
    kind: str
    block: int
    heading: tuple[str, ...]
    page: int | None
    line: int | None
    last_line: int | None
    leads: bool = False
    """Whether it only makes sense with what follows: a heading, or a short line such as `For example:`."""


def units_of(blocks: list[Block], target: int) -> tuple[str, list[Unit]]:
    """Return the plain text of blocks and the units in it, none much longer than `target` tokens."""
    parts: list[str] = []
    units: list[Unit] = []
    at = 0
    last: Block | None = None
    for number, block in enumerate(blocks):
        if not block.text.strip():
            continue
        for piece, rows in _pieces(block, target):
            between = "" if last is None else _between(last, block)
            parts += (between, piece)
            at += len(between)
            seen = row = 0  # how far lines have been counted, and to which
            for start, end in _spans(piece, block.kind, target):
                first_row = row + piece.count("\n", seen, start)
                seen, row = end, first_row + piece.count("\n", start, end)
                first, final = _lines(block, first_row, row, rows)
                text, kind = piece[start:end], block.kind
                leads = kind == "heading" or (kind == "text" and len(text) < 80 and not text.endswith(_ENDS))
                place = (block.heading, block.page, first, final, leads)
                units.append(Unit(at + start, at + end, estimate_tokens(text), kind, number, *place))
            at += len(piece)
            last = block
    return "".join(parts), units


def _between(last: Block, block: Block) -> str:
    return "\n" if last is block or (last.kind == block.kind == "list") else "\n\n"


def _pieces(block: Block, target: int) -> Iterator[tuple[str, list[int]]]:
    """Yield the text of a block: whole, or a long table in parts that each begin with its header.

    With each part of a table comes which row of the table each of its lines is.
    """
    if block.kind != "table" or estimate_tokens(block.text) <= target:
        yield block.text, []
        return
    rows = block.text.split("\n")
    header = rows[0]
    cost = estimate_tokens(header)
    repeat = cost <= min(_HEADER_TOKENS, target // 3) and not any(_NUMBER.match(cell) for cell in header.split(" | "))
    part: list[int] = []
    size = 0
    for number, row in enumerate(rows):
        tokens = estimate_tokens(row) + 1
        if part and size + tokens > target:
            yield "\n".join(rows[n] for n in part), part
            part, size = ([0], cost) if repeat else ([], 0)
        part.append(number)
        size += tokens
    yield "\n".join(rows[n] for n in part), part


def _lines(block: Block, first: int, last: int, rows: list[int]) -> tuple[int | None, int | None]:
    """Return the lines in the file of the first and last line of a piece, which has these rows of a table."""
    if block.line is None and not block.lines:
        return None, None
    if rows:
        if first == 0 < last and rows[1] > 1:  # a repeated header is not where this part stands
            first = 1
        first, last = rows[first], rows[last]
    return _line(block, first), _line(block, last)


def _line(block: Block, number: int) -> int:
    if block.lines:
        return block.lines[min(number, len(block.lines) - 1)]
    return (block.line or 1) + number


def _spans(text: str, kind: str, target: int) -> Iterator[tuple[int, int]]:
    """Yield the spans of a piece that are kept whole."""
    if estimate_tokens(text) <= target or kind == "heading":
        yield 0, len(text)
    elif kind in ("table", "code"):
        yield from _line_spans(text, target)
    else:
        for start, end in sentence_spans(text):
            yield from _cut(text, start, end, target)


def _line_spans(text: str, target: int) -> Iterator[tuple[int, int]]:
    """Yield runs of lines of up to half the target, ended at blank lines where there are some."""
    begin = at = size = 0
    for line in text.split("\n"):
        tokens = estimate_tokens(line) + 1
        if at > begin and (size + tokens > target // 2 or (size > target // 6 and not line.strip())):
            yield from _cut(text, begin, at - 1, target)
            begin, size = at, 0
        at += len(line) + 1
        size += tokens
    yield from _cut(text, begin, len(text), target)


def _cut(text: str, start: int, end: int, target: int) -> Iterator[tuple[int, int]]:
    """Yield a span without the blank lines around it; in parts, cut at white space, where it is too long."""
    while start < end and text[start] == "\n":
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    while start < end and estimate_tokens(text[start : min(end, start + 8 * target)]) > target:
        size = _fitting(text, start, end, target)
        at = start + size
        for back in range(at, start + size // 2, -1):
            if _BREAK.match(text[back - 1]):
                at = back
                break
        yield start, at
        start = at
    if start < end:
        yield start, end


def _fitting(text: str, start: int, end: int, target: int) -> int:
    """Return how many characters from `start` make about `target` tokens."""
    low, high = 1, min(end - start, 8 * target)
    while low < high:
        middle = (low + high + 1) // 2
        if estimate_tokens(text[start : start + middle]) <= target:
            low = middle
        else:
            high = middle - 1
    return low
