"""The pages of the documentation and what stands in them."""

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
_FENCE = re.compile(r"^```(?P<info>[^\n]*)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE)


class Block(NamedTuple):
    """A fenced block of a page."""

    page: Path
    info: str
    text: str

    @property
    def id(self):
        return f"{self.page.relative_to(ROOT)}: {self.text.splitlines()[0][:40]}"


def blocks(info, pages=PAGES):
    return [
        Block(page, found["info"], found["text"])
        for page in pages
        for found in _FENCE.finditer(page.read_text())
        if found["info"].split()[:1] == [info]
    ]


def prose(page):
    """A page without its fenced blocks."""
    return _FENCE.sub("", page.read_text())
