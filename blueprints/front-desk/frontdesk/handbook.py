"""The handbook: its pages searched, and answers that quote them or say that they do not know."""

import asyncio
import re
import tempfile
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np

from aigrid.knowledge.answer import Answer, Complete, answer
from aigrid.knowledge.base import EVERYONE, Embedder, Source
from aigrid.knowledge.chunk import chunks_of
from aigrid.knowledge.cite import Citation
from aigrid.knowledge.evidence import rarity_in
from aigrid.knowledge.language import sentence_spans
from aigrid.knowledge.parse import parse
from aigrid.knowledge.search import search
from aigrid.knowledge.store import Addition, indexed_text, open_store

ANYONE = frozenset((EVERYONE,))
PASSAGES = 8
_LONGEST_HEADING = 6
"""Words; a shorter quote that is no sentence is a heading or a cell."""

_HANGS = re.compile(
    r"(after that|from then on|then|otherwise|without it|in other cases|unless|it|they|this)\b", re.IGNORECASE
)
"""A sentence that begins so says nothing, or not all, without the one before it."""


class Handbook:
    """The Markdown pages of a folder. Without an embedder they are searched by their words alone."""

    def __init__(self, folder: Path, embedder: Embedder | None = None) -> None:
        self._embedder = embedder
        self._place = tempfile.TemporaryDirectory(prefix="front-desk-")
        self._store = open_store(Path(self._place.name), "sqlite")
        pages = sorted(folder.glob("*.md"))
        if not pages:
            raise FileNotFoundError(f"{folder} holds no page of a handbook: its pages are Markdown files (*.md)")
        self._store.add_many([self._page(path) for path in pages])

    def _page(self, path: Path) -> Addition:
        parsed = parse(path.read_bytes(), path.name)
        source = Source(id=path.name, path=path.name, digest="", title=parsed.title, kind="markdown")
        text, chunks = chunks_of(source, parsed)
        texts = [indexed_text(chunk) for chunk in chunks]
        vectors = self._embedder.embed(texts) if self._embedder else np.zeros((len(chunks), 1), np.float32)
        return Addition(source, text, chunks, vectors)

    def ask(self, question: str, complete: Complete | None = None) -> Answer:
        """Answer a question; `known` is false where the handbook does not say. Without a model, the best quote."""
        hits = search(self._store, self._embedder, question, PASSAGES, ANYONE, thorough=True)
        found = asyncio.run(_last(self, question, hits, complete, rarity_in(self._store, ANYONE)))
        return msgspec.structs.replace(found, citations=[self._whole(each) for each in found.citations])

    def _whole(self, cited: Citation) -> Citation:
        """Return a citation that can stand alone: of a heading, the sentence below it; with a sentence that hangs on it."""
        text = self.page(cited.source_id) or ""
        start, end = cited.start, cited.end
        paragraph = text[end:].partition("\n\n")[0]
        if not cited.quote.endswith((".", "!", "?")) and len(cited.quote.split()) <= _LONGEST_HEADING:
            spans = sentence_spans(text[end:])[:1]
            start, end = (end + spans[0][0], end + spans[0][1]) if spans else (start, end)
        elif (spans := sentence_spans(paragraph)[:1]) and _HANGS.match(paragraph[spans[0][0] :]):
            end += spans[0][1]
        return msgspec.structs.replace(cited, start=start, end=end, quote=text[start:end])

    def page(self, name: str) -> str | None:
        """Return the text of a page, which the offsets of citations point into."""
        return self._store.plain(name, ANYONE)

    @property
    def embedder(self) -> Embedder | None:
        """What finds by meaning, if anything does."""
        return self._embedder

    def close(self) -> None:
        """Let go of the index."""
        self._store.close()
        self._place.cleanup()


async def _last(book: Handbook, question: str, hits: list, complete: Complete | None, rarity: Callable) -> Answer:
    async for event in answer(question, hits, book.page, book.embedder, rarity=rarity, complete=complete):
        if isinstance(event, Answer):
            return event
    raise AssertionError("answering ends with the answer")
