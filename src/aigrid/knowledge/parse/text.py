"""Plain text: paragraphs between blank lines, underlined and numbered headings, lists."""

import re

from aigrid.knowledge.base import Parsed
from aigrid.knowledge.parse.base import Blocks, one_line

_RULE = re.compile(r"^([=\-~^*#\"'+])\1{2,}$")
_NUMBERED = re.compile(r"^(\d{1,3}(?:\.\d{1,3}){0,4})\.? +[^\W\d_][^\n]{0,90}[^\s.,;:]$")
_BULLET = re.compile(r"^\s{0,8}(?:[-*+•‣◦・]|\d{1,3}[.)])\s+\S")
_TITLE_CHARS = 120


def parse_text(text: str) -> Parsed:
    """Return the paragraphs of a plain text, each with its line."""
    blocks = Blocks()
    underlines: list[str] = []  # in the order in which they first appeared: the first is the outermost
    for line, lines in paragraphs(text):
        while lines and _rule(lines[0]):
            lines, line = lines[1:], line + 1
        if len(lines) > 1 and _underlined(lines):
            mark = lines[1].strip()[0]
            if mark not in underlines:
                underlines.append(mark)
            blocks.open(1 + underlines.index(mark), lines[0], line)
            lines, line = lines[2:], line + 2
        elif len(lines) == 1 and (depth := _heading_depth(lines[0])):
            blocks.open(depth, lines[0], line)
            continue
        if lines:
            blocks.add("\n".join(lines), "list" if _BULLET.match(lines[0]) else "text", line)
    title = next((b.text for b in blocks.found if b.kind == "heading"), "")
    return Parsed(blocks.found, title or _first_line(blocks), "text", blocks.notes())


def paragraphs(text: str) -> list[tuple[int, list[str]]]:
    """Return the runs of lines between blank lines, each with the number of its first line (from 1)."""
    found: list[tuple[int, list[str]]] = []
    run: list[str] = []
    for number, line in enumerate(text.split("\n"), 1):
        if line and not line.isspace():
            run.append(line.rstrip())
        elif run:
            found.append((number - len(run), run))
            run = []
    if run:
        found.append((number - len(run) + 1, run))
    return found


def _rule(line: str) -> bool:
    return _RULE.match(line.strip()) is not None


def _underlined(lines: list[str]) -> bool:
    title, rule = lines[0].strip(), lines[1].strip()
    return _rule(rule) and 0 < len(title) <= _TITLE_CHARS and len(rule) >= min(len(title) // 2, 3) and "|" not in title


def _heading_depth(line: str) -> int:
    """Return the level of a line that stands alone and looks like a heading, otherwise 0."""
    if line[0].isspace() or len(line) > _TITLE_CHARS:
        return 0
    if numbered := _NUMBERED.match(line):
        return 2 + numbered[1].count(".")
    if line.isupper() and len(line) <= 60 and line[-1] not in ".,;" and sum(map(str.isalpha, line)) >= 3:
        return 2
    return 0


def _first_line(blocks: Blocks) -> str:
    """Return the first line where it reads as a title: short, and followed by more."""
    if len(blocks.found) < 2:
        return ""
    first = one_line(blocks.found[0].text.split("\n")[0])
    return first if len(first) <= 80 and blocks.found[0].text.count("\n") == 0 and first[-1:] not in ".,;:" else ""
