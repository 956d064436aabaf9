"""Markdown: front matter, headings, paragraphs, lists, tables and fences, each with its line."""

import re

from aigrid.knowledge.base import Parsed
from aigrid.knowledge.parse.base import Blocks, Kind, one_line, row

_ATX = re.compile(r"^ {0,3}(#{1,6})(?:[ \t]+(.*?))?(?:[ \t]+#+)?[ \t]*$")
_SETEXT = re.compile(r"^ {0,3}(=+|-{2,})[ \t]*$")
_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})")
_ITEM = re.compile(r"^\s*(?:[-*+]|\d{1,9}[.)])(?:\s|$)")
_RULE = re.compile(r"^ {0,3}([-*_])(?:[ \t]*\1){2,}[ \t]*$")
_TABLE_RULE = re.compile(r"^[ \t]*\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$")
_REFERENCE = re.compile(r"^ {0,3}\[[^\]\n]{1,200}\]:[ \t]+\S+.*$")
_IMAGE = re.compile(r"!\[([^\]\n]{0,500})\](?:\([^()\n]{0,2000}\)|\[[^\]\n]{0,200}\])")
_LINK = re.compile(r"\[([^\[\]\n]{1,500})\](?:\((?:[^()\n]|\([^()\n]{0,500}\)){0,2000}\)|\[[^\]\n]{0,200}\])")
_STRONG = re.compile(r"(\*\*|__)(?=\S)([^*_\n]{1,1000}?)(?<=\S)\1")
_TAG = re.compile(
    r"</?(?:a|abbr|b|br|center|details|div|em|font|h[1-6]|hr|i|img|ins|kbd|li|ol|p|picture|s|small|source|span|strong|"
    r"sub|summary|sup|table|tbody|td|th|thead|tr|u|ul)\b[^<>\n]{0,1000}>",
    re.IGNORECASE,
)
_COMMENT = re.compile(r"<!--[^<>\n]{0,1000}-->")
_ESCAPE = re.compile(r"\\([!-/:-@\[-`{-~])")
_CELL = re.compile(r"(?<!\\)\|")
_FIELD = re.compile(r"""^title\s*[:=]\s*["']?(.*?)["']?\s*$""", re.IGNORECASE | re.MULTILINE)


def parse_markdown(text: str) -> Parsed:
    """Return the blocks of a Markdown text; inline marks are taken away, line numbers are the file's."""
    reader = _Reader(text.split("\n"))
    title = reader.front_matter()
    while reader.at < len(reader.lines):
        reader.block()
    blocks = reader.blocks
    if not title:
        title = next((b.text for b in blocks.found if b.kind == "heading"), "")
    return Parsed(blocks.found, title, "markdown", blocks.notes())


def inline(text: str) -> str:
    """Return Markdown without inline marks: links by their text, no emphasis, no tags; lines stay."""
    if "](" in text or "][" in text:
        text = _LINK.sub(r"\1", _IMAGE.sub(r"\1", text))
    if "**" in text or "__" in text:
        text = _STRONG.sub(r"\2", text)
    if "<" in text:
        text = _TAG.sub("", _COMMENT.sub("", text))
    return _ESCAPE.sub(r"\1", text) if "\\" in text else text


class _Reader:
    def __init__(self, lines: list[str]) -> None:
        self.lines = lines
        self.at = 0
        self.blocks = Blocks()
        closing = (number for number in range(len(lines) - 1, -1, -1) if "-->" in lines[number])
        self.last_closing = next(closing, -1)

    def front_matter(self) -> str:
        """Pass over the front matter, keep it as text, and return the title that it gives."""
        mark = self.lines[0].strip()
        if mark not in ("---", "+++"):
            return ""
        for end in range(1, min(len(self.lines), 200)):
            if self.lines[end].strip() == mark:
                text = "\n".join(self.lines[1:end])
                if ":" not in text and "=" not in text:
                    return ""
                self.blocks.add(text, "text", 2)
                self.at = end + 1
                title = _FIELD.search(text)
                return one_line(title[1]) if title else ""
        return ""

    def block(self) -> None:
        """Read the block that begins at this line."""
        line = self.lines[self.at]
        if not line.strip() or _REFERENCE.match(line):
            self.at += 1
        elif line.lstrip().startswith("<!--") and self.at <= self.last_closing:
            self._comment()
        elif fence := _FENCE.match(line):
            self._fence(fence[1])
        elif heading := _ATX.match(line):
            self.blocks.open(len(heading[1]), inline(heading[2] or ""), self.at + 1)
            self.at += 1
        elif _RULE.match(line):
            self.at += 1
        elif "|" in line and self.at + 1 < len(self.lines) and self._table_rule(self.lines[self.at + 1]):
            self._table()
        elif line.startswith(("    ", "\t")) and not _ITEM.match(line):
            self._indented()
        else:
            self._paragraph()

    def _fence(self, mark: str) -> None:
        start = self.at + 1
        end = start
        while end < len(self.lines):
            closing = _FENCE.match(self.lines[end])
            if closing and closing[1].startswith(mark) and self.lines[end].strip() == closing[1]:
                break
            end += 1
        self._add_lines(start, end, "code")
        self.at = end + 1

    def _comment(self) -> None:
        while "-->" not in self.lines[self.at]:
            self.at += 1
        self.lines[self.at] = self.lines[self.at].partition("-->")[2].lstrip()

    def _table(self) -> None:
        first = self.at
        rows, numbers = [self._cells(self.lines[first])], [first + 1]
        self.at += 2
        while self.at < len(self.lines) and "|" in self.lines[self.at]:
            rows.append(self._cells(self.lines[self.at]))
            numbers.append(self.at + 1)
            self.at += 1
        self.blocks.add("\n".join(rows), "table", lines=tuple(numbers))

    def _paragraph(self) -> None:
        start = self.at
        kind: Kind = "list" if _ITEM.match(self.lines[start]) else "text"
        self.at += 1
        while self.at < len(self.lines):
            line = self.lines[self.at]
            if not line.strip():
                break
            if kind == "text" and (setext := _SETEXT.match(line)):
                self.blocks.open(
                    1 if setext[1][0] == "=" else 2, inline(" ".join(self.lines[start : self.at])), start + 1
                )
                self.at += 1
                return
            if _ATX.match(line) or _FENCE.match(line) or (kind == "text" and _ITEM.match(line) and line[0] in "-*+"):
                break
            self.at += 1
        lines = [re.sub(r"^ {0,3}(?:> ?)+", "", line) for line in self.lines[start : self.at]]
        self.blocks.add(inline("\n".join(lines)), kind, start + 1)

    def _indented(self) -> None:
        start = self.at
        while self.at < len(self.lines):
            line = self.lines[self.at]
            if line.strip() and not line.startswith(("    ", "\t")):
                break
            self.at += 1
        self._add_lines(start, self.at, "code")

    def _add_lines(self, start: int, end: int, kind: Kind) -> None:
        while start < end and not self.lines[start].strip():
            start += 1
        self.blocks.add("\n".join(self.lines[start:end]), kind, start + 1)

    @staticmethod
    def _table_rule(line: str) -> bool:
        return "-" in line and _TABLE_RULE.match(line) is not None

    @staticmethod
    def _cells(line: str) -> str:
        line = line.strip()
        line = line[1:] if line.startswith("|") else line
        line = line[:-1] if line.endswith("|") and not line.endswith("\\|") else line
        return row([one_line(inline(cell)) for cell in _CELL.split(line)])
