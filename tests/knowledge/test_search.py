"""From a question to the best chunks: what search promises, with an embedder of word hashes."""

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest

from aigrid.core.errors import UpstreamError
from aigrid.knowledge.base import EVERYONE, Chunk, Source, Vectors
from aigrid.knowledge.expand import by_parts, feedback, parts, togetherness
from aigrid.knowledge.language import terms
from aigrid.knowledge.postings import Postings
from aigrid.knowledge.rank import HttpReranker, fuse, level, likeness, reciprocal, shared_words, vouch
from aigrid.knowledge.search import Searcher, search
from aigrid.knowledge.store import Addition, RowsGone, RowStore, open_store

ALL = frozenset((EVERYONE,))
TEXTS = {
    "wings": ["The lift of a wing grows with speed.", "A slipstream changes the lift of a wing.", "Wings carry fuel."],
    "heat": ["Heat flows through composite slabs.", "Conduction in slabs is slow.", "Radiators give heat away."],
    "bank": ["Refer a friend and earn a bonus.", "A card is closed on request.", "Bonus points expire in June."],
    "東京": ["東京都庁は新宿にある。", "富士山は高い。"],
}


class HashEmbedder:
    """Vectors of hashed words: texts that share words are alike."""

    name = "hashes"
    dimensions = 64
    max_tokens = 256

    def embed(self, texts: Sequence[str]) -> Vectors:
        vectors = np.zeros((len(texts), self.dimensions), np.float32)
        for row, text in enumerate(texts):
            for term in terms(text):
                vectors[row, crc32(term.encode()) % self.dimensions] += 1
        return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)


def additions(texts: Mapping[str, Sequence[str]], readers: tuple[str, ...] = (EVERYONE,)) -> list[Addition]:
    made = []
    for name, pieces in texts.items():
        chunks = [
            Chunk(id=f"{name}/{at}", source_id=name, position=at, text=text, start=0, end=len(text), readers=readers)
            for at, text in enumerate(pieces)
        ]
        source = Source(id=name, path=name, digest="", readers=readers)
        made.append(Addition(source, "\n".join(pieces), chunks, HashEmbedder().embed(pieces)))
    return made


@pytest.fixture
def store(tmp_path: Path) -> Iterator[RowStore]:
    opened = open_store(tmp_path, "sqlite")
    opened.add_many(additions(TEXTS))
    yield opened
    opened.close()


@pytest.mark.parametrize("thorough", [False, True])
@pytest.mark.parametrize(
    ("query", "best"),
    [("slipstream over a wing", "wings/1"), ("conduction in slabs", "heat/1"), ("東京都庁はどこ？", "東京/0")],
)
def test_the_best_chunk_comes_first(store: RowStore, query: str, best: str, thorough: bool) -> None:
    hits = search(store, HashEmbedder(), query, 3, ALL, thorough=thorough)
    assert hits[0].chunk.id == best
    assert hits[0].lexical_rank == 1
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


@pytest.mark.parametrize("thorough", [False, True])
def test_limit_is_kept_and_does_not_change_the_order(store: RowStore, thorough: bool) -> None:
    searcher = Searcher(store, HashEmbedder())
    whole = [hit.chunk.id for hit in searcher.search("wing heat bonus", 100, ALL, thorough=thorough)]
    assert len(whole) == len(set(whole)) > 5
    for limit in (1, 4):
        found = searcher.search("wing heat bonus", limit, ALL, thorough=thorough)
        assert [hit.chunk.id for hit in found] == whole[:limit]
    assert searcher.search("wing", 0, ALL) == []
    assert searcher.search("  ", 5, ALL) == []


def test_words_alone_are_searched_without_an_embedder(store: RowStore) -> None:
    assert search(store, None, "radiators", 5, ALL)[0].chunk.id == "heat/2"
    assert search(store, None, "unheard", 5, ALL) == []


@pytest.mark.parametrize("thorough", [False, True])
def test_what_others_may_read_changes_nothing(tmp_path: Path, thorough: bool) -> None:
    secret = {"plans": ["The secret wing lift bonus.", "Slabs of a wing, heat."], "more": ["friend card slabs"]}
    said = []
    for name, hidden in (("alone", {}), ("beside", secret)):
        store = open_store(tmp_path / name, "lance")
        store.add_many([*additions(hidden, ("acme",)), *additions(TEXTS)])
        hits = [
            [(hit.chunk.id, round(hit.score, 4), hit.lexical_rank, hit.vector_rank) for hit in found]
            for query in ("secret wing", "bonus for a friend", "heat of slabs")
            for found in [search(store, HashEmbedder(), query, 20, ALL, thorough=thorough)]
        ]
        said.append(hits)
        store.close()
    assert said[0] == said[1]


def test_a_long_brief_finds_what_each_of_its_sentences_asks_for(store: RowStore) -> None:
    brief = (
        "I am a customer. My day was long. I want to close my card. I referred a friend. It rains. Where is my bonus?"
    )
    assert len(parts(brief)) == 6
    found = {hit.chunk.id for hit in search(store, HashEmbedder(), brief, 3, ALL, thorough=True)}
    assert {"bank/0", "bank/1"} <= found


def test_a_source_replaced_during_a_search_is_searched_again(store: RowStore) -> None:
    class Racing(HashEmbedder):
        turns = 0

        def embed(self, texts: Sequence[str]) -> Vectors:
            self.turns += 1
            if self.turns == 1:
                store.add_many(additions({"wings": ["Wings anew."]}))
            return super().embed(texts)

    assert search(store, Racing(), "wings", 1, ALL)[0].chunk.text == "Wings anew."
    with pytest.raises(RowsGone):
        store.vectors([10**6])


def test_levelled_scores_lie_between_nought_and_one() -> None:
    assert level([3.0, 1.0, 2.0]).tolist() == [1.0, 0.0, 0.5]
    assert level([7.0]).tolist() == [1.0]
    assert level([]).tolist() == []


def test_fusing_adds_what_each_opinion_says() -> None:
    total = fuse([10, 11, 12], [({10: 5.0, 11: 1.0}, 0.5), ({12: 0.9, 11: 0.5, 10: 0.1}, 0.5)])
    assert total.tolist() == pytest.approx([0.5, 0.25, 0.5])
    assert reciprocal([1, 2], [[2, 1], [2]]).tolist() == pytest.approx([1 / 62, 2 / 61])


def test_neighbours_raise_a_candidate_but_never_over_the_best() -> None:
    vectors = np.array([[1, 0], [0, 1], [0.1, 0.995], [0.05, 0.9987], [0.7, 0.71]], np.float32)
    scores = np.array([1.0, 0.9, 0.2, 0.85, 0.3], np.float32)
    raised = vouch(scores, likeness(vectors), neighbours=2)
    assert int(np.argmax(raised)) == 0
    assert raised[2] > raised[4]


def test_shared_words_count_by_how_rare_they_are() -> None:
    alike = shared_words(Postings.of(("the wing slipstream", "slipstream of", "the of", "the end", "")))
    assert alike[0, 1] > alike[0, 3]
    assert alike[0].max() == pytest.approx(1.0)
    assert not alike[4].any()


def test_feedback_keeps_the_query_and_adds_what_the_best_say() -> None:
    passages = [["wing", "slipstream", "propeller", "the", "the"], ["slipstream"]]
    mixed = feedback({"wing": 1.0}, passages, [1.0, 0.5], most=2, share=0.4)
    assert mixed["wing"] >= 0.6
    assert "slipstream" in mixed
    assert "the" not in mixed
    assert sum(mixed.values()) == pytest.approx(1.0)
    assert feedback({"wing": 1.0}, [], []) == {"wing": 1.0}


def test_words_side_by_side_count_most() -> None:
    rarity = {"heat": 2.0, "flow": 2.0}
    near, far, none = togetherness(
        "heat flow", [text.split() for text in ("heat flow", "heat and then the flow", "heat")], rarity
    )
    assert near == 1.0
    assert 0 < far < near
    assert none == 0.0


def test_the_parts_that_fit_best_decide() -> None:
    similar = np.array([[0.9, 0.8, 0.7, 0.6, 0.5, -1.0, -1.0]], np.float32)
    assert by_parts(similar).tolist() == pytest.approx([0.7])


@pytest.fixture
def reranker() -> Iterator[tuple[str, list[dict[str, object]]]]:
    asked: list[dict[str, object]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append({**body, "authorization": self.headers["Authorization"]})
            results = [
                {"index": at, "relevance_score": float(len(text)), "document": {"text": text}}
                for at, text in enumerate(body["documents"])
            ]
            answer = json.dumps({"results": results[::-1]} if self.path == "/v1/rerank" else {"detail": "no"}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_reranker_orders_the_best_again(store: RowStore, reranker: tuple[str, list[dict[str, object]]]) -> None:
    url, asked = reranker
    hits = Searcher(store, HashEmbedder(), HttpReranker(f"{url}/v1/rerank", "fine", "key")).search("wing", 3, ALL)
    scores = [hit.rerank_score for hit in hits]
    assert scores == sorted((float(len(hit.chunk.text)) for hit in hits), reverse=True)
    assert (asked[0]["model"], asked[0]["query"], asked[0]["authorization"]) == ("fine", "wing", "Bearer key")


def test_a_reranker_that_does_not_answer_is_named(reranker: tuple[str, list[dict[str, object]]]) -> None:
    url, _ = reranker
    for bad in (f"{url}/other", "http://127.0.0.1:9/v1/rerank", "file:///etc/passwd"):
        with pytest.raises(UpstreamError, match=bad):
            HttpReranker(bad, "fine").rerank("q", ["text"])
    assert HttpReranker(url, "fine").rerank("q", []) == []
