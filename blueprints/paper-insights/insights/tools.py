"""The papers as tools for an agent: it can list and compare what is there, and have the brief written and checked."""

from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from insights.brief import check, write
from insights.compare import pairs
from insights.find import Statement, statements
from insights.read import BadPaper, Paper, read

PAPERS = Path(__file__).resolve().parent.parent / "data" / "papers"


def list_papers(folder: str = "") -> list[dict[str, Any]]:
    """List the papers: their labels, titles and pages."""
    return [
        {"paper": paper.label, "title": paper.title, "file": paper.file, "pages": len(paper.pages)}
        for paper in _papers(folder)[0]
    ]


def find_statements(
    paper: str, kind: Literal["claim", "method", "limit", "figure"], folder: str = ""
) -> list[dict[str, Any]]:
    """Return what a paper claims, did, is limited by, or shows in figures: quotes with their pages."""
    return [_view(one) for one in _papers(folder)[1] if (one.paper, one.kind) == (paper, kind)]


def compare_papers(folder: str = "") -> list[dict[str, Any]]:
    """Return the claims of different papers that speak of the same quantity, two by two."""
    return [{"one": _view(pair.one), "other": _view(pair.other)} for pair in pairs(_papers(folder)[1], 10)]


def write_brief(folder: str = "") -> dict[str, Any]:
    """Write the one-page brief, and say what is wrong with it, if anything is."""
    papers, found = _papers(folder)
    brief = write(papers, found)
    return {"markdown": brief.markdown, "wrong": check(brief, papers)}


def _view(one: Statement) -> dict[str, Any]:
    return {"paper": one.paper, "page": one.page, "quote": one.quote}


def _papers(folder: str) -> tuple[list[Paper], list[Statement]]:
    place = Path(folder) if folder else PAPERS
    files = sorted(place.glob("*.pdf"))
    if not files:
        raise BadPaper(f"there is no PDF in {place}")
    return _read(tuple((file, file.stat().st_mtime_ns) for file in files))


@lru_cache(maxsize=4)
def _read(files: tuple[tuple[Path, int], ...]) -> tuple[list[Paper], list[Statement]]:
    papers = read(file for file, _ in files)
    return papers, [one for paper in papers for one in statements(paper)]
