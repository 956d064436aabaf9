"""The brief: one page of Markdown in which every statement names the page that it stands on; written, then checked."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from aigrid.knowledge.support import bears_out
from insights.compare import best, pairs
from insights.find import Kind, Statement
from insights.read import Paper

PAGE_WORDS = 600
"""What fits on one printed page with its table."""
_CITED = re.compile(r"^(?P<text>.+?) \[(?P<paper>[A-Z]\d*), p\. (?P<page>\d+)\]$")
_NUMBER = re.compile(r"\d+(?:[.,:]\d+)*")

Condense = Callable[[str], str]
"""Returns a sentence in fewer words."""


@dataclass(frozen=True)
class Line:
    """A statement of the brief: its words, and the quote and page that they stand on."""

    text: str
    quote: str
    paper: str
    page: int

    @property
    def cited(self) -> str:
        """The statement with its citation."""
        return f"{self.text} [{self.paper}, p. {self.page}]"


@dataclass(frozen=True)
class Brief:
    """A brief: its Markdown, and the statements in it. `offered` and `taken` count what a model wrote and what passed."""

    markdown: str
    lines: tuple[Line, ...]
    offered: int = 0
    taken: int = 0


def write(papers: Sequence[Paper], statements: Sequence[Statement], condense: Condense | None = None) -> Brief:
    """Write the brief; with less and less of each paper until it fits on a page."""
    known: dict[str, str] = {}
    for claims in (4, 3, 2, 1):
        brief = _write(papers, statements, claims, condense, known)
        if len(brief.markdown.split()) <= PAGE_WORDS:
            break
    return brief


def _write(
    papers: Sequence[Paper],
    statements: Sequence[Statement],
    claims: int,
    condense: Condense | None,
    known: dict[str, str],
) -> Brief:
    lines: list[Line] = []

    def say(one: Statement) -> str:
        text = one.quote
        if condense is not None:
            known[text] = known[text] if text in known else " ".join(condense(text).split())
            if faithful(known[text], one.quote):
                text = known[text]
        lines.append(Line(text, one.quote, one.paper, one.page))
        return lines[-1].cited

    def chosen(paper: Paper, kind: Kind, count: int) -> list[Statement]:
        return best(statements, paper.label, kind, count)

    made = ["# Brief", "", f"{len(papers)} papers. Each statement stands on the page named behind it."]
    made += ["", "## Papers", "", *(f"- {paper.label}: {paper.title} ({paper.file})" for paper in papers)]
    made += ["", "## What they claim", ""]
    made += [f"- {say(one)}" for paper in papers for one in chosen(paper, "claim", claims)]
    if both := pairs(statements, 3):
        made += ["", "## Where they speak of the same thing", ""]
        for pair in both:
            made += [f"- {say(pair.one)}", f"  - {say(pair.other)}"]
    made += ["", "## Beside each other", "", f"| | {' | '.join(paper.label for paper in papers)} |"]
    made.append("|---" * (len(papers) + 1) + "|")
    for name, kind, count in (("what was done", "method", 2), ("limits", "limit", 1), ("figures", "figure", 1)):
        cells = ["<br>".join(say(one).replace("|", "\\|") for one in chosen(paper, kind, count)) for paper in papers]
        made.append(f"| {name} | {' | '.join(cell or '–' for cell in cells)} |")
    taken = {line.quote for line in lines if line.text != line.quote}
    offered = {line.quote for line in lines} if condense is not None else set()
    return Brief("\n".join(made) + "\n", tuple(lines), len(offered), len(taken))


def faithful(text: str, quote: str) -> bool:
    """Return whether a model's words may stand for a quote: it bears them out, and none of its figures is missing."""
    shorter = 3 <= len(text.split()) < len(quote.split()) and "\n" not in text and text.endswith(".")
    same = set(_NUMBER.findall(text)) == set(_NUMBER.findall(quote))
    return shorter and same and not _CITED.match(text) and bears_out(quote, text, "")


def check(brief: Brief, papers: Sequence[Paper]) -> list[str]:
    """Return what is wrong with a brief: a statement without a citation, or one whose quote its page does not hold."""
    wrong = []
    known = {paper.label: paper for paper in papers}
    quotes = {(line.text, line.paper, line.page): line.quote for line in brief.lines}
    for stated in _stated(brief.markdown):
        match = _CITED.match(stated)
        if match is None:
            wrong.append(f"no citation: {stated}")
            continue
        quote = quotes.get((match["text"], match["paper"], int(match["page"])))
        paper = known.get(match["paper"])
        if quote is None or paper is None:
            wrong.append(f"no quote: {stated}")
        elif not paper.holds(quote, int(match["page"])):
            wrong.append(f"not on page {match['page']} of {paper.file}: {quote}")
        elif match["text"] != quote and not faithful(match["text"], quote):
            wrong.append(f"not what the quote says: {stated}")
    return wrong


def _stated(markdown: str) -> list[str]:
    """Return all that a brief states, as it stands in its Markdown: each item and each cell, but not the list of papers."""
    found, section = [], ""
    for line in markdown.splitlines():
        section = line if line.startswith("#") else section
        if section == "## Papers" or not line.strip() or line.startswith(("#", "|---", "| |")):
            continue
        if line.lstrip().startswith("- "):
            found.append(line.lstrip()[2:])
        elif line.startswith("|"):
            cells = re.split(r"(?<!\\)\|", line.strip("|"))[1:]
            found += [part.strip().replace("\\|", "|") for cell in cells for part in cell.split("<br>")]
        elif section != "# Brief":
            found.append(line)
    return [each for each in found if each != "–"]
