"""Who may not read a source cannot tell that it is there: not by searching, counting, scoring, asking or guessing."""

import msgspec
import pytest

from aigrid.core.errors import NotFound
from tests.knowledge.fakes import WordsEmbedder, library_in

ACME = frozenset({"*", "acme", "key_a"})
GLOBEX = frozenset({"*", "globex", "key_g"})


@pytest.fixture(params=["lance", "sqlite"])
def library(request, tmp_path):
    embedder = WordsEmbedder()
    library = library_in(tmp_path / "library", embedder, request.param)
    for name, text in {
        "all": "The canteen opens at noon.",
        "acme": "Acme pays its canteen cook well.",
        "globex": "Globex buys the canteen in March.",
        "key": "Only one key reads this canteen.",
    }.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.txt").write_text(text)
    library.add([str(tmp_path / "all")])
    library.add([str(tmp_path / "acme")], ["acme"])
    library.add([str(tmp_path / "globex")], ["globex"])
    library.add([str(tmp_path / "key")], ["key_g"])
    library.tmp = tmp_path
    yield library
    library.close()


def seen(library, readers, words="canteen globex acme key march cook"):
    return sorted(hit.chunk.path.rpartition("/")[2] for hit in library.search(words, 50, readers))


def test_a_search_finds_what_its_reader_may_read_and_nothing_else(library):
    assert seen(library, frozenset("*")) == ["all.txt"]
    assert seen(library, ACME) == ["acme.txt", "all.txt"]
    assert seen(library, GLOBEX) == ["all.txt", "globex.txt", "key.txt"]
    assert seen(library, frozenset()) == []
    assert seen(library, frozenset({"acm", "acme ", "ACME", "*acme", "", "globex,acme"})) == []


def test_words_of_the_hidden_find_nothing_and_vectors_neither(library):
    hidden = "Globex buys March"
    vector = library.embedder.embed([hidden])[0]
    assert library.store.lexical("Globex March", 10, ACME) == []
    assert all(chunk.path.endswith(("acme.txt", "all.txt")) for chunk, _ in library.store.nearest(vector, 10, ACME))


def test_ranks_and_scores_are_to_the_last_digit_those_of_a_library_without_the_hidden(library, tmp_path):
    alone = library_in(tmp_path / "alone", WordsEmbedder(), "sqlite")
    alone.add([str(library.tmp / "all"), str(library.tmp / "acme")], ["acme"])
    for number in range(30):
        (library.tmp / "globex" / f"{number}.txt").write_text(f"canteen cook noon {number}")
    library.add([str(library.tmp / "globex")])

    def shown(found):
        return [
            (hit.chunk.text, pytest.approx(hit.score), hit.lexical_rank, hit.vector_rank, pytest.approx(hit.similarity))
            for hit in found
        ]

    question = "When does the canteen open at noon?"
    assert shown(library.search(question, 10, ACME)) == shown(alone.search(question, 10, ACME))
    assert library.store.count(ACME) == alone.store.count(ACME) == 2
    alone.close()


def test_listings_counts_and_statistics_are_the_readers_own(library):
    (library.tmp / "globex" / "broken.txt").write_bytes(b"\0")
    library.add([str(library.tmp / "globex")])
    assert [source.path.rpartition("/")[2] for source in library.sources(ACME)] == ["acme.txt", "all.txt"]
    mine, all_of_it = library.stats(ACME), library.stats(None)
    assert (mine.sources, mine.chunks, mine.skipped) == (2, 2, 0)
    assert (all_of_it.sources, all_of_it.skipped) == (4, 1)
    assert mine.indexed_ns < all_of_it.indexed_ns


def test_a_guessed_id_is_no_different_from_a_wrong_one(library):
    for source in library.sources(None):
        if not source.path.endswith(("all.txt", "acme.txt")):
            with pytest.raises(NotFound) as there:
                library.source(source.id, ACME)
            with pytest.raises(NotFound) as nowhere:
                library.source("src_0", ACME)
            assert there.value.message.replace(source.id, "") == nowhere.value.message.replace("src_0", "")
            assert library.store.plain(source.id, ACME) is None


def test_neighbours_of_a_hidden_chunk_are_hidden_even_from_who_has_the_chunk(library):
    chunk = next(hit.chunk for hit in library.search("globex", 5, GLOBEX) if hit.chunk.path.endswith("globex.txt"))
    assert library.store.neighbours(chunk, 1, 1, GLOBEX)
    assert library.store.neighbours(chunk, 1, 1, ACME) == []
    forged = msgspec.structs.replace(chunk, readers=("*",))
    assert library.store.neighbours(forged, 1, 1, ACME) == []


def test_other_readers_hold_at_once_without_embedding_again(library):
    library.embedder.texts.clear()
    report = library.add([str(library.tmp / "globex")], ["acme"])
    assert report.unchanged == 1
    assert library.embedder.texts == []
    assert seen(library, ACME) == ["acme.txt", "all.txt", "globex.txt"]
    assert seen(library, GLOBEX) == ["all.txt", "key.txt"]
    source = next(source for source in library.sources(None) if source.path.endswith("globex.txt"))
    with pytest.raises(NotFound):
        library.source(source.id, GLOBEX)


def test_adding_again_without_readers_opens_nothing(library):
    library.add([str(library.tmp / "globex")])
    (library.tmp / "globex" / "new.txt").write_text("Globex also buys the kitchen.")
    library.refresh()
    assert seen(library, ACME) == ["acme.txt", "all.txt"]
    assert "new.txt" in seen(library, GLOBEX)
    library.add([str(library.tmp / "globex" / "new.txt")])
    assert seen(library, ACME) == ["acme.txt", "all.txt"]


def test_a_file_moved_into_another_tenants_folder_is_theirs_from_then_on(library):
    (library.tmp / "globex" / "globex.txt").rename(library.tmp / "acme" / "moved.txt")
    library.refresh()
    assert seen(library, ACME) == ["acme.txt", "all.txt", "moved.txt"]
    assert seen(library, GLOBEX) == ["all.txt", "key.txt"]


def test_what_was_removed_is_gone_and_stays_out_of_its_folder(library):
    path = library.tmp / "globex" / "globex.txt"
    assert library.remove([str(path)]) == 1
    library.refresh()
    assert seen(library, GLOBEX) == ["all.txt", "key.txt"]
    library.add([str(path)])
    assert seen(library, GLOBEX) == ["all.txt", "globex.txt", "key.txt"]
    assert seen(library, ACME) == ["acme.txt", "all.txt"]
