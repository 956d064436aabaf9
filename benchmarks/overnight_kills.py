"""What `kill -9` in the middle of a batch does to its answers and to what is charged; the benchmark `overnight` runs it."""

import json
import os
import random
import signal
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.overnight import Night


def kills(night: "Night", requests: int, tokens: int, text: Any, what: list[list[str]]) -> dict[str, Any]:
    """Kill programs while a batch runs; return how its answers and its records differ from one for each request."""
    rng = random.Random(3)
    time.sleep(2.0)  # what earlier batches left is settled
    earlier, recovered = _records(night)
    id_ = night.submit(requests, tokens, text)
    done = 0
    for at, names in enumerate(what):
        share = requests * (at + 1) // (len(what) + 1)
        night.until(id_, lambda batch, s=share: batch["request_counts"]["completed"] >= s)  # type: ignore[misc]
        time.sleep(rng.random() * 0.3)
        pids = night.pids()
        for name in names:
            if name in pids:
                os.kill(pids[name], signal.SIGKILL)
                done += 1
        time.sleep(0.5)
    batch = night.until(id_, lambda batch: False)
    text_ = night.call("GET", f"/v1/files/{batch['output_file_id']}/content").decode()
    rows = [json.loads(line) for line in text_.splitlines()]
    ids = Counter(row["custom_id"] for row in rows)
    time.sleep(1.0)
    later, recovered_later = _records(night)
    charged = {record: paid for record, paid in later.items() if record not in earlier}
    answered = {row["response"]["request_id"] for row in rows}
    return {
        "requests": requests,
        "programs_killed": done,
        "status": batch["status"],
        "lost": requests - len(ids),
        "repeated": sum(ids.values()) - len(ids),
        "charged_without_answer": len(charged.keys() - answered),
        "answers_not_charged": len(answered - charged.keys()),
        "nusd_apart": sum(charged.values()) - batch["aigrid"]["cost_nusd"],
        "recovered_records": recovered_later - recovered,
    }


def _records(night: "Night") -> tuple[dict[str, int], int]:
    """Return what was charged by request id, and how many records a crash left to be recovered."""
    found: dict[str, int] = {}
    recovered, before = 0, ""
    while True:
        more = f"&before={before}" if before else ""
        page = json.loads(night.call("GET", f"/admin/records?tier=overnight&limit=500{more}"))
        rows = page["records"] if "records" in page else page["data"]
        for row in rows:
            recovered += row["outcome"] == "recovered"
            if row["revenue_nusd"]:
                found[row["id"]] = row["revenue_nusd"]
        if len(rows) < 500:
            return found, recovered
        before = rows[-1]["id"]
