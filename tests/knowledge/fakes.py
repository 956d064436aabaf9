"""A library small enough to see through: paragraphs are chunks, and words are dimensions."""

import hashlib
import threading

import msgspec
import numpy as np

from aigrid.knowledge.base import Chunk, Hit
from aigrid.knowledge.ingest import Content
from aigrid.knowledge.library import Library


class WordsEmbedder:
    """Texts with the same words are near to each other. Counts what it was asked; `gate` holds it up."""

    name = "words"
    dimensions = 1024
    max_tokens = 10_000

    def __init__(self):
        self.texts = []
        self.asked = threading.Event()
        self.gate = threading.Event()
        self.gate.set()
        self.fail = None

    def embed(self, texts):
        self.asked.set()
        self.gate.wait(120)
        if self.fail is not None:
            raise self.fail
        self.texts += texts
        vectors = np.full((len(texts), self.dimensions), 0.001, np.float32)
        for row, text in enumerate(texts):
            for word in text.lower().split():
                vectors[row, int.from_bytes(hashlib.sha256(word.encode()).digest()[:4]) % self.dimensions] += 1
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def read_paragraphs(source, file):
    """A parser: UTF-8 text, one chunk for each paragraph."""
    with open(file, "rb") as opened:
        data = opened.read()
    if b"\0" in data:
        raise ValueError("it is not text")
    plain = data.decode()
    chunks, at = [], 0
    for position, text in enumerate(part for part in plain.split("\n\n") if part.strip()):
        start = plain.index(text, at)
        at = start + len(text)
        chunks.append(
            Chunk(
                id=f"{source.id}:{position}", source_id=source.id, position=position, text=text, start=start, end=at,
                path=source.path, readers=source.readers,
            )
        )  # fmt: skip
    return Content(msgspec.structs.replace(source, kind="text"), plain, chunks)


def library_in(folder, embedder=None, kind="lance", **more):
    embedder = embedder or WordsEmbedder()
    return Library(folder, lambda: embedder, kind=kind, read=more.pop("read", read_paragraphs), **more)


class PlainLibrary(Library):
    """A library that searches by words alone."""

    def search(self, question, limit=10, readers=frozenset("*")):
        found = self.store.lexical(question, limit, readers)
        return [Hit(chunk, score, lexical_rank=rank) for rank, (chunk, score) in enumerate(found, 1)]
