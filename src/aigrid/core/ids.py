"""Identifiers: UUID version 7 (RFC 9562), so that ids sort by the time they were made."""

import os
import threading
import time

_lock = threading.Lock()
_last_ms = 0
_counter = 0
_random = b""
_used = 0


def uuid7_bytes() -> bytes:
    """Return 16 bytes of a new UUIDv7; ids made by one process are strictly increasing.

    The 12 bits after the millisecond are a counter (RFC 9562, method 1); when it overflows the
    timestamp runs ahead of the clock by a millisecond rather than repeat.
    """
    global _last_ms, _counter, _random, _used
    with _lock:
        if _used + 9 > len(_random):  # a system call per id would cost more than the rest of it
            _random, _used = os.urandom(4608), 0
        random = _random[_used : _used + 9]
        _used += 9
        ms = time.time_ns() // 1_000_000
        if ms > _last_ms:
            _last_ms, _counter = ms, random[8] & 0x7F
        else:
            _counter += 1
            if _counter > 0xFFF:
                _last_ms, _counter = _last_ms + 1, 0
        ms, counter = _last_ms, _counter
    high = (ms << 16 | 0x7000 | counter).to_bytes(8, "big")
    return high + bytes([random[0] & 0x3F | 0x80]) + random[1:8]


def _forget_random() -> None:
    global _random
    _random = b""


os.register_at_fork(after_in_child=_forget_random)


def new_id(prefix: str = "") -> str:
    """Return a new id: `prefix` and 32 hexadecimal digits of a UUIDv7, e.g. `req_0192…`."""
    return prefix + uuid7_bytes().hex()
