"""How quick knowledge is: from a folder of 1,000 documents to answers, beside a peer; the index and queries by itself.

Ours reads the whole folder in a new `AIGRID_HOME`, three times, until a question is answered: everything is then
found by its words, and embedding goes on. The peer has nothing to answer with until all is embedded. It reads a sample
of the folder, each format as often as in the whole, and its time is scaled up: what it takes to load stays, the rest
grows with the number of documents; 90 % of resampled samples fall into the range given. What ours takes until all is
embedded is measured on the same sample. The peer's queries run on an index filled with copies of its chunks to the
size of the whole folder, ours at 50,000 chunks. For quality, both answer Cranfield's queries.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from aigrid.core.config import load
from aigrid.knowledge.base import Embedder
from aigrid.knowledge.embed import open_embedder
from aigrid.knowledge.search import ANYONE, search
from benchmarks import knowledge_peer
from benchmarks.common import arguments, environment, first_in_line, log, report, spread
from benchmarks.knowledge_documents import QUESTIONS, documents
from benchmarks.knowledge_index import CHUNKS, measure
from benchmarks.retrieval import interval, ndcg
from benchmarks.retrieval_data import cranfield, store_of

TIMES = 15
RUNS = 3
SAMPLE = 50
RESAMPLES = 2000
DEEP = 50


def ours(folder: Path, embed: bool) -> dict[str, Any]:
    """Let a new process of this project add a folder; see `knowledge_folder`."""
    with tempfile.TemporaryDirectory(prefix="aigrid-") as home:
        task = {"folder": str(folder), "queries": QUESTIONS, "embed": embed, "began": time.monotonic()}
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.knowledge_folder"], input=json.dumps(task), text=True, check=True,
            stdout=subprocess.PIPE, env=environment(Path(home)),
        )  # fmt: skip
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def sample(chosen: dict[str, list[Path]], many: int) -> list[Path]:
    """Return `many` documents or so, of each format in proportion, at even distances."""
    total = sum(map(len, chosen.values()))
    found = []
    for paths in chosen.values():
        part = max(1, round(len(paths) * many / total)) if paths else 0
        found += [paths[(2 * at + 1) * len(paths) // (2 * part)] for at in range(part)]
    return found


def scaled(its: dict[str, Any], total: int, seed: int = 5) -> dict[str, float]:
    """Return the peer's seconds for `total` documents, with the range of resampled samples."""
    each = np.array(its["file_s"]) + np.array(its["file_chunks"]) * its["spent_s"]["embed"] / its["chunks"]
    fixed = its["first_answer_s"] - each.sum()
    picks = np.random.default_rng(seed).integers(0, len(each), (RESAMPLES, len(each)))
    low, high = np.percentile(each[picks].mean(axis=1), [5, 95])
    seconds = {"median": each.mean(), "p5": low, "p95": high}
    return {**{name: round(float(fixed + total * value), 1) for name, value in seconds.items()}, "n": len(each)}


def quality(embedder: Embedder) -> dict[str, Any]:
    """Return nDCG@10 of both on Cranfield, and the 95 % interval of the difference."""
    collection = cranfield()
    with tempfile.TemporaryDirectory(prefix="aigrid-") as place:
        store = store_of(collection, embedder, Path(place) / "index")
        mine = []
        for query in collection.queries:
            hits = search(store, embedder, query, DEEP, ANYONE, thorough=True)
            mine.append(list(dict.fromkeys(int(hit.chunk.source_id) for hit in hits)))
        store.close()
        files = []
        for number, (_, text) in enumerate(collection.documents):
            if text.strip():
                files.append(Path(place) / f"{number}.txt")
                files[-1].write_text(text)
        found = knowledge_peer.run(files, judged=collection.queries)
    theirs = [list(dict.fromkeys(int(Path(name).stem) for name in names)) for names in found["found"]]
    scores = [
        np.array([ndcg(ranked, right) for ranked, right in zip(ranking, collection.relevant, strict=True)])
        for ranking in (mine, theirs)
    ]
    return {
        "collection": collection.name,
        "queries": len(collection.queries),
        "ours": round(float(scores[0].mean()), 4),
        "peer": round(float(scores[1].mean()), 4),
        "difference_95": interval(scores[0], scores[1]),
        "peer_failed": found["failed"],
    }


def folder_speed(many: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what ours and the peer took for the folder and its sample."""
    with tempfile.TemporaryDirectory(prefix="aigrid-") as place:
        whole, part = Path(place) / "whole", Path(place) / "part"
        whole.mkdir()
        part.mkdir()
        chosen = documents(whole)
        total = sum(map(len, chosen.values()))
        picked = sample(chosen, many)
        for path in picked:
            shutil.copy(path, part)
        log(f"ours: {total} documents, {RUNS} times")
        runs = [ours(whole, embed=False) for _ in range(RUNS)]
        log(f"ours: {len(picked)} documents, embedded as well")
        embedded = ours(part, embed=True)
        log(f"the peer: the same {len(picked)}")
        its = knowledge_peer.run(sorted(part.iterdir()), queries=QUESTIONS, scale=total / len(picked))
    first = spread([round(run["first_answer_s"], 2) for run in runs])
    mine = {
        "documents": {kind: len(paths) for kind, paths in chosen.items()},
        "chunks": runs[0]["chunks"],
        "skipped": runs[0]["skipped"],
        "first_answer_s": first,
        "sample_documents": len(picked),
        "sample_chunks": embedded["chunks"],
        "sample_first_answer_s": round(embedded["first_answer_s"], 2),
        "sample_embedded_s": round(embedded["embedded_answer_s"], 2),
        "sample_query_ms": rounded(embedded["query_ms"]),
        "embedded_s_scaled": round(
            first["median"] + (embedded["embedded_answer_s"] - embedded["first_answer_s"]) * total / len(picked), 1
        ),
    }
    theirs = {
        "name": knowledge_peer.NAME,
        "versions": its["versions"],
        "sample_documents": len(picked),
        "sample_chunks": its["chunks"],
        "sample_failed": its["failed"],
        "sample_first_answer_s": round(its["first_answer_s"], 2),
        "sample_spent_s": {name: round(value, 2) for name, value in its["spent_s"].items()},
        "sample_query_ms": rounded(its["query_ms"]),
        "scaled_by": total / len(picked),
        "first_answer_s_scaled": scaled(its, total),
        "whole_chunks": its["whole_chunks"],
        "whole_query_ms": rounded(its["whole_query_ms"]),
    }
    return mine, theirs


def rounded(values: list[float]) -> dict[str, float]:
    """Return a spread with two digits after the point."""
    return {name: round(value, 2) for name, value in spread(values).items()}


def row(what: str, mine: Any, its: Any = None, times: float | None = None) -> dict[str, Any]:
    """Return a row for people."""
    return {"what": what, "ours": mine, "peer": its, "ratio": times}


def run(chunks: int, many: int) -> dict[str, Any]:
    """Measure everything; return the benchmark's one JSON object."""
    knowledge_peer.python()
    scheduling = first_in_line()
    embedder = open_embedder(load())
    log("quality")
    found = quality(embedder)
    mine, theirs = folder_speed(many)
    log("the index, and queries on it")
    index = measure(embedder, chunks)
    first = theirs["first_answer_s_scaled"]["median"] / mine["first_answer_s"]["median"]
    embedded = theirs["first_answer_s_scaled"]["median"] / mine["embedded_s_scaled"]
    same = theirs["sample_first_answer_s"] / mine["sample_embedded_s"]
    asked = index["query"]["thorough_with_embedding_ms"]
    query = theirs["whole_query_ms"]["median"] / asked["median"]
    total = sum(mine["documents"].values())
    picked = mine["sample_documents"]
    ratios = {"first_answer": first, "all_embedded": embedded, "all_embedded_sample": same, "query": query}
    claims = {
        f"{total:,} documents to the first answer, all found by their words: at least {TIMES} times faster": first
        >= TIMES,
        f"each query after that: at least {TIMES} times faster": query >= TIMES,
        "better nDCG@10 than the peer": found["difference_95"][0] > 0,
        **index.pop("claims"),
    }
    table = [
        row(f"{total:,} documents to the first answer (s; the peer scaled from {picked})",
            mine["first_answer_s"], theirs["first_answer_s_scaled"], first),
        row("… until all is embedded (s; both scaled)",
            mine["embedded_s_scaled"], theirs["first_answer_s_scaled"]["median"], embedded),
        row(f"… {picked} of them until all is embedded (s; both measured)",
            mine["sample_embedded_s"], theirs["sample_first_answer_s"], same),
        row(f"a query (ms; ours at {index['query']['chunks']:,} chunks, the peer at {theirs['whole_chunks']:,})",
            asked, theirs["whole_query_ms"], query),
        row("nDCG@10, Cranfield", found["ours"], found["peer"]),
        row("chunks per second into the index, embedding excluded", index["index"]["chunks_per_s"]),
        row(f"hybrid query at {index['query']['chunks']:,} chunks, embedding excluded (ms)", index["query"]["hybrid_ms"]),
    ]  # fmt: skip
    figures = {
        "scheduling": scheduling,
        "folder": mine,
        "index": index,
        "quality": found,
        "ratio": {name: round(value, 1) for name, value in ratios.items()},
    }
    return {"figures": figures, "peer": theirs, "holds": claims, "table": table}


if __name__ == "__main__":
    parser = arguments("How quick knowledge is, beside docling, sentence-transformers and LlamaIndex.")
    parser.add_argument("--chunks", type=int, default=CHUNKS, help="how many chunks to index")
    parser.add_argument("--sample", type=int, default=SAMPLE, help="how many documents the peer reads; 1000 is all")
    options = parser.parse_args()
    report(run(options.chunks, options.sample), options.json)
