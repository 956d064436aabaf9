"""`kill -9` at any instant: what `count` returned for is on the record, every hold ends settled exactly once."""

import asyncio
import os
import random
import signal
import sys
from pathlib import Path

from aigrid.core.config import Config
from aigrid.ledger.base import Filter, Record
from aigrid.ledger.sqlite import SqliteLedger

VICTIM = """
import asyncio, os, random, sys
from pathlib import Path
from aigrid.core.config import Config, LedgerConfig
from aigrid.core.ids import new_id
from aigrid.ledger.base import Limits, Order
from aigrid.ledger.energy import Sample
from aigrid.ledger.sqlite import SqliteLedger

class Meter:
    source = "fake"
    def sample(self): return Sample(random.randrange(5000), random.randrange(1, 10**8), "fake")
    def describe(self): return ""

def say(*words): os.write(1, (" ".join(map(str, words)) + "\\n").encode())

async def main():
    ledger = SqliteLedger(Path(sys.argv[1]), Config(ledger=LedgerConfig(commit_ms=3)), meter=Meter())
    recovered = await ledger.open()
    for record in recovered: say("recovered", record.id, record.completion_tokens)
    key, _ = await ledger.create_key("acme")
    async def one(parent=None):
        hold = await ledger.hold(Order(new_id("req_"), key, "m", "local", "fast", 10, 100), parent)
        say("hold", hold.id, 0)
        hold.count_prompt(5)
        for _ in range(random.randrange(12)):
            if random.random() < 0.2: await asyncio.sleep(0.002)
            hold.count(1)
            say("count", hold.id, hold.completion_tokens)
            await asyncio.sleep(0)
        ledger.settle(hold, "finished", note="x" * random.choice([0, 900]))
        say("settled", hold.id, hold.completion_tokens)
    async def client():
        while True: await one()
    await asyncio.gather(*(client() for _ in range(16)))

asyncio.run(main())
"""


async def run_and_kill(folder: Path, after_s: float) -> list[list[str]]:
    """Let a process serve, kill it, and return what it said."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", VICTIM, str(folder), stdout=asyncio.subprocess.PIPE
    )
    said = []
    line = await process.stdout.readline()
    while line:
        if len(said) == 40:
            asyncio.get_running_loop().call_later(after_s, os.kill, process.pid, signal.SIGKILL)
        if line.endswith(b"\n"):
            said.append(line.decode().split())
        line = await process.stdout.readline()
    assert await process.wait() == -signal.SIGKILL
    return said


async def test_killed_again_and_again_the_ledger_keeps_every_token_that_was_counted(tmp_path):
    dice = random.Random(11)
    told: dict[str, tuple[str, int]] = {}
    for _ in range(6):
        for what, id_, tokens in await run_and_kill(tmp_path, 0.05 + dice.random() * 0.25):
            if what != "recovered":
                told[id_] = (what, int(tokens))
    ledger = SqliteLedger(tmp_path, Config())
    last = await ledger.open()
    assert await ledger.check() == []
    records: dict[str, Record] = {}
    async for page in ledger.export(Filter()):
        for record in page:
            assert record.id not in records
            records[record.id] = record
    assert {record.id for record in last} <= set(records)
    assert len(told) > 50
    for id_, (what, tokens) in told.items():
        record = records[id_]
        if what == "settled":
            assert (record.completion_tokens, record.outcome) == (tokens, "finished")
        else:  # it may have counted or settled once more before it could say so
            assert tokens <= record.completion_tokens <= tokens + 1
            assert record.outcome in ("recovered", "finished")
            assert record.prompt_tokens == 5 or (what == "hold" and record.completion_tokens == 0)
        assert record.revenue_nusd <= record.held_nusd
    assert sum(record.outcome == "recovered" for record in records.values()) > 0
    assert len(set(records) - set(told)) <= 6 * 16  # held, and killed before they could say so
    await ledger.close()
