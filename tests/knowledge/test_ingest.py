"""Bringing folders into the index: what changed and nothing else, whatever happens on the way."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from aigrid.core.clock import SECOND
from aigrid.core.errors import Conflict, NotFound
from aigrid.knowledge import ingest, plan, walk
from aigrid.knowledge.ahead import ahead, side_by_side
from aigrid.knowledge.roots import Roots
from tests.knowledge.fakes import WordsEmbedder, library_in, read_paragraphs

EVERYBODY = frozenset("*")


@pytest.fixture(params=["lance", "sqlite"])
def kind(request):
    return request.param


@pytest.fixture
def embedder():
    return WordsEmbedder()


@pytest.fixture
def library(tmp_path, embedder, kind):
    library = library_in(tmp_path / "library", embedder, kind)
    yield library
    library.close()


@pytest.fixture
def docs(tmp_path):
    folder = tmp_path / "docs"
    (folder / "inner").mkdir(parents=True)
    (folder / "apples.txt").write_text("Apples are red.\n\nThey grow on trees.")
    (folder / "inner" / "pears.txt").write_text("Pears are green.")
    for path in folder.rglob("*.txt"):
        aged(path)
    return folder


def aged(path, seconds=60.0):
    """Make a file old enough that its size and time are trusted."""
    then = time.time() - seconds
    os.utime(path, (then, then))


def paths(library):
    return {os.path.basename(source.path): source.state for source in library.sources(None)}


def found(library, words):
    return [os.path.basename(chunk.path) for chunk, _ in library.store.lexical(words, 5, EVERYBODY)]


def test_a_folder_is_added_whole(library, docs):
    report = library.add([str(docs)])
    assert (report.added, report.chunks, report.skipped) == (2, 3, [])
    assert found(library, "pears") == ["pears.txt"]
    source = next(source for source in library.sources() if source.path.endswith("apples.txt"))
    assert source.chunks == 2
    assert library.source(source.id)[1] == "Apples are red.\n\nThey grow on trees."


def test_what_has_not_changed_is_neither_read_nor_embedded_again(library, docs, embedder):
    library.add([str(docs)])
    embedder.texts.clear()
    (docs / "apples.txt").touch()
    again = library.add([str(docs)])
    assert (again.unchanged, again.added, again.changed) == (2, 0, 0)
    assert embedder.texts == []


def test_what_changed_is_read_again_and_its_old_text_is_gone(library, docs, embedder):
    library.add([str(docs)])
    embedder.texts.clear()
    (docs / "apples.txt").write_text("Cherries are dark.")
    report = library.add([str(docs)])
    assert (report.changed, report.unchanged) == (1, 1)
    assert embedder.texts == ["Cherries are dark."]
    assert found(library, "apples") == []
    assert found(library, "cherries") == ["apples.txt"]


def test_a_change_that_keeps_size_and_time_right_after_reading_is_seen(library, docs, monkeypatch):
    monkeypatch.setattr(plan, "RACY_NS", 3600 * SECOND)
    path = docs / "apples.txt"
    path.write_text("before")
    aged(path)
    stamp = path.stat().st_mtime_ns
    library.add([str(docs)])
    path.write_text("behind")
    os.utime(path, ns=(stamp, stamp))
    assert library.add([str(docs)]).changed == 1


def test_a_deleted_file_leaves_the_index(library, docs):
    library.add([str(docs)])
    (docs / "apples.txt").unlink()
    report = library.add([str(docs)])
    assert report.removed == 1
    assert paths(library) == {"pears.txt": "indexed"}
    assert found(library, "apples") == []


def test_a_renamed_file_keeps_its_vectors_and_its_id(library, docs, embedder):
    library.add([str(docs)])
    before = {source.path: source.id for source in library.sources()}
    embedder.texts.clear()
    (docs / "apples.txt").rename(docs / "inner" / "fruit.txt")
    report = library.add([str(docs)])
    assert (report.moved, report.removed, report.added) == (1, 0, 0)
    assert embedder.texts == []
    after = {source.path: source.id for source in library.sources()}
    assert after[str(docs / "inner/fruit.txt")] == before[str(docs / "apples.txt")]
    assert found(library, "apples") == ["fruit.txt"]
    assert paths(library) == {"fruit.txt": "indexed", "pears.txt": "indexed"}


def test_a_copy_is_a_source_of_its_own(library, docs):
    library.add([str(docs)])
    (docs / "copy.txt").write_bytes((docs / "apples.txt").read_bytes())
    report = library.add([str(docs)])
    assert (report.added, report.moved, report.removed) == (1, 0, 0)


def test_a_bad_file_costs_nothing_else_and_is_reported(library, docs):
    (docs / "bad.txt").write_bytes(b"\0\0")
    (docs / "empty.txt").write_text("")
    os.mkfifo(docs / "pipe.txt")
    report = library.add([str(docs)])
    assert report.added == 2
    reasons = {os.path.basename(each.path): each.reason for each in report.skipped}
    assert reasons.keys() == {"bad.txt", "empty.txt", "pipe.txt"}
    assert "not text" in reasons["bad.txt"]
    assert paths(library)["bad.txt"] == "skipped"
    assert library.add([str(docs)]).unchanged >= 2
    (docs / "bad.txt").write_text("Now it is text.")
    assert library.add([str(docs)]).changed == 1
    assert found(library, "text")[0] == "bad.txt"


def test_a_file_that_became_unreadable_is_no_longer_found(library, docs):
    library.add([str(docs)])
    (docs / "apples.txt").write_bytes(b"\0")
    library.add([str(docs)])
    assert found(library, "apples") == []
    assert paths(library)["apples.txt"] == "skipped"


def test_links_hidden_files_and_generated_folders_are_left_alone(library, docs, tmp_path):
    (tmp_path / "secret.txt").write_text("secret")
    (docs / "link.txt").symlink_to(tmp_path / "secret.txt")
    (docs / "loop").symlink_to(docs)
    (docs / ".hidden").mkdir()
    (docs / ".hidden" / "a.txt").write_text("secret")
    (docs / "node_modules").mkdir()
    (docs / "node_modules" / "b.txt").write_text("secret")
    assert library.add([str(docs)]).added == 2
    assert found(library, "secret") == []


def test_a_file_too_large_is_refused_unread(library, docs, monkeypatch):
    monkeypatch.setattr(walk, "MAX_BYTES", 100)
    (docs / "large.txt").write_text("x" * 101)
    assert [each.reason for each in library.add([str(docs)]).skipped] == ["larger than 0 MiB"]


def test_names_that_are_no_text_are_reported(library, docs):
    with open(os.fsencode(docs) + b"/\xff\n.txt", "w") as file:
        file.write("hidden")
    report = library.add([str(docs)])
    assert report.added == 2
    assert "not valid UTF-8" in report.skipped[0].reason


def test_what_is_not_there_is_refused_before_anything_happens(library, docs):
    with pytest.raises(NotFound, match="no file or folder"):
        library.add([str(docs), str(docs / "nowhere")])
    assert library.sources(None) == []
    assert library.roots() == {}


def test_a_folder_that_cannot_be_looked_into_keeps_what_is_known_of_it(library, docs, monkeypatch):
    library.add([str(docs)])
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("inner"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert library.add([str(docs)]).removed == 0
    assert "pears.txt" in paths(library)


def test_progress_goes_to_the_end(library, docs):
    for number in range(30):
        (docs / f"{number}.txt").write_text(f"number {number}")
    told = []
    library.add([str(docs)], progress=lambda done, total, what: told.append((done, total)))
    assert told[-1] == (32, 32)
    assert told == sorted(told)


def test_a_stop_keeps_what_is_written_and_the_next_run_does_the_rest(library, docs, monkeypatch):
    monkeypatch.setattr(ingest, "WRITE_CHUNKS", 4)
    for number in range(40):
        aged_file = docs / f"{number}.txt"
        aged_file.write_text(f"number {number}")
    stop = threading.Event()
    report = library.add([str(docs)], progress=lambda done, total, what: stop.set(), stop=stop)
    assert report.stopped
    assert 0 < report.added < 42
    assert library.stats().sources == report.added
    rest = library.add([str(docs)])
    assert report.added + rest.added == 42


@pytest.fixture
def many(docs, monkeypatch):
    """So much that words are written first."""
    monkeypatch.setattr(ingest, "WRITE_CHUNKS", 4)
    monkeypatch.setattr(ingest, "EMBED_CHUNKS", 4)
    for number in range(40):
        (docs / f"{number}.txt").write_text(f"number {number} is a quince")
        aged(docs / f"{number}.txt")
    return docs


def test_what_is_read_is_found_by_its_words_before_it_is_embedded(library, many, embedder):
    embedder.gate.clear()
    adding = threading.Thread(target=library.add, args=([str(many)],))
    adding.start()
    try:
        until = time.monotonic() + 60
        while library.store.count(EVERYBODY) < 43:
            assert time.monotonic() < until
            time.sleep(0.01)
        assert found(library, "number 17 quince")[0] == "17.txt"
        assert {source.embedded for source in library.sources()} == {False}
        assert library.stats().waiting == 42
    finally:
        embedder.gate.set()
        adding.join()
    assert {source.embedded for source in library.sources()} == {True}
    assert library.stats().waiting == 0
    assert library.store.count(EVERYBODY) == 43
    near = library.store.nearest(embedder.embed(["number 17 is a quince"])[0], 1, EVERYBODY)
    assert near[0][0].path.endswith("17.txt")


def test_what_was_not_embedded_is_embedded_the_next_time_without_reading_it_again(tmp_path, many, embedder, kind):
    reads = []

    def read(source, file):
        reads.append(file)
        return read_paragraphs(source, file)

    library = library_in(tmp_path / "library", embedder, kind, read=read)
    embedder.fail = RuntimeError("no memory")
    with pytest.raises(RuntimeError, match="no memory"):
        library.add([str(many)])
    assert library.stats().waiting == 42
    embedder.fail = None
    reads.clear()
    assert library.add([str(many)]).unchanged == 42
    assert reads == []
    assert library.stats().waiting == 0
    assert len(embedder.texts) == 43
    library.close()


def test_a_library_embedded_in_part_finds_both_parts(library, many, embedder, monkeypatch):
    embed = embedder.embed
    calls = []

    def twice(texts):
        calls.append(texts)
        if len(calls) > 2:
            raise RuntimeError("no memory")
        return embed(texts)

    monkeypatch.setattr(embedder, "embed", twice)
    with pytest.raises(RuntimeError, match="no memory"):
        library.add([str(many)])
    monkeypatch.undo()
    waiting = library.stats().waiting
    assert 0 < waiting < 42
    for source in library.sources():
        name = os.path.basename(source.path)
        if name[0].isdigit():
            best = library.search(f"number {name.removesuffix('.txt')} quince", 3)[0]
            assert os.path.basename(best.chunk.path) == name, (name, source.embedded)
            assert (best.similarity is not None) == source.embedded


def test_an_embedder_that_fails_is_raised_and_costs_only_what_it_failed_on(library, docs, embedder):
    library.add([str(docs / "inner")])
    embedder.fail = RuntimeError("no memory")
    with pytest.raises(RuntimeError, match="no memory"):
        library.add([str(docs)])
    embedder.fail = None
    assert library.add([str(docs)]).added == 1


KILLED = """
import os, sys
from pathlib import Path
from tests.knowledge.fakes import WordsEmbedder, library_in
from aigrid.knowledge import ingest
ingest.WRITE_CHUNKS = 4
library = library_in(Path(sys.argv[1]), kind=sys.argv[3])
library.add([sys.argv[2]], progress=lambda done, total, what: print(done, flush=True))
"""


def test_a_kill_at_any_moment_loses_nothing_that_was_written(tmp_path, docs, kind):
    for number in range(60):
        (docs / f"{number}.txt").write_text(f"number {number}")
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    command = [sys.executable, "-c", KILLED, str(tmp_path / "library"), str(docs), kind]
    process = subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True)
    done = [int(process.stdout.readline()) for _ in range(3)][-1]
    process.send_signal(signal.SIGKILL)
    process.communicate()
    library = library_in(tmp_path / "library", kind=kind)
    survived = library.stats()
    assert survived.sources >= done
    assert library.store.count(EVERYBODY) == survived.chunks
    report = library.add([str(docs)])
    assert report.added == 62 - survived.sources
    assert library.store.count(EVERYBODY) == library.stats().chunks == 63
    library.close()


def test_one_process_writes_at_a_time(tmp_path, docs, embedder, kind):
    library = library_in(tmp_path / "library", embedder, kind)
    other = library_in(tmp_path / "library", embedder, kind)
    embedder.gate.clear()
    writing = threading.Thread(target=library.add, args=([str(docs)],))
    writing.start()
    try:
        assert embedder.asked.wait(60)
        with pytest.raises(Conflict, match="is being written by process"):
            other.add([str(docs)])
        assert other.sources(None) == []
    finally:
        embedder.gate.set()
        writing.join()
    assert other.stats().sources == 2
    library.close()
    other.close()


def test_pages_are_fetched_again_and_kept_when_they_cannot_be(tmp_path, kind):
    from aigrid.knowledge.fetch import FetchError

    pages = {"http://a/x": "A page about plums."}

    def fetch(url, folder):
        if url not in pages:
            raise FetchError(f"{url} is gone")
        (folder / "page.txt").write_text(pages[url])
        return str(folder / "page.txt")

    library = library_in(tmp_path / "library", kind=kind, fetch=fetch)
    assert library.add(["http://a/x"]).added == 1
    assert library.add(["http://a/x"]).unchanged == 1
    pages["http://a/x"] = "A page about figs."
    assert library.add(["http://a/x"]).changed == 1
    del pages["http://a/x"]
    report = library.refresh()
    assert "what was known of it stays" in report.skipped[0].reason
    assert [chunk.path for chunk, _ in library.store.lexical("figs", 3, EVERYBODY)] == ["http://a/x"]
    assert "skipped" in {source.state for source in library.sources(None)} or library.stats().sources == 1
    library.close()


def test_the_nearest_root_says_who_reads(tmp_path):
    roots = Roots(tmp_path / "roots.json")
    roots.add("/docs", ("acme",))
    roots.add("/docs/open", ("*",))
    again = Roots(tmp_path / "roots.json")
    assert again.readers("/docs/a.txt") == ("acme",)
    assert again.readers("/docs/open/a.txt") == ("*",)
    assert again.readers("/docsy/a.txt") == ()
    again.add("/docs", None)
    assert again.readers("/docs/a.txt") == ("acme",)
    again.add("/docs/inner", None)
    assert again.readers("/docs/inner/a.txt") == ("acme",)


def test_stages_hand_on_errors_and_end_when_nobody_reads():
    closed = threading.Event()

    def numbers():
        try:
            yield from range(1_000_000)
        finally:
            closed.set()

    first = ahead(numbers(), 2)
    assert next(first) == 0
    first.close()
    assert closed.wait(60)
    assert list(side_by_side(lambda x: x * 2, range(50), 3)) == [x * 2 for x in range(50)]
    with pytest.raises(ZeroDivisionError):
        list(ahead((1 // x for x in (1, 0)), 2))


def test_no_more_is_read_ahead_than_the_stages_hold():
    begun = []

    def items():
        for number in range(1000):
            begun.append(number)
            yield number

    stream = ahead(side_by_side(lambda x: x, items(), 2), 4)
    assert next(stream) == 0
    time.sleep(0.3)
    assert len(begun) < 20
    stream.close()


def test_reading_is_left_to_the_reader_that_was_given(tmp_path, docs):
    calls = []

    def read(source, file):
        calls.append(file)
        return read_paragraphs(source, file)

    library = library_in(tmp_path / "library", read=read)
    library.add([str(docs)])
    assert sorted(os.path.basename(path) for path in calls) == ["apples.txt", "pears.txt"]
    library.close()
