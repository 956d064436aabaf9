"""Collections with judged queries, each document through the parser and chunker that users' files go through."""

import gzip
import json
import re
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from aigrid.knowledge.base import Embedder, Source
from aigrid.knowledge.chunk import chunks_of
from aigrid.knowledge.parse import parse
from aigrid.knowledge.store import Addition, RowStore, indexed_text, open_store
from benchmarks.shared_data import shared


@dataclass(frozen=True)
class Collection:
    """Documents (title, text), queries, and the documents that are right for each query."""

    name: str
    documents: list[tuple[str, str]]
    queries: list[str]
    relevant: list[frozenset[int]]


def cranfield() -> Collection:
    """1,400 abstracts and 225 questions of engineers.

    Judgements name queries by their place in the file, not by the number written there, and count as right or not.
    Every query has some. An abstract's text begins with its title already; two are empty, and cannot be found.
    """
    records = re.split(r"^\.I \d+\n", shared("knowledge/cran.all.1400").read_text(), flags=re.M)[1:]
    documents = [("", " ".join(record.partition(".W\n")[2].split())) for record in records]
    asked = re.split(r"^\.I \d+\n", shared("knowledge/cran.qry").read_text(), flags=re.M)[1:]
    queries = [" ".join(record.partition(".W\n")[2].split()) for record in asked]
    relevant: list[set[int]] = [set() for _ in queries]
    for line in shared("knowledge/cranqrel").read_text().splitlines():
        query, _, document, judgement = line.split()
        if int(judgement) > 0:
            relevant[int(query) - 1].add(int(document) - 1)
    return judged("Cranfield", documents, queries, relevant)


def xquad() -> Collection:
    """240 paragraphs and the 1,190 questions that were asked about them; the paragraph is what must be found."""
    with gzip.open(shared("knowledge/xquad.en.json.gz"), "rt") as file:
        articles = json.load(file)["data"]
    documents: list[tuple[str, str]] = []
    queries: list[str] = []
    relevant: list[set[int]] = []
    for article in articles:
        for paragraph in article["paragraphs"]:
            queries.extend(asked["question"] for asked in paragraph["qas"])
            relevant.extend({len(documents)} for _ in paragraph["qas"])
            documents.append(("", paragraph["context"]))
    return judged("XQuAD", documents, queries, relevant)


def banking() -> Collection:
    """A bank's 698 documents; the query is the whole brief of the customer, the right ones those the task requires."""
    documents: dict[str, tuple[str, str]] = {}
    tasks: dict[str, tuple[str, list[str]]] = {}
    with tarfile.open(shared("knowledge/tau3_banking_knowledge.tar.xz")) as archive:
        for member in archive:
            folder = Path(member.name).parent.name
            if folder not in ("documents", "tasks") or not member.name.endswith(".json"):
                continue
            file = archive.extractfile(member)
            assert file is not None, "a .json in the archive is a file"
            record = json.load(file)
            if folder == "documents":
                documents[record["id"]] = (record["title"], record["content"])
            else:
                brief = record["user_scenario"]["instructions"]
                text = brief if isinstance(brief, str) else json.dumps(brief)
                tasks[record["id"]] = (text, record["required_documents"])
    names = sorted(documents)
    number = {name: at for at, name in enumerate(names)}
    chosen = [tasks[name] for name in sorted(tasks)]
    relevant = [{number[name] for name in required if name in number} for _, required in chosen]
    return judged("τ³ banking", [documents[name] for name in names], [text for text, _ in chosen], relevant)


def judged(name: str, documents: list[tuple[str, str]], queries: list[str], relevant: Sequence[set[int]]) -> Collection:
    """Return a collection of the queries for which something is right: the others can show nothing."""
    kept = [at for at, right in enumerate(relevant) if right]
    return Collection(name, documents, [queries[at] for at in kept], [frozenset(relevant[at]) for at in kept])


def store_of(collection: Collection, embedder: Embedder, folder: Path) -> RowStore:
    """Index a collection; the id of a source is the number of its document."""
    pieces = []
    for number, (title, text) in enumerate(collection.documents):
        data = (f"# {title}\n\n{text}" if title else text).encode()
        name = f"{number}.md" if title else f"{number}.txt"
        source = Source(id=str(number), path=name, digest="", title=title)
        plain, chunks = chunks_of(source, parse(data, name)) if data.strip() else ("", [])
        pieces.append((source, plain, chunks))
    vectors = embedder.embed([indexed_text(chunk) for _, _, chunks in pieces for chunk in chunks])
    ends = np.cumsum([len(chunks) for _, _, chunks in pieces])
    parts = np.split(vectors, ends[:-1])
    store = open_store(folder)
    store.add_many(
        [Addition(source, plain, chunks, part) for (source, plain, chunks), part in zip(pieces, parts, strict=True)]
    )
    return store
