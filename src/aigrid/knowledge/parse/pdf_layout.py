"""From the lines of PDF pages to headings, paragraphs, lists and tables."""

import re
import statistics
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise

from aigrid.knowledge.parse.base import Blocks, row

Outline = dict[int, dict[str, int]]
"""For each page (from 0) the headings named in the outline (as `key` makes them) with their level from 1."""

_BULLET = re.compile(r"^(?:[•‣◦▪●○■□–—*·➢]|-|\(?\d{1,3}[.)]|\(?[a-z][.)])\s+\S")
_HYPHENS = "-\xad\u2010"
_CJK = re.compile("[\u3000-\u30ff\u3400-\u9fff\uff00-\uffef\uac00-\ud7a3]")
_ENDS = (".", "!", "?", ":", ";", "。", "！", "？", "：", "”", '."', ".)")
_NOT_KEY = re.compile(r"[\W_]+")
_NUMBERING = re.compile(
    r"^(?:(?:chapter|appendix|section|part)\s+)?(?:[\dA-Z]{1,3}(?:\.\d{1,3})*\.?)\s+", re.IGNORECASE
)
_WORD = re.compile(r"\w+(?:-\w+)*")
_WORD_END = re.compile(r"[^\W\d_]+$")
_WORD_START = re.compile(r"^[^\W\d_]+")
_HEADING_CHARS = 160


@dataclass(frozen=True)
class Line:
    """A line of a page: its text, where it stands (points, from the lower left), and its cells if it has several."""

    text: str
    x0: float
    x1: float
    y: float
    size: float
    bold: bool = False
    cells: list[tuple[float, str]] = field(default_factory=list)

    def beside(self, other: "Line") -> bool:
        """Say whether another line stands to the right of this one, on the same base line."""
        return bool(self.size) and abs(self.y - other.y) < 0.3 * self.size and other.x0 > self.x1

    def joined(self, other: "Line") -> "Line":
        """Return this line with one that stands beside it."""
        apart = other.x0 - self.x1 > self.size
        cells = [*self.cells, *other.cells] if apart else [*self.cells[:-1], *_glued(self.cells[-1], other.cells)]
        return Line(f"{self.text} {other.text}", self.x0, other.x1, self.y, self.size, self.bold, cells)


def _glued(last: tuple[float, str], cells: list[tuple[float, str]]) -> list[tuple[float, str]]:
    return [(last[0], f"{last[1]} {cells[0][1]}"), *cells[1:]]


def key(text: str) -> str:
    """Return a heading without its number, case and punctuation, for comparing."""
    return _NOT_KEY.sub("", _NUMBERING.sub("", text.strip())).casefold()


def assemble(pages: list[list[Line]], outline: Outline) -> Blocks:
    """Return the blocks of a whole document."""
    sizes: Counter[float] = Counter()
    words: Counter[str] = Counter()
    bold = 0
    for lines in pages:
        for line in lines:
            sizes[round(line.size * 2) / 2] += len(line.text)
            bold += len(line.text) if line.bold else 0
            words.update(_WORD.findall(line.text.lower()))
    body = sizes.most_common(1)[0][0] if sizes else 0.0
    larger = sorted((size for size in sizes if size >= 1.12 * body and size > body + 0.9), reverse=True)
    style = _Style(body, {size: rank for rank, size in enumerate(larger[:6], 1)}, bold * 4 < sum(sizes.values()), words)
    blocks = Blocks()
    for number, lines in enumerate(pages):
        blocks.page = number + 1
        _Page(lines, outline.get(number, {}), bool(outline), style, blocks).read()
    return blocks


@dataclass(frozen=True)
class _Style:
    body: float
    levels: dict[float, int]
    bold_stands_out: bool
    words: Counter[str]


class _Page:
    """Reads the lines of one page into blocks."""

    def __init__(
        self, lines: list[Line], outline: dict[str, int], outlined: bool, style: _Style, blocks: Blocks
    ) -> None:
        self.lines = lines
        self.outline = outline
        self.outlined = outlined
        self.style = style
        self.blocks = blocks
        full = [line.x1 for line in lines if len(line.cells) < 2]
        self.margin = max(full) if full else 0.0
        steps = [a.y - b.y for a, b in pairwise(lines) if 0 < a.y - b.y < 3 * max(a.size, 1)]
        self.leading = statistics.median(steps) if steps else 0.0
        self.paragraph: list[Line] = []

    def read(self) -> None:
        """Add the page's blocks."""
        at = 0
        while at < len(self.lines):
            if end := self._table_end(at):
                self._flush()
                self.blocks.add("\n".join(_rows(self.lines[at:end])), "table")
                at = end
                continue
            line = self.lines[at]
            level, used = self._heading(at)
            if level:
                self._flush()
                self.blocks.open(level, " ".join(part.text for part in self.lines[at : at + used]))
                at += used
                continue
            if self.paragraph and self._begins(self.paragraph[-1], line):
                self._flush()
            self.paragraph.append(line)
            at += 1
        self._flush()

    def _heading(self, at: int) -> tuple[int, int]:
        """Return the level of the heading that begins at a line and how many lines it has; (0, 0) for none."""
        line = self.lines[at]
        if len(line.text) > _HEADING_CHARS or not any(c.isalpha() for c in line.text):
            return 0, 0
        if self.outline:
            text = line.text
            for used in (1, 2, 3):
                level = self.outline.get(key(text))
                if level:
                    return level, used
                if at + used >= len(self.lines):
                    break
                text = f"{text} {self.lines[at + used].text}"
        if self.outlined:
            return 0, 0
        level = self.style.levels.get(round(line.size * 2) / 2, 0)
        if level:
            used = 1
            while used < 3 and at + used < len(self.lines) and _same_heading(line, self.lines[at + used], used):
                used += 1
            return level, used
        alone = not self.paragraph or self._begins(self.paragraph[-1], line)
        if line.bold and self.style.bold_stands_out and alone and not line.text.endswith((".", ",", ";")):
            following = self.lines[at + 1] if at + 1 < len(self.lines) else None
            if following is not None and not following.bold and len(line.text) < 100:
                return len(self.style.levels) + 1, 1
        return 0, 0

    def _begins(self, last: Line, line: Line) -> bool:
        """Say whether a line begins a new paragraph after the last one."""
        if not line.size:
            return False
        step = last.y - line.y
        if step < -line.size:  # another column: the sentence may go on there
            return last.text.endswith(_ENDS)
        if step > max(1.35 * self.leading, 1.5 * line.size * 0.8) or abs(last.size - line.size) > 0.15 * line.size:
            return True
        if _BULLET.match(line.text):
            return True
        first = self.paragraph[0]
        if line.x0 > last.x0 + 0.8 * line.size and last.x0 <= first.x0 and not _BULLET.match(first.text):
            return True
        return last.text.endswith(_ENDS) and last.x1 < self.margin - 8 * line.size

    def _flush(self) -> None:
        if not self.paragraph:
            return
        text = self.paragraph[0].text
        for last, line in pairwise(self.paragraph):
            text = self._join(text, last, line)
        self.blocks.add(text, "list" if _BULLET.match(text) else "text")
        self.paragraph = []

    def _join(self, text: str, last: Line, line: Line) -> str:
        """Return a paragraph with one more line: words mended, short lines kept apart."""
        following = line.text
        if text[-1] in _HYPHENS and len(text) > 1:
            before, after = _WORD_END.search(text[:-1]), _WORD_START.match(following)
            if before and after and after[0][0].islower():
                whole, apart = before[0] + after[0], f"{before[0]}-{after[0]}"
                words = self.style.words
                parts = words[before[0].lower()] and words[after[0].lower()]
                if words[apart.lower()] > words[whole.lower()] or (parts and not words[whole.lower()]):
                    return text[:-1] + "-" + following  # a compound: the hyphen belongs to it
                return text[:-1] + following
            return text[:-1] + "-" + following
        if last.size and last.x1 < self.margin - 12 * last.size and not _CJK.match(text[-1]):
            return f"{text}\n{following}"
        if _CJK.match(text[-1]) and _CJK.match(following[0]):
            return text + following
        return f"{text} {following}"

    def _table_end(self, at: int) -> int:
        """Return where the table that begins at a line ends; 0 where none begins."""
        first = self.lines[at]
        if len(first.cells) < 2:
            return 0
        columns = [x for x, _ in first.cells]
        end, full = at + 1, 1
        while end < len(self.lines):
            line = self.lines[end]
            near = 1.2 * max(line.size, 1.0)
            if self.lines[end - 1].y - line.y > 4 * max(line.size, 1.0) or line.y > self.lines[end - 1].y:
                break
            fits = sum(any(abs(x - column) < near for column in columns) for x, _ in line.cells)
            if len(line.cells) < 2:
                if not (fits and line.x0 > columns[0] + near):
                    break
            elif fits * 2 < len(line.cells) or fits < 2:
                break
            else:
                full += 1
                columns.extend(x for x, _ in line.cells if all(abs(x - column) >= near for column in columns))
            end += 1
        while end > at and len(self.lines[end - 1].cells) < 2 and full < 2:
            end -= 1
        return end if full >= 3 or (full == 2 and len(columns) >= 3) else 0


def _same_heading(first: Line, line: Line, used: int) -> bool:
    return abs(line.size - first.size) < 0.3 and 0 < first.y - line.y < (used + 0.5) * 1.6 * first.size


def _rows(lines: list[Line]) -> list[str]:
    """Return the rows of a table; the lines of a cell that was wrapped come together again."""
    columns: list[float] = []
    for line in lines:
        for x, _ in line.cells:
            if all(abs(x - column) > 1.2 * max(line.size, 1.0) for column in columns):
                columns.append(x)
    columns.sort()
    rows: list[list[str]] = []
    for line in lines:
        placed = [""] * len(columns)
        for x, text in line.cells:
            nearest = min(range(len(columns)), key=lambda n: abs(columns[n] - x))
            placed[nearest] = f"{placed[nearest]} {text}".strip()
        if rows and not placed[0] and sum(map(bool, placed)) < max(2, sum(map(bool, rows[-1]))):
            rows[-1] = [f"{above} {text}".strip() for above, text in zip(rows[-1], placed, strict=True)]
        else:
            rows.append(placed)
    return [row(cells) for cells in rows]
