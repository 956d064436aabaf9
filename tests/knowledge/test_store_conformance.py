"""What every store must do, proved for each in the same words."""

import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aigrid.core.errors import Conflict
from aigrid.knowledge.base import EVERYONE, Chunk, Source, Vectors
from aigrid.knowledge.store import Addition, Kind, RowStore, open_store

DIMENSIONS = 8
ALL = frozenset((EVERYONE,))
KINDS: list[Kind] = ["lance", "sqlite"]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    return request.param


@pytest.fixture
def store(kind: Kind, tmp_path: Path) -> Iterator[RowStore]:
    opened = open_store(tmp_path / "store", kind)
    yield opened
    opened.close()


def vector(seed: int) -> Vectors:
    values = np.random.default_rng(seed).standard_normal(DIMENSIONS).astype(np.float32)
    return values / np.linalg.norm(values)


def addition(name: str, texts: list[str], readers: tuple[str, ...] = (EVERYONE,), seed: int = 0) -> Addition:
    chunks = [
        Chunk(id=f"{name}/{at}", source_id=name, position=at, text=text, start=0, end=len(text), readers=readers)
        for at, text in enumerate(texts)
    ]
    vectors = np.stack([vector(seed + crc32(text.encode())) for text in texts]) if texts else np.zeros((0, DIMENSIONS))
    source = Source(id=name, path=f"/{name}", digest=f"{name}{seed}", chunks=len(texts), readers=readers)
    return Addition(source, "\n".join(texts), chunks, vectors.astype(np.float32))


def found(store: RowStore, query: str, readers: frozenset[str] = ALL) -> list[str]:
    return [chunk.id for chunk, _ in store.lexical(query, 20, readers)]


def everything(store: RowStore, readers: frozenset[str], queries: list[str]) -> object:
    """All that a reader can learn: results with their scores, counts, neighbours, texts."""
    return (
        store.count(readers),
        [[(c.id, round(s, 4)) for c, s in store.lexical(query, 50, readers)] for query in queries],
        [[(c.id, round(s, 4)) for c, s in store.nearest(vector(seed), 50, readers)] for seed in range(4)],
        store.frequencies([word for query in queries for word in query.split()], readers),
        [[each.id for each in store.neighbours(c, 1, 1, readers)] for c, _ in store.lexical(queries[0], 50, readers)],
    )


def test_what_is_added_is_found_at_once(store: RowStore) -> None:
    store.add(*parts(addition("one", ["The wing lifts.", "The engine roars."])))
    assert found(store, "engines") == ["one/1"]
    assert store.count(ALL) == 2
    assert store.plain("one", ALL) == "The wing lifts.\nThe engine roars."
    assert [source.id for source in store.sources()] == ["one"]


def parts(each: Addition) -> tuple[Source, str, list[Chunk], Vectors]:
    return each.source, each.plain, list(each.chunks), each.vectors


def test_nothing_is_found_in_an_empty_store(store: RowStore) -> None:
    assert store.lexical("anything", 5, ALL) == []
    assert store.nearest(vector(1), 5, ALL) == []
    assert store.count(ALL) == 0
    assert store.plain("none", ALL) is None
    assert store.remove(["none"]) == 0
    assert store.sources() == []


def test_adding_again_replaces_the_whole_source(store: RowStore) -> None:
    store.add_many([addition("one", ["alpha", "beta", "gamma"]), addition("two", ["delta"])])
    store.add(*parts(addition("one", ["epsilon"])))
    assert [found(store, word) for word in ("alpha", "beta", "gamma")] == [[], [], []]
    assert found(store, "epsilon") == ["one/0"]
    assert found(store, "delta") == ["two/0"]
    assert store.count(ALL) == 2
    assert store.plain("one", ALL) == "epsilon"


def test_removed_and_skipped_sources_leave_nothing_to_find(store: RowStore) -> None:
    store.add_many([addition("one", ["alpha"]), addition("two", ["alpha beta"]), addition("three", ["alpha gamma"])])
    assert store.remove(["one", "one", "unknown"]) == 1
    store.skip(Source(id="two", path="/two", digest="", state="skipped", note="broken"))
    assert found(store, "alpha") == ["three/0"]
    assert store.count(ALL) == 1
    assert store.plain("two", ALL) is None
    assert {(source.id, source.state) for source in store.sources()} == {("two", "skipped"), ("three", "indexed")}


def test_a_source_without_chunks_is_kept(store: RowStore) -> None:
    store.add(*parts(addition("empty", [])))
    assert [source.id for source in store.sources()] == ["empty"]
    assert store.count(ALL) == 0


def test_nearest_is_exact(store: RowStore) -> None:
    many = addition("one", [f"text {at}" for at in range(40)])
    store.add(*parts(many))
    query = vector(123)
    similar = many.vectors @ query
    expected = [many.chunks[at].id for at in np.argsort(-similar)[:7]]
    hits = store.nearest(query, 7, ALL)
    assert [chunk.id for chunk, _ in hits] == expected
    assert [score for _, score in hits] == pytest.approx(sorted(similar, reverse=True)[:7], abs=1e-5)


def test_neighbours_come_in_order(store: RowStore) -> None:
    store.add_many([addition("one", ["a1", "b1", "c1", "d1"]), addition("two", ["a2", "b2"])])
    [(middle, _)] = store.lexical("c1", 1, ALL)
    assert [chunk.id for chunk in store.neighbours(middle, 1, 1, ALL)] == ["one/1", "one/2", "one/3"]
    assert [chunk.id for chunk in store.neighbours(middle, 9, 0, ALL)] == ["one/0", "one/1", "one/2"]


def test_all_is_there_after_opening_again(kind: Kind, tmp_path: Path) -> None:
    first = open_store(tmp_path, kind)
    first.add_many([addition("one", ["alpha"]), addition("two", ["beta"], ("acme",))])
    first.add(*parts(addition("one", ["gamma"])))
    before = everything(first, ALL | {"acme"}, ["gamma beta", "alpha"])
    first.optimize()
    assert everything(first, ALL | {"acme"}, ["gamma beta", "alpha"]) == before
    first.close()
    second = open_store(tmp_path, kind)
    assert everything(second, ALL | {"acme"}, ["gamma beta", "alpha"]) == before
    second.close()


def test_one_process_writes_and_others_see_it(kind: Kind, tmp_path: Path) -> None:
    writer, reader = open_store(tmp_path, kind), open_store(tmp_path, kind)
    writer.add(*parts(addition("one", ["alpha"])))
    assert found(reader, "alpha") == ["one/0"]
    with pytest.raises(Conflict, match="is being written by process"):
        reader.add(*parts(addition("two", ["beta"])))
    writer.add(*parts(addition("one", ["gamma"])))
    assert (found(reader, "alpha"), found(reader, "gamma")) == ([], ["one/0"])
    writer.optimize()
    assert found(reader, "gamma") == ["one/0"]
    writer.close()
    reader.add(*parts(addition("two", ["gamma beta"])))
    assert found(reader, "gamma") == ["one/0", "two/0"]
    reader.close()


def test_a_reader_learns_nothing_of_what_others_may_read(kind: Kind, tmp_path: Path) -> None:
    public = [addition("one", ["wing lift flow", "engine flow"]), addition("two", ["merger talks", "lift"])]
    secret = addition("secret", ["merger merger wing", "flow flow flow merger", "lift of the merger engine"], ("acme",))
    plain, mixed = open_store(tmp_path / "plain", kind), open_store(tmp_path / "mixed", kind)
    plain.add_many(public)
    mixed.add_many([public[0], secret, public[1]])
    queries = ["merger", "wing lift", "flow engine merger talks"]
    for readers in (ALL, ALL | {"other"}):
        assert everything(mixed, readers, queries) == everything(plain, readers, queries)
    assert mixed.plain("secret", ALL) is None
    assert mixed.plain("secret", ALL | {"acme"}) is not None
    assert len(found(mixed, "merger", ALL | {"acme"})) == 4
    assert mixed.count(ALL | {"acme"}) == 7
    assert mixed.count(frozenset()) == 0
    rows = [row for row, _ in mixed.words({"merger": 1.0}, 9, ALL | {"acme"})]
    assert {chunk.source_id for chunk in mixed.fetch(rows, ALL).values()} == {"two"}
    plain.close()
    mixed.close()


def test_changed_readers_count_at_once(store: RowStore) -> None:
    store.add(*parts(addition("one", ["alpha"])))
    store.add(*parts(addition("one", ["alpha"], ("acme", "umbrella"))))
    assert found(store, "alpha") == []
    assert found(store, "alpha", frozenset(("umbrella",))) == ["one/0"]


words = st.lists(st.sampled_from(["wing", "lift", "flow", "東京都", "cafe", "x_1"]), min_size=1, max_size=6)
sources = st.lists(st.tuples(st.integers(0, 4), words, st.sampled_from([("*",), ("a",), ("a", "b")])), max_size=12)


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(writes=sources, removed=st.sets(st.integers(0, 4)))
def test_both_stores_say_the_same(
    tmp_path_factory: pytest.TempPathFactory, writes: list[tuple[int, list[str], tuple[str, ...]]], removed: set[int]
) -> None:
    said = []
    for kind in KINDS:
        store = open_store(tmp_path_factory.mktemp("store"), kind)
        for number, text, readers in writes:
            store.add(*parts(addition(f"s{number}", [" ".join(text), text[0]], readers, seed=number)))
        store.remove(f"s{number}" for number in removed)
        queries = ["wing lift 東京 x_1", "flow"]
        said.append([ranked(store, readers, queries) for readers in (ALL, frozenset("a"), frozenset("*b"))])
        store.close()
    assert said[0] == said[1]


def ranked(store: RowStore, readers: frozenset[str], queries: list[str]) -> object:
    """What a store finds, with scores, free of the order among equals."""
    return (
        store.count(readers),
        [sorted((round(s, 3), c.id) for c, s in store.lexical(query, 50, readers)) for query in queries],
        sorted((round(s, 3), c.id) for c, s in store.nearest(vector(3), 50, readers)),
        store.frequencies(["wing", "flow", "東京"], readers),
    )


WRITER = """
import sys
from pathlib import Path
from zlib import crc32
sys.path.insert(0, {root!r})
from aigrid.knowledge.store import open_store
from tests.knowledge.test_store_conformance import addition
store = open_store(Path({path!r}), {kind!r})
store.add_many([addition("one", ["old"] * 30), addition("two", ["old"] * 30)])
print("ready", flush=True)
for turn in range(10**6):
    word = "new" if turn % 2 == 0 else "old"
    store.add_many([addition("one", [word] * 30, seed=turn), addition("two", [word] * 30, seed=turn)])
"""


@pytest.mark.parametrize("after_ms", [3, 40, 110])
def test_a_killed_writer_leaves_old_or_new_never_half(kind: Kind, tmp_path: Path, after_ms: int) -> None:
    root = str(Path(__file__).resolve().parents[2])
    code = textwrap.dedent(WRITER).format(root=root, path=str(tmp_path), kind=kind)
    writer = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    assert writer.stdout.readline() == "ready\n"
    with pytest.raises(subprocess.TimeoutExpired):
        writer.wait(after_ms / 1000)
    writer.kill()
    writer.wait()
    writer.stdout.close()
    store = open_store(tmp_path, kind)
    old, new = len(store.lexical("old", 100, ALL)), len(store.lexical("new", 100, ALL))
    assert (old, new) in [(60, 0), (0, 60)]
    store.add(*parts(addition("one", ["fresh"])))
    assert found(store, "fresh") == ["one/0"]
    assert store.count(ALL) == 31
    store.close()
