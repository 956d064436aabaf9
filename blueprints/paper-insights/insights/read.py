"""PDFs as sentences with their pages. Files are parsed in a process that can open nothing and connect nowhere."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from aigrid.knowledge.base import Parsed
from aigrid.knowledge.language import sentence_spans
from aigrid.knowledge.sandbox import Sandbox

_CAPTION = re.compile(r"(Figure|Fig\.|Table)\s+(\d+)[.:]\s+\S")
_END = re.compile(r"^\W*(references|bibliography|acknowledge?ments?|literature)\b", re.IGNORECASE)


class BadPaper(Exception):
    """A file cannot be read as a paper; the message names it and says why."""


@dataclass(frozen=True)
class Sentence:
    """One sentence as it stands on a page (from 1) of a paper, under a heading."""

    text: str
    page: int
    heading: str

    @property
    def is_caption(self) -> bool:
        """Whether it is the caption of a figure or table."""
        return _CAPTION.match(self.text) is not None


@dataclass(frozen=True)
class Paper:
    """A paper: `label` is what the brief calls it, `pages` the text of each page as it was read."""

    label: str
    file: str
    title: str
    sentences: tuple[Sentence, ...]
    pages: tuple[str, ...]

    def holds(self, quote: str, page: int) -> bool:
        """Return whether a quote stands on a page, word for word; white space aside."""
        return 0 < page <= len(self.pages) and bool(quote.split()) and _flat(quote) in _flat(self.pages[page - 1])


def read(paths: Iterable[Path]) -> list[Paper]:
    """Return the papers, in order, labelled A, B, C …; raises `BadPaper`."""
    with Sandbox(workers=1) as sandbox:
        papers = []
        for number, path in enumerate(paths):
            parsed = sandbox.parse(path)
            if not isinstance(parsed, Parsed):
                raise BadPaper(f"{path}: {parsed.reason}")
            if parsed.kind != "pdf":
                raise BadPaper(f"{path}: it is {parsed.kind}, not a PDF")
            papers.append(paper_of(_label(number), path.name, parsed))
    if not papers:
        raise BadPaper("no paper was named; name PDF files, or a folder that holds some")
    return papers


def paper_of(label: str, file: str, parsed: Parsed) -> Paper:
    """Return a parsed PDF as a paper; what follows its references is left out of its sentences, not of its pages."""
    sentences: list[Sentence] = []
    pages = [""] * max((block.page or 1 for block in parsed.blocks), default=1)
    ended = False
    for block in parsed.blocks:
        page = block.page or 1
        pages[page - 1] += block.text + "\n"
        heading = block.heading[-1] if block.heading else ""
        ended = ended or (block.kind == "heading" and _END.match(block.text) is not None)
        if block.kind in ("text", "list") and not ended:
            sentences += [Sentence(text, page, heading) for text in _sentences(block.text)]
    return Paper(label, file, parsed.title, tuple(sentences), tuple(pages))


def _sentences(text: str) -> list[str]:
    """Return the sentences of a block; a caption is one, whatever its full stops."""
    if _CAPTION.match(text):
        return [_flat(text)]
    return [_flat(text[start:end]) for start, end in sentence_spans(text)]


def _flat(text: str) -> str:
    return " ".join(text.split())


def _label(number: int) -> str:
    return chr(ord("A") + number) if number < 26 else f"P{number + 1}"
