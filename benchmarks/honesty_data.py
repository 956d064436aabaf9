"""XQuAD as a library: every paragraph a source, every question asked with and without the paragraph it is about.

Each paragraph has a reader of its own, so that a search by all readers but one is exactly a search of the corpus
without that paragraph: nothing else changes.
"""

import gzip
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from aigrid.knowledge.base import Block, Embedder, Hit, Parsed, Source, Vectors
from aigrid.knowledge.chunk import chunks_of
from aigrid.knowledge.evidence import Reading, WordEmbedder, Words, rarity_in, read
from aigrid.knowledge.search import Searcher
from aigrid.knowledge.store import Addition, RowStore, indexed_text, open_store
from benchmarks.shared_data import shared

HITS = 10
"""How many chunks a search brings."""


@dataclass(frozen=True)
class Case:
    """A question, the article and paragraph it was asked about, and the answer with its place there."""

    question: str
    article: int
    paragraph: int
    answer: str
    start: int


def xquad() -> tuple[list[str], list[Case]]:
    """Return the paragraphs and the questions; raises `NoData`."""
    with gzip.open(shared("knowledge/xquad.en.json.gz"), "rt") as file:
        articles = json.load(file)["data"]
    paragraphs: list[str] = []
    cases: list[Case] = []
    for number, article in enumerate(articles):
        for paragraph in article["paragraphs"]:
            for asked in paragraph["qas"]:
                answer = asked["answers"][0]
                case = Case(asked["question"], number, len(paragraphs), answer["text"], answer["answer_start"])
                cases.append(case)
            paragraphs.append(paragraph["context"])
    return paragraphs, cases


class Remembering:
    """An embedder that makes the words of each text once: the same sentences are read for many questions."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self.name, self.dimensions, self.max_tokens = embedder.name, embedder.dimensions, embedder.max_tokens
        self._vectors: dict[str, Vectors] = {}
        self._words: dict[str, Words] = {}

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return one unit vector per text."""
        new = [text for text in dict.fromkeys(texts) if text not in self._vectors]
        self._vectors.update(zip(new, self._embedder.embed(new) if new else (), strict=True))
        return np.array([self._vectors[text] for text in texts], np.float32).reshape(len(texts), self.dimensions)

    def words(self, texts: Sequence[str]) -> list[Words]:
        """Return the pieces of each text with their vectors."""
        assert isinstance(self._embedder, WordEmbedder)
        new = [text for text in dict.fromkeys(texts) if text not in self._words]
        self._words.update(zip(new, self._embedder.words(new), strict=True))
        return [self._words[text] for text in texts]


class Whole:
    """An embedder that gives vectors of whole texts and nothing else, as a server does."""

    def __init__(self, embedder: Embedder) -> None:
        self.name, self.dimensions, self.max_tokens = embedder.name, embedder.dimensions, embedder.max_tokens
        self.embed = embedder.embed


class Corpus:
    """Some of the texts in a store, each a source of its own that can be left out of a search by its number."""

    def __init__(self, texts: Sequence[str], chosen: Sequence[int], store: RowStore, embedder: Embedder) -> None:
        self.embedder = embedder
        self.plain: dict[str, str] = {}
        self.store = store
        self._searcher = Searcher(store, embedder)
        self._numbers = list(chosen)
        pieces = []
        for number in chosen:
            source = Source(f"text-{number}", f"/texts/{number}.txt", "", readers=(f"reader-{number}",))
            plain, chunks = chunks_of(source, Parsed([Block(texts[number])], kind="text"))
            self.plain[source.id] = plain
            pieces.append((source, plain, chunks))
        vectors = embedder.embed([indexed_text(chunk) for _, _, chunks in pieces for chunk in chunks])
        parts = np.split(vectors, np.cumsum([len(chunks) for _, _, chunks in pieces])[:-1])
        additions = [Addition(*piece, part) for piece, part in zip(pieces, parts, strict=True)]
        store.add_many(additions)
        store.optimize()

    def hits(self, question: str, *without: int) -> list[Hit]:
        """Search the corpus without some of its texts, as `aigrid knowledge ask` does."""
        return self._searcher.search(question, HITS, self.readers(*without), thorough=True)

    def read(self, question: str, hits: Sequence[Hit], embedder: Embedder | None, *without: int) -> Reading:
        """Compare what was found with the question."""
        return read(question, hits, embedder, rarity_in(self.store, self.readers(*without)))

    def scores(self, question: str, *without: int) -> tuple[float, float]:
        """Return the best similarity and the best BM25 score there are."""
        readers = self.readers(*without)
        near = self.store.nearest(self.embedder.embed([question])[0], 1, readers)
        words = self.store.lexical(question, 1, readers)
        return near[0][1] if near else 0.0, words[0][1] if words else 0.0

    def readers(self, *without: int) -> frozenset[str]:
        """Return the readers of all texts but some."""
        return frozenset(f"reader-{number}" for number in self._numbers if number not in without)


def source_of(case: Case) -> str:
    """Return the id of the source that holds a question's answer."""
    return f"text-{case.paragraph}"


@contextmanager
def corpus(texts: Sequence[str], embedder: Embedder, chosen: Sequence[int]) -> Iterator[Corpus]:
    """Put the chosen texts into a store in a temporary folder, as long as the block lasts."""
    with TemporaryDirectory(prefix="aigrid-") as folder:
        store = open_store(Path(folder))
        try:
            yield Corpus(texts, chosen, store, embedder)
        finally:
            store.close()


def cranfield() -> tuple[list[str], list[str], list[list[int]]]:
    """Return the abstracts, the queries, and for each query the numbers of its relevant abstracts."""
    documents = [_field(part, "W") for part in _parts("knowledge/cran.all.1400")]
    queries = [_field(part, "W").removesuffix(" .") for part in _parts("knowledge/cran.qry")]
    relevant: list[list[int]] = [[] for _ in queries]
    for line in shared("knowledge/cranqrel").read_text().splitlines():
        query, _, document, judgement = line.split()
        if int(judgement) > 0:
            relevant[int(query) - 1].append(int(document) - 1)
    return documents, queries, relevant


def _parts(path: str) -> list[str]:
    return re.split(r"^\.I \d+\n", shared(path).read_text(), flags=re.MULTILINE)[1:]


def _field(part: str, name: str) -> str:
    found = re.search(rf"^\.{name}\n(.*?)(?=^\.[A-Z]$|\Z)", part, re.MULTILINE | re.DOTALL)
    return " ".join(found.group(1).split()) if found else ""
