"""Citations: what an answer rests on, checked against the source before anyone sees it.

A citation's quote stands in its source's plain text, word for word: only white space may differ, and `start` and
`end` are the exact offsets of what is quoted.
"""

import re
from collections.abc import Callable, Iterable

import msgspec

from aigrid.knowledge.base import Chunk

Plain = Callable[[str], str | None]
"""Returns a source's plain text by its id; None where the source is gone or not for this reader."""


class Citation(msgspec.Struct, frozen=True):
    """A quoted span of a source. `number` is the marker in the answer: [1] is 1.

    `start` and `end` are offsets into the source's plain text, in characters. Page and lines are those of the chunk
    that holds the quote, None where the file has none.
    """

    number: int
    chunk_id: str
    source_id: str
    path: str
    start: int
    end: int
    quote: str
    title: str = ""
    heading: tuple[str, ...] = ()
    page: int | None = None
    line: int | None = None
    last_line: int | None = None


def fold(text: str) -> str:
    """Return text with every run of white space as one space, and none at its ends."""
    return " ".join(text.split())


def check(citation: Citation, plain: str | None) -> bool:
    """Whether the quote is what stands at `start` to `end` of the plain text; false where there is no text."""
    if plain is None or not 0 <= citation.start < citation.end <= len(plain):
        return False
    quoted = fold(citation.quote)
    return bool(quoted) and fold(plain[citation.start : citation.end]) == quoted


def locate(quote: str, plain: str, near: tuple[int, int] | None = None) -> tuple[int, int] | None:
    """Return where a quote stands in a text, white space aside; None where it does not.

    Of several places the first that lies within `near` wins, else the first of all.
    """
    words = quote.split()
    if not words:
        return None
    pattern = re.compile(r"\s+".join(map(re.escape, words)))
    if near is not None and (found := pattern.search(plain, max(0, near[0]), max(0, near[1]))):
        return found.span()
    found = pattern.search(plain)
    return found.span() if found else None


def cite(
    number: int, chunk: Chunk, quote: str, plain: str | None, near: tuple[int, int] | None = None
) -> Citation | None:
    """Return the citation of a quote from a chunk; None where the quote is not in the source's plain text.

    `near` is where the quote is thought to stand (default: somewhere in the chunk).
    """
    span = locate(quote, plain, near or (chunk.start, chunk.end)) if plain is not None else None
    if span is None or plain is None:
        return None
    start, end = span
    made = Citation(
        number=number,
        chunk_id=chunk.id,
        source_id=chunk.source_id,
        path=chunk.path,
        start=start,
        end=end,
        quote=plain[start:end],
        title=chunk.title,
        heading=chunk.heading,
        page=chunk.page,
        line=chunk.line,
        last_line=chunk.last_line,
    )
    return made if check(made, plain) else None


def checked(citations: Iterable[Citation], plain: Plain) -> list[Citation]:
    """Return the citations whose quotes stand in their sources; the others are dropped."""
    return [citation for citation in citations if check(citation, plain(citation.source_id))]
