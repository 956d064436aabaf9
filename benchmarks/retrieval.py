"""Does search find what people judged right? Each stage's share, in one table, against plain BM25 in the same run.

Three collections: Cranfield (nDCG@10), XQuAD's English part (recall@1 of the paragraph), and the briefs of τ³-bench's
banking customers (recall@10 and @50 of the documents that the task requires). The peer is BM25 as Lucene has it
(k1 1.2, b 0.75, Porter's stems, stop words) over whole documents, written here apart from the package.

The settings of search are one set for all collections, the same that users get. Weights and the number of neighbours
were chosen on the queries at even places, the number of candidates and who may vouch by reasoning, with all figures in
view; none is finer than one digit. `half` gives each figure for even and odd places apart, so that fitting would show.
The last stage is what the library's search does; on each tenth query it is compared with what `Searcher` returns.
"""

import math
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from aigrid.core.config import load
from aigrid.knowledge.base import Embedder
from aigrid.knowledge.embed import open_embedder
from aigrid.knowledge.language import STOP_WORDS
from aigrid.knowledge.rank import Scores, reciprocal
from aigrid.knowledge.search import ANYONE, CANDIDATES, Candidates, Searcher
from aigrid.knowledge.stem import stem
from aigrid.knowledge.store import RowStore
from benchmarks.common import arguments, log, report
from benchmarks.retrieval_data import Collection, banking, cranfield, store_of, xquad

RESAMPLES = 2000
CHECKED = 10
SHOWN = 10
LAST = "+ reading the best (search)"
"""What `Library.search` does, and so `aigrid knowledge search`, `ask`, the gateway and agents."""
PUBLISHED = {"Cranfield": (0.519, 0.526), "XQuAD": 0.94, "τ³ banking @10": 0.259, "τ³ banking @50": 0.526}
"""What plain BM25 reached elsewhere: bm25s, FTS5, tantivy and LanceDB on Cranfield; one query on the others."""

Ranking = list[int]
Measure = Callable[[Ranking, frozenset[int]], float]


def ndcg(ranking: Ranking, right: frozenset[int], depth: int = 10) -> float:
    """Discounted gain of a ranking, as a share of the best possible; judgements are right or not."""
    gain = sum(1 / math.log2(place + 2) for place, document in enumerate(ranking[:depth]) if document in right)
    return gain / sum(1 / math.log2(place + 2) for place in range(min(depth, len(right))))


def recall(depth: int) -> Measure:
    """Return the share of what is right that is among the first `depth`."""
    return lambda ranking, right: len(right.intersection(ranking[:depth])) / len(right)


class PlainBm25:
    """The peer: BM25 over whole documents, the textbook's way."""

    def __init__(self, texts: Sequence[str]) -> None:
        counts = [Counter(self._words(text)) for text in texts]
        lengths = np.array([each.total() for each in counts])
        self._norm = 1.2 * (0.25 + 0.75 * lengths / lengths.mean())
        self._holding: dict[str, list[tuple[int, int]]] = {}
        for at, each in enumerate(counts):
            for word, often in each.items():
                self._holding.setdefault(word, []).append((at, often))

    def rank(self, query: str) -> Ranking:
        """Return all documents, best first."""
        scores = np.zeros(len(self._norm))
        for word, times in Counter(self._words(query)).items():
            if held := self._holding.get(word):
                rows, often = np.array(held).T
                rarity = math.log1p((len(scores) - len(rows) + 0.5) / (len(rows) + 0.5))
                scores[rows] += times * rarity * often / (often + self._norm[rows])
        return [int(at) for at in np.argsort(-scores, kind="stable")]

    @staticmethod
    def _words(text: str) -> list[str]:
        return [stem(word) for word in re.findall(r"[a-z0-9]+", text.lower()) if word not in STOP_WORDS]


def documents(store: RowStore, rows: Sequence[int], scores: Scores | None = None) -> Ranking:
    """Return the documents of rows, each at the place of its best chunk."""
    ordered = list(rows) if scores is None else [rows[int(at)] for at in np.argsort(-scores, kind="stable")]
    return list(dict.fromkeys(int(owner) for owner in store.owners(ordered)))


def stages(store: RowStore, embedder: Embedder, query: str) -> dict[str, Ranking]:
    """Return what each stage of search makes of a query."""
    found = Candidates(store, embedder, query, CANDIDATES, ANYONE)
    by_words = list(found.words)
    by_meaning = sorted(found.similar, key=lambda row: (-found.similar[row], row))[:CANDIDATES]
    fused = found.fused()
    return {
        "words": documents(store, by_words),
        "vectors": documents(store, by_meaning),
        "reciprocal ranks": documents(store, found.rows, reciprocal(found.rows, [by_words, by_meaning])),
        "one scale": documents(store, found.rows, fused),
        "+ neighbours": documents(store, found.rows, found.among_neighbours(fused)),
        LAST: documents(store, found.rows, found.read(fused)),
    }


def interval(values: np.ndarray, peer: np.ndarray, seed: int = 7) -> list[float]:
    """Return the 95 % interval of the mean difference to the peer, by resampling queries in pairs."""
    picks = np.random.default_rng(seed).integers(0, len(values), (RESAMPLES, len(values)))
    means = (values - peer)[picks].mean(axis=1)
    return [round(float(bound), 4) for bound in np.percentile(means, [2.5, 97.5])]


def table(rankings: dict[str, list[Ranking]], relevant: list[frozenset[int]], measure: Measure) -> dict[str, Any]:
    """Return, for each stage, the mean, the interval of its distance to plain BM25, and the mean of each half."""
    values = {
        stage: np.array([measure(ranking, right) for ranking, right in zip(ranked, relevant, strict=True)])
        for stage, ranked in rankings.items()
    }
    peer = values["plain BM25"]
    return {
        stage: {
            "mean": round(float(each.mean()), 4),
            "above_bm25": interval(each, peer),
            "half": [round(float(each[0::2].mean()), 4), round(float(each[1::2].mean()), 4)],
        }
        for stage, each in values.items()
    }


def rank_all(collection: Collection, embedder: Embedder, folder: Path) -> dict[str, list[Ranking]]:
    """Rank every query of a collection at every stage; raises `AssertionError` where the last is not the search's."""
    log(f"{collection.name}: indexing {len(collection.documents)} documents")
    store = store_of(collection, embedder, folder)
    plain = PlainBm25([f"{title}\n{text}" for title, text in collection.documents])
    log(f"{collection.name}: {store.count(ANYONE)} chunks; asking {len(collection.queries)} queries")
    searcher = Searcher(store, embedder)
    rankings: dict[str, list[Ranking]] = {}
    for at, query in enumerate(collection.queries):
        for stage, ranking in {"plain BM25": plain.rank(query), **stages(store, embedder, query)}.items():
            rankings.setdefault(stage, []).append(ranking)
        if at % CHECKED == 0:
            hits = searcher.search(query, SHOWN, thorough=True)
            shown = list(dict.fromkeys(int(hit.chunk.source_id) for hit in hits))
            if shown != rankings[LAST][-1][: len(shown)]:
                raise AssertionError(f"{collection.name}: search returns something else for {query[:80]!r}")
    store.close()
    return rankings


def main() -> None:
    """Measure and report."""
    options = arguments(__doc__.partition("\n")[0]).parse_args()
    embedder = open_embedder(load())
    tables: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="aigrid-") as folder:
        for at, (collection, measures) in enumerate(
            [
                (cranfield(), {"Cranfield nDCG@10": ndcg}),
                (xquad(), {"XQuAD recall@1": recall(1)}),
                (banking(), {"τ³ banking recall@10": recall(10), "τ³ banking recall@50": recall(50)}),
            ]
        ):
            rankings = rank_all(collection, embedder, Path(folder) / str(at))
            for name, measure in measures.items():
                tables[name] = table(rankings, collection.relevant, measure)
    found = {name: stages[LAST]["mean"] for name, stages in tables.items()}
    plain = {name: stages["plain BM25"]["mean"] for name, stages in tables.items()}
    holds = {
        "Cranfield nDCG@10 is well above BM25 (≥ .55, and by more than chance)": found["Cranfield nDCG@10"] >= 0.55
        and tables["Cranfield nDCG@10"][LAST]["above_bm25"][0] > 0,
        "XQuAD recall@1 is above BM25's (.94 published, and here)": found["XQuAD recall@1"]
        > max(0.94, plain["XQuAD recall@1"]),
        "τ³ banking: recall@10 is ≥ 1.5 × that of one BM25 query (.259 published, and here)": found[
            "τ³ banking recall@10"
        ]
        >= 1.5 * max(0.259, plain["τ³ banking recall@10"]),
    }
    result = {
        "embedder": embedder.name,
        "published": PUBLISHED,
        "tables": tables,
        "grid": grid(tables),
        "peer": {"name": "BM25 over whole documents (plain BM25)"},
        "holds": holds,
    }
    report(result, options.json)


def grid(tables: dict[str, Any]) -> dict[str, Any]:
    """Return the ablation: a row for each stage, a column for each measure, and how sure the last is above BM25."""
    rows = [[stage, *(stages[stage]["mean"] for stages in tables.values())] for stage in next(iter(tables.values()))]
    above = [" to ".join(f"{bound:+.3f}" for bound in stages[LAST]["above_bm25"]) for stages in tables.values()]
    return {"columns": list(tables), "rows": [*rows, ["search above plain BM25 (95 %)", *above]]}


if __name__ == "__main__":
    main()
