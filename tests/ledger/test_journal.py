"""At whatever instant a process dies, the journal reads as before the change or after it."""

import os
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aigrid.ledger import journal
from aigrid.ledger.journal import AMOUNT, COMPLETION, PROMPT, SLOT, Journal


@pytest.fixture
def book(tmp_path):
    book = Journal(tmp_path / "journal")
    yield book
    book.close()


def test_a_hold_reads_as_it_was_written_and_counted(book):
    _, words, at = book.write(b"hold", 77)
    words[at + PROMPT] = 5
    words[at + COMPLETION] = 2**40
    (entry,) = journal.read(book.path)
    assert (entry.hold, entry.amount_nusd, entry.prompt_tokens, entry.completion_tokens) == (b"hold", 77, 5, 2**40)
    assert entry.settlement is None


def test_a_settled_hold_reads_as_settled_and_a_freed_one_is_gone(book):
    slot, _, _ = book.write(b"hold", 1)
    assert book.settle(slot, b"settlement")
    assert journal.read(book.path)[0].settlement == b"settlement"
    book.free(slot)
    assert journal.read(book.path) == []


@settings(max_examples=25, deadline=None)
@given(sizes=st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 3000)), min_size=1, max_size=8))
def test_descriptions_of_any_length_survive(tmp_path_factory, sizes):
    book = Journal(tmp_path_factory.mktemp("journal") / "journal")
    free = len(book._free)
    slots = []
    for number, (hold, settlement) in enumerate(sizes):
        slot, _, _ = book.write(bytes([number]) * hold, 0)
        slots.append(slot)
        assert book.settle(slot, bytes([100 + number]) * settlement)
    entries = sorted(journal.read(book.path), key=lambda entry: slots.index(entry.slot))
    assert [(len(entry.hold), len(entry.settlement)) for entry in entries] == sizes
    for number, entry in enumerate(entries):
        assert set(entry.hold) <= {number}
        assert set(entry.settlement) <= {100 + number}
    for slot in slots:
        book.free(slot)
    assert len(book._free) == free
    book.close()


def test_slots_are_used_again_and_nothing_of_the_last_hold_remains(book):
    slot, words, at = book.write(b"x" * 320, 9)
    words[at + COMPLETION] = 8
    book.settle(slot, b"done")
    book.free(slot)
    again, _, _ = book.write(b"new", 1)
    (entry,) = journal.read(book.path)
    assert again == slot
    assert (entry.hold, entry.completion_tokens, entry.settlement) == (b"new", 0, None)


def test_the_file_grows_with_open_holds_and_not_with_their_number(book):
    size = book.path.stat().st_size
    for _ in range(20_000):
        book.free(book.write(b"hold", 1)[0])
    assert book.path.stat().st_size == size
    for number in range(10_000):
        book.write(b"%d" % number, number)
    assert book.path.stat().st_size == 3 * size
    assert sorted(int(entry.hold) for entry in journal.read(book.path)) == list(range(10_000))


def test_copies_taken_at_any_instant_are_readable_and_counts_only_grow(book):
    """Every store leaves a file that reads as something that was true: copied between any two operations."""
    dice = random.Random(7)
    truth, live = {}, {}
    for step in range(400):
        act = dice.random()
        if act < 0.4 or not live:
            name = b"%d" % step + b"." * dice.choice([0, 300, 900])
            slot, words, at = book.write(name, step)
            live[slot] = (name, words, at)
            truth[slot] = (name, 0, None)
        else:
            slot = dice.choice(list(live))
            name, words, at = live[slot]
            if act < 0.8:
                words[at + COMPLETION] = truth[slot][1] + 1
                truth[slot] = (name, truth[slot][1] + 1, None)
            else:
                book.settle(slot, name)
                truth[slot] = (name, truth[slot][1], name)
                del live[slot]
                if act < 0.95:
                    book.free(slot)
                    del truth[slot]
        found = {e.slot: (e.hold, e.completion_tokens, e.settlement) for e in journal.read(book.path)}
        assert found == truth


class Killed(Exception):
    pass


class DyingWords:
    """The words of a slot; the process "dies" at the n-th store."""

    def __init__(self, words: memoryview, lives: int) -> None:
        self.words, self.lives = words, lives

    def __getitem__(self, index: int) -> int:
        return self.words[index]

    def __setitem__(self, index: int, value: int) -> None:
        if self.lives == 0:
            raise Killed
        self.lives -= 1
        self.words[index] = value


@pytest.mark.parametrize("long", [1, 1200])
def test_dying_between_any_two_stores_leaves_the_state_before_or_after(tmp_path, long):
    for act in ("write", "settle", "free"):
        for lives in range(40):
            book = Journal(tmp_path / f"{act}{lives}")
            slot = book.write(b"h" * long, 3)[0] if act != "write" else None
            if act == "free":
                book.settle(slot, b"s" * long)
            whole = book._segments[0]
            book._segments[0] = whole._replace(words=DyingWords(whole.words, lives))
            try:
                getattr(book, act)(*{"write": (b"h" * long, 3), "settle": (slot, b"s" * long), "free": (slot,)}[act])
                died = False
            except Killed:
                died = True
            book._segments[0] = whole
            found = [(entry.hold, entry.settlement) for entry in journal.read(book.path)]
            opened, settled = (b"h" * long, None), (b"h" * long, b"s" * long)
            before, after = {"write": ([], [opened]), "settle": ([opened], [settled]), "free": ([settled], [])}[act]
            assert found in (before, after)
            assert died or found == after
            book.close()
            if not died:
                break
        else:
            raise AssertionError("never got to the end of it")


def test_a_power_cut_that_tears_a_page_is_noticed(book):
    slot, _, _ = book.write(b"hold", 1)
    book.settle(slot, b"settlement")
    image = bytearray(book.path.read_bytes())
    at = slot * SLOT
    place = image.index(b"settlement", at)
    image[place] ^= 1
    book.path.write_bytes(image)
    assert [(entry.hold, entry.settlement) for entry in journal.read(book.path)] == [(b"hold", None)]
    image[image.index(b"hold", at)] ^= 1
    book.path.write_bytes(image)
    assert [(entry.hold, entry.settlement) for entry in journal.read(book.path)] == [(None, None)]


@pytest.fixture(scope="module")
def garbage_file(tmp_path_factory):
    return tmp_path_factory.mktemp("garbage") / "journal"


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=4 * SLOT), st.integers(0, 3 * SLOT // 8), st.sampled_from([1, 2, 3, 2**63]))
def test_reading_garbage_never_fails(garbage_file, garbage, where, word):
    path = garbage_file
    image = bytearray(garbage.ljust(4 * SLOT, b"\x01"))
    image[where * 8 : where * 8 + 8] = word.to_bytes(8, "little")
    path.write_bytes(image)
    assert all(entry.hold is None or isinstance(entry.hold, bytes) for entry in journal.read(path))


def test_an_absent_journal_is_empty(tmp_path):
    assert journal.read(tmp_path / "none") == []


def test_a_full_disk_refuses_to_grow_but_settles_what_is_open(tmp_path, monkeypatch):
    book = Journal(tmp_path / "journal")
    slots = [book.write(b"x" * 320, 1)[0] for _ in range(len(book._free))]

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space left"):
        book.write(b"one more", 1)
    assert not book.settle(slots[0], b"s" * 500)
    assert book.settle(slots[0], b"s" * 90)
    book.free(slots[0])
    with pytest.raises(OSError, match="No space left"):
        book.write(b"y" * 2000, 1)
    book.write(b"fits", 1)
    assert len(journal.read(book.path)) == len(slots)
    book.close()


def test_another_journal_in_its_place_leaves_the_old_one_mapped(tmp_path):
    """A new owner makes the file anew; a process that still counts into the old one must not die of it."""
    old = Journal(tmp_path / "journal")
    _, words, at = old.write(b"old", 1)
    new = Journal(tmp_path / "journal")
    words[at + AMOUNT] = 5
    assert journal.read(new.path) == []
    old.close()
    new.close()
