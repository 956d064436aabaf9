import threading
import time
import uuid

from aigrid.core import ids
from aigrid.core.ids import new_id, uuid7_bytes


def test_an_id_is_a_uuid_of_version_7():
    found = uuid.UUID(bytes=uuid7_bytes())
    assert found.version == 7
    assert found.variant == uuid.RFC_4122


def test_an_id_says_when_it_was_made():
    before = time.time_ns() // 1_000_000
    made = int.from_bytes(uuid7_bytes()[:6], "big")
    assert before <= made <= time.time_ns() // 1_000_000 + 50


def test_ids_of_a_process_only_grow():
    made = [uuid7_bytes() for _ in range(20_000)]
    assert made == sorted(set(made))


def test_ids_only_grow_when_the_counter_overflows_and_the_clock_is_set_back(monkeypatch):
    monkeypatch.setattr(ids, "_last_ms", ids._last_ms)
    now = time.time_ns() + 10**9
    monkeypatch.setattr(time, "time_ns", lambda: now)
    made = [uuid7_bytes() for _ in range(10_000)]
    now -= 10**12
    made += [uuid7_bytes() for _ in range(10_000)]
    assert made == sorted(set(made))


def test_threads_never_share_an_id():
    made: list[bytes] = []
    threads = [threading.Thread(target=lambda: made.extend([uuid7_bytes() for _ in range(2000)])) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 16_000


def test_a_prefix_is_put_before_the_uuid():
    made = new_id("req_")
    assert made.startswith("req_")
    assert len(made) == 4 + 32
    assert uuid.UUID(made[4:]).version == 7
