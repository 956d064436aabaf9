"""The flight recorder: open holds and their counts in a memory-mapped file, durable against `kill -9`.

A store into the mapping is in the kernel's page cache at once, without a system call, and outlives the process. (A
power cut may lose what the kernel had not written yet.) The file is an array of 512-byte slots, one per hold:
twelve 64-bit words, the hold's description, and in the last 96 bytes its settlement, each guarded by a CRC-32. What
does not fit goes on in further slots. Every word is stored in one piece and the state last, so whatever instant a
process is killed at, the slot reads as before the change or after it.
"""

import contextlib
import mmap
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

SLOT = 512
WORDS = 12
BODY = WORDS * 8
_PER_SEGMENT = 4096
_SHIFT = 12
_MASK = _PER_SEGMENT - 1
_WORDS_PER_SLOT = SLOT // 8

FREE, OPEN, SETTLED, PART = 0, 1, 2, 3
STATE, HOLD, HOLD_NEXT, AMOUNT, PROMPT, CACHED, COMPLETION, REASONING, FIRST_TOKEN, SETTLEMENT, SETTLEMENT_NEXT = range(
    11
)
"""Words of a slot. HOLD and SETTLEMENT are `length << 32 | crc`; the NEXTs are a slot number plus one, or zero."""

_OPENING = struct.Struct("=10Q")
"""All words of a slot after its state."""
_PART_BODY = 16
_RESERVE = 96
"""Bytes of each slot kept for its settlement, so that a full disk cannot keep a hold from being settled."""
_SETTLED_BODY = SLOT - _RESERVE


class Entry(NamedTuple):
    """What one slot said. `hold` is None where a power cut left it unreadable, `settlement` where there is none."""

    slot: int
    amount_nusd: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    reasoning_tokens: int
    first_token_ns: int
    hold: bytes | None
    settlement: bytes | None


class Segment(NamedTuple):
    """One mapped piece of the file: its bytes, and the same as 64-bit words."""

    data: mmap.mmap
    words: memoryview


class Journal:
    """The file, mapped for writing by its one owner. Used from one thread."""

    def __init__(self, path: Path) -> None:
        """Make a new, empty file in place of the old one; raises `OSError` where there is no room for it."""
        self.path = path
        self._segments: list[Segment] = []
        self._free: list[int] = []
        self._linked: set[int] = set()
        # Never truncated: a process that still has the old file mapped would die of SIGBUS.
        path.unlink(missing_ok=True)
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._grow()

    def close(self) -> None:
        """Unmap the file; open holds stay in it. Holds must not count any more."""
        for segment in self._segments:
            segment.words.release()
            segment.data.close()
        self._segments.clear()
        self._free.clear()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def write(self, hold: bytes, amount_nusd: int) -> tuple[int, memoryview, int]:
        """Open a slot; return its number and where its words are: a view and the index of the first.

        Raises `OSError` where the file must grow and the disk is full; then nothing is written.
        """
        free = self._free
        if not free:
            self._grow()
        slot = free.pop()
        data, words = self._segments[slot >> _SHIFT]
        base = (slot & _MASK) * SLOT
        link = 0
        if len(hold) <= _SETTLED_BODY - BODY:
            data[base + BODY : base + BODY + len(hold)] = hold
        else:
            try:
                link = self._put(slot, BODY, _SETTLED_BODY, hold)
            except OSError:
                free.append(slot)
                raise
            self._linked.add(slot)
        meta = len(hold) << 32 | zlib.crc32(hold)
        _OPENING.pack_into(data, base + 8, meta, link, amount_nusd, 0, 0, 0, 0, 0, 0, 0)
        at = base >> 3
        words[at] = OPEN
        return slot, words, at

    def settle(self, slot: int, settlement: bytes) -> bool:
        """Mark a slot settled; False where the journal cannot grow for it (at most 96 bytes always fit)."""
        data, words = self._segments[slot >> _SHIFT]
        at = (slot & _MASK) * _WORDS_PER_SLOT
        if len(settlement) <= _RESERVE:
            start = (at << 3) + _SETTLED_BODY
            data[start : start + len(settlement)] = settlement
        else:
            try:
                words[at + SETTLEMENT_NEXT] = self._put(slot, _SETTLED_BODY, SLOT, settlement)
            except OSError:
                return False
            self._linked.add(slot)
        words[at + SETTLEMENT] = len(settlement) << 32 | zlib.crc32(settlement)
        words[at] = SETTLED
        return True

    def free(self, slot: int) -> None:
        """Let go of a slot whose record is committed."""
        words = self._segments[slot >> _SHIFT].words
        at = (slot & _MASK) * _WORDS_PER_SLOT
        words[at] = FREE
        self._free.append(slot)
        if slot in self._linked:
            self._linked.discard(slot)
            self._free_parts(words[at + HOLD_NEXT])
            self._free_parts(words[at + SETTLEMENT_NEXT])

    def _put(self, slot: int, start: int, end: int, blob: bytes) -> int:
        """Write `blob` into a slot's bytes [start, end) and on in further slots; return the first of those plus one."""
        base = (slot & _MASK) * SLOT
        room = end - start
        link = 0
        if len(blob) > room:
            link = self._put_rest(blob[room:])
            blob = blob[:room]
        data = self._segments[slot >> _SHIFT].data
        data[base + start : base + start + len(blob)] = blob
        return link

    def _put_rest(self, blob: bytes) -> int:
        if not self._free:
            self._grow()
        slot = self._free.pop()
        words = self._segments[slot >> _SHIFT].words
        at = (slot & _MASK) * _WORDS_PER_SLOT
        try:
            words[at + 1] = self._put(slot, _PART_BODY, SLOT, blob)
        except OSError:
            self._free.append(slot)
            raise
        words[at] = PART
        return slot + 1

    def _free_parts(self, link: int) -> None:
        while link:
            slot = link - 1
            words = self._segments[slot >> _SHIFT].words
            at = (slot & _MASK) * _WORDS_PER_SLOT
            link = words[at + 1]
            words[at] = FREE
            self._free.append(slot)

    def _grow(self) -> None:
        # Really written, not sparse: a store into a hole on a full disk would kill the process with SIGBUS.
        size = _PER_SEGMENT * SLOT
        first = len(self._segments) * _PER_SEGMENT
        offset = first * SLOT
        try:
            os.posix_fallocate(self._fd, offset, size)
            zeros = bytes(size)
            done = 0
            while done < size:
                done += os.pwrite(self._fd, zeros[done:], offset + done)
            data = mmap.mmap(self._fd, size, offset=offset)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, offset)
            raise
        self._segments.append(Segment(data, memoryview(data).cast("Q")))
        self._free.extend(range(first + _PER_SEGMENT - 1, first - 1, -1))


def read(path: Path) -> list[Entry]:
    """Return every open or settled slot of a journal file, whoever wrote it; an absent file has none."""
    try:
        image = path.read_bytes()
    except FileNotFoundError:
        return []
    image = image[: len(image) // SLOT * SLOT]
    return list(_entries(image))


def _entries(image: bytes) -> Iterator[Entry]:
    view = memoryview(image).cast("Q") if image else memoryview(b"").cast("Q")
    for slot in range(len(image) // SLOT):
        at = slot * _WORDS_PER_SLOT
        state = view[at]
        if state not in (OPEN, SETTLED):
            continue
        word = view[at : at + WORDS].tolist()
        hold = _get(image, view, slot, BODY, _SETTLED_BODY, word[HOLD], word[HOLD_NEXT])
        settlement = None
        if state == SETTLED and hold is not None:
            settlement = _get(image, view, slot, _SETTLED_BODY, SLOT, word[SETTLEMENT], word[SETTLEMENT_NEXT])
        yield Entry(
            slot, word[AMOUNT], word[PROMPT], word[CACHED], word[COMPLETION], word[REASONING],
            word[FIRST_TOKEN], hold, settlement,
        )  # fmt: skip


def _get(image: bytes, view: memoryview, slot: int, start: int, end: int, meta: int, link: int) -> bytes | None:
    length, crc = meta >> 32, meta & 0xFFFFFFFF
    blob = image[slot * SLOT + start : slot * SLOT + end]
    slots = len(image) // SLOT
    while len(blob) < length and 0 < link <= slots:
        at = (link - 1) * SLOT
        blob += image[at + _PART_BODY : at + SLOT]
        link = view[(link - 1) * _WORDS_PER_SLOT + 1]
    blob = blob[:length]
    return blob if len(blob) == length and zlib.crc32(blob) == crc else None
