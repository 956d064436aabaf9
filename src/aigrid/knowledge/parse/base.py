"""What every parser shares: the refusal, cleaning of text, and blocks that collect under headings."""

import re
import unicodedata
from typing import Literal

from aigrid.core.errors import BadRequest
from aigrid.knowledge.base import Block

Kind = Literal["text", "heading", "table", "code", "list"]

MAX_CHARS = 20_000_000
"""The most text that is kept of one file; what follows is left out, and the notes say so."""

MAX_CELLS = 2_000_000
"""The most cells that are read of one table or workbook."""

# Control characters but tab and newline, soft hyphens, zero-width spaces, marks that reorder text, byte-order marks,
# lone surrogates, and the invisible tag characters: none is text, and several hide text from people.
_DROPPED = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\xad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff\ufff9-\uffff"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
_SPACES = re.compile("[\x0b\x0c\x85\xa0\u2028\u2029]")


class Unreadable(BadRequest):
    """A file cannot be read as text; the message is a sentence without subject, such as `it is empty`."""

    default_code = "unreadable_file"


def clean(text: str) -> str:
    """Return text in NFC without control or invisible characters; lines stay where they are."""
    if text.isascii() and text.isprintable():
        return text
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = _SPACES.sub(" ", _DROPPED.sub("", text))
    return text if text.isascii() or unicodedata.is_normalized("NFC", text) else unicodedata.normalize("NFC", text)


def one_line(text: str) -> str:
    """Return text with every run of white space made one space."""
    return " ".join(text.split())


def row(cells: list[str]) -> str:
    """Return a row of a table as one line: cells separated by ` | `; empty where all cells are."""
    return " | ".join(cells).rstrip() if any(cells) else ""


class Blocks:
    """Collects the blocks of a file in reading order, and the headings that they stand under."""

    def __init__(self, above: tuple[str, ...] = (), page: int | None = None) -> None:
        self.found: list[Block] = []
        self.page = page
        self.full = False
        self._above = above
        self._open: list[tuple[int, str]] = []
        self._chars = 0

    @property
    def heading(self) -> tuple[str, ...]:
        """The path of headings that the next block stands under."""
        return self._above + tuple(text for _, text in self._open)

    def add(self, text: str, kind: Kind = "text", line: int | None = None, lines: tuple[int, ...] = ()) -> None:
        """Add a block; white space around it does not count, and nothing is added for nothing."""
        text = clean(text)
        if line is not None or lines:
            text = text.rstrip()
        else:
            text = text.strip("\n").rstrip() if kind == "code" else text.strip()
        if text and not self.full:
            self._keep(
                Block(text, kind, self.heading, self.page, line if line else (lines[0] if lines else None), lines)
            )

    def open(self, level: int, text: str, line: int | None = None) -> None:
        """Add a heading of a level (1 is outermost); what follows stands under it."""
        text = one_line(clean(text))
        if not text or self.full:
            return
        self.close(level)
        if len(text) <= 300:
            self._open.append((level, text))
            path = self.heading
        else:
            path = (*self.heading, text[:300])
        self._keep(Block(text, "heading", path, self.page, line))

    def close(self, level: int) -> None:
        """Leave every heading of this level or deeper."""
        while self._open and self._open[-1][0] >= level:
            self._open.pop()

    def extend(self, blocks: list[Block]) -> None:
        """Add blocks as they are."""
        for block in blocks:
            if self.full:
                return
            self._keep(block)

    def notes(self) -> list[str]:
        """Return what was left out, in words."""
        return [f"only the first {MAX_CHARS:,} characters were read"] if self.full else []

    def _keep(self, block: Block) -> None:
        self._chars += len(block.text)
        if self._chars > MAX_CHARS:
            self.full = True
            room = len(block.text) - (self._chars - MAX_CHARS)
            if room > 0:
                self.found.append(Block(block.text[:room], block.kind, block.heading, block.page, block.line))
        else:
            self.found.append(block)
