"""How well statements are found: compared with what a person has marked in the texts that the PDFs were made from."""

import re
from collections.abc import Sequence
from pathlib import Path

import pypdfium2

from insights.brief import Brief, check
from insights.find import Kind, Statement
from insights.read import Paper

KINDS = {"c": "claim", "m": "method", "l": "limit", "f": "figure"}
Score = dict[str, tuple[int, int, int]]
"""By kind: how many were found and right, found, and marked."""


def marked(text: Path) -> dict[str, str]:
    """Return the sentences that a person marked in a text, with what each states."""
    lines = [line.partition(" ") for line in text.read_text().splitlines()]
    return {words.strip(): KINDS[mark] for mark, _, words in lines if mark in KINDS}


def scores(paper: Paper, statements: Sequence[Statement], gold: dict[str, str]) -> Score:
    """Return how the statements of a paper compare with those marked."""
    found = {one.quote: one.kind for one in statements if one.paper == paper.label}
    result: Score = {}
    for kind in KINDS.values():
        mine = {quote for quote, what in found.items() if what == kind}
        theirs = {quote for quote, what in gold.items() if what == kind}
        result[kind] = (len(mine & theirs), len(mine), len(theirs))
    return result


def by_section(paper: Paper) -> list[Statement]:
    """Return what a paper states if a sentence is whatever its section is called: the baseline, without any cue."""
    sections: dict[str, Kind] = {"method": "method", "result": "claim", "conclusion": "claim", "limit": "limit"}
    found = []
    for sentence in paper.sentences:
        kind = next((kind for name, kind in sections.items() if name in sentence.heading.lower()), None)
        if kind := "figure" if sentence.is_caption else kind:
            found.append(Statement(paper.label, kind, sentence.text, sentence.page, sentence.heading, 0.0))
    return found


def misplaced(brief: Brief, papers: Sequence[Paper], files: Sequence[Path]) -> list[str]:
    """Return the quotes of a brief that are not on the page named, as PDFium itself reads that page; and `check`'s list.

    This reads the PDFs a second time, in another way than the brief's own check: letters and digits only.
    """
    wrong = check(brief, papers)
    for paper, file in zip(papers, files, strict=True):
        document = pypdfium2.PdfDocument(file)
        pages = [_letters(page.get_textpage().get_text_range()) for page in document]
        document.close()
        mine = [line for line in brief.lines if line.paper == paper.label]
        wrong += [
            f"not on page {one.page}: {one.quote}" for one in mine if _letters(one.quote) not in pages[one.page - 1]
        ]
    return wrong


def _letters(text: str) -> str:
    return re.sub(r"[\W_]+", "", text)
