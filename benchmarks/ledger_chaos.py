"""Whether the ledger stays exact when everything goes wrong.

1. `storm`: 10,000 requests over two upstreams with clients that leave, upstreams that die, stall, fail and lie;
   a real `kill -9` of an upstream now and then. Every settled request is compared with what its client received.
2. `kills`: the same, with three `kill -9` of the gateway (and of an upstream) on top.
3. `engine`: the embedded engine's process is killed three times while it serves (where the default model is here).
4. `budget`: 200 concurrent requests on one key whose budget allows only some of them.
5. `soak`: five minutes of traffic; the gateway's memory must not grow.
"""

import asyncio
import contextlib
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from aigrid.core.config import Config, EngineConfig
from aigrid.ledger import open_ledger
from aigrid.ledger.base import Filter, Record
from benchmarks import chaos_clients, common, load
from benchmarks.chaos_clients import RATE, Seen

AT_ONCE = 64
MODEL = EngineConfig().model


class Upstream:
    """An echo server that can be killed and comes back on the same port."""

    def __init__(self) -> None:
        self.port = common.free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.kills = 0
        self._start()

    def _start(self) -> None:
        command = [sys.executable, "-m", "aigrid.cli", "echo", "--port", str(self.port)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def wait(self, patience: float = 60.0) -> None:
        """Return when the server takes connections."""
        end = time.monotonic() + patience
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1.0).close()
                return
            except OSError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.05)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.kills += 1
        self._start()

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def upstreams() -> Iterator[tuple[Upstream, Upstream]]:
    pair = Upstream(), Upstream()
    try:
        for one in pair:
            one.wait()
        yield pair
    finally:
        for one in pair:
            one.stop()


@contextlib.contextmanager
def factory(pair: tuple[Upstream, Upstream]) -> Iterator[common.Factory]:
    options = [item for at, one in enumerate(pair) for item in ("--upstream", f"up{at}={one.url}")]
    with common.factory("--engine", "none", *options) as running:
        yield running


@contextlib.asynccontextmanager
async def books(home: Path) -> AsyncIterator[Any]:
    """Open the ledger of a factory, to read."""
    before = os.environ.get("AIGRID_HOME")
    os.environ["AIGRID_HOME"] = str(home)
    ledger = open_ledger(Config(), owner=False)
    await ledger.open()
    try:
        yield ledger
    finally:
        await ledger.close()
        if before is None:
            del os.environ["AIGRID_HOME"]
        else:
            os.environ["AIGRID_HOME"] = before


async def settled(home: Path, patience: float = 20.0) -> tuple[dict[str, Record], list[str], int]:
    """Return every record by id, what the ledger's own check finds, and holds still open after `patience` seconds."""
    await asyncio.sleep(1.0)  # records are committed within 250 ms of their settlement
    async with books(home) as ledger:
        end = time.monotonic() + patience
        while (report := await ledger.report(0)).open_holds and time.monotonic() < end:
            await asyncio.sleep(0.2)
        records = [record async for page in ledger.export(Filter(limit=1000)) for record in page]
        assert len({record.id for record in records}) == len(records), "a request was settled twice"
        return {record.id: record for record in records}, await ledger.check(), report.open_holds


def compare(seen: list[Seen], records: dict[str, Record], problems: list[str], still_open: int) -> dict[str, Any]:
    """Hold what clients received against what the ledger settled."""
    ours = [one for one in seen if one.id]
    missing = [one for one in ours if one.ended != "refused" and one.id not in records]
    differ: Counter[str] = Counter()
    unexplained: list[str] = []
    most_behind = 0
    most_recovered = 0
    charged_for_nothing = 0
    for one in ours:
        record = records.get(one.id)
        if record is None:
            continue
        gap = record.completion_tokens - one.tokens
        explained = True
        recovered = record.outcome == "recovered"
        if one.ended == "refused":
            charged_for_nothing += record.revenue_nusd > 0
        elif recovered:
            most_recovered = max(most_recovered, abs(gap))
            explained = abs(gap) <= RATE // 10
        elif one.ended == "left":
            most_behind = max(most_behind, gap)
            explained = 0 <= gap <= RATE // 10
        else:
            explained = gap == 0
        if one.ended == "whole" and record.usage_source == "upstream":
            explained = explained and record.prompt_tokens == one.prompt
        if not explained:
            unexplained.append(f"{one} but {record.outcome}, {record.completion_tokens} tokens ({record.note})")
        if gap:
            differ[f"{one.ended}, {record.outcome}"] += 1
    whole = [one for one in ours if one.ended == "whole" and one.id in records]
    return {
        "requests": len(seen),
        "endings": dict(Counter(one.ended for one in seen)),
        "refusals": dict(Counter(str(one.status) for one in seen if one.ended == "refused")),
        "outcomes": dict(Counter(record.outcome for record in records.values())),
        "retried": sum("up" in record.note for record in records.values()),
        "usage_sources": dict(Counter(record.usage_source for record in records.values())),
        "tokens_received_whole": sum(one.tokens for one in whole),
        "tokens_settled_whole": sum(records[one.id].completion_tokens for one in whole),
        "differences": dict(differ),
        "most_tokens_made_for_a_client_that_left": most_behind,
        "most_tokens_of_difference_recovered": most_recovered,
        "unexplained": unexplained,
        "missing": len(missing),
        "charged_for_nothing": charged_for_nothing,
        "open_holds": still_open,
        "check": problems,
    }


def is_exact(figures: dict[str, Any]) -> bool:
    """Say whether nothing is missing, unexplained, open or charged for nothing, and the sums are equal."""
    bad = ("unexplained", "missing", "charged_for_nothing", "open_holds", "check")
    return not any(figures[name] for name in bad) and (
        figures["tokens_received_whole"] == figures["tokens_settled_whole"] > 0
    )


def storm(requests: int, kills: int, seed: int) -> dict[str, Any]:
    """Run the storm; with `kills` the gateway is killed so many times on the way."""
    killed = 0
    with upstreams() as pair, factory(pair) as running:

        async def go() -> list[Seen]:
            nonlocal killed
            http = load.client(running.url, running.key)
            seen: list[Seen] = []
            crowd = asyncio.create_task(chaos_clients.crowd(http, requests, AT_ONCE, seed, seen))
            rng = random.Random(seed)
            while not crowd.done():
                await asyncio.wait([crowd], timeout=rng.uniform(0.4, 1.5))
                rng.choice(pair).kill()
                if len(seen) > requests * (killed + 1) / (kills + 1) and killed < kills and not crowd.done():
                    pid = gateway_pid(running)
                    os.kill(pid, signal.SIGKILL)
                    killed += 1
                    while gateway_pid(running) in (0, pid):
                        await asyncio.sleep(0.05)
            await crowd
            return seen

        seen = load.run(go)
        result = compare(seen, *asyncio.run(settled(running.home)))
        result["upstreams_killed"] = sum(one.kills for one in pair)
    result["gateways_killed"] = killed
    return result


def gateway_pid(running: common.Factory) -> int:
    """Return the process id of the factory's gateway, 0 while there is none."""
    for child in Path(f"/proc/{running.process.pid}/task/{running.process.pid}/children").read_text().split():
        with contextlib.suppress(OSError):
            if b"aigrid.cli.gateway" in Path(f"/proc/{child}/cmdline").read_bytes():
                return int(child)
    return 0


def engine(requests: int) -> dict[str, Any]:
    """Kill the embedded engine's process three times, and the gateway once, while they serve."""
    with common.factory() as running:

        async def one(http: Any, at: int) -> Seen:
            more = {"seed": at, "stream_options": {"include_usage": True}}
            body = load.chat(60, model=MODEL, stream=True, text=f"Count from {at} upwards.", **more)
            result = await chaos_clients.ask(http, body, "good/stream", None)
            while result.ended in ("unreached", "refused"):
                await asyncio.sleep(0.2)
                result = await chaos_clients.ask(http, body, "good/stream", None)
            return result

        async def go() -> list[Seen]:
            http = load.client(running.url, running.key)
            tasks = [asyncio.create_task(one(http, at)) for at in range(requests)]
            for at in range(4):
                await asyncio.sleep(2.0)
                if at == 2:
                    os.kill(gateway_pid(running), signal.SIGKILL)
                else:
                    for pid in worker_pids(running.home):
                        os.kill(pid, signal.SIGKILL)
            return await asyncio.gather(*tasks)

        seen = load.run(go)
        records, problems, still_open = asyncio.run(settled(running.home))
    told = {one.id: one.told for one in seen if one.ended == "whole"}
    return {
        "requests": requests,
        "endings": dict(Counter(one.ended for one in seen)),
        "outcomes": dict(Counter(record.outcome for record in records.values())),
        "tokens_told_to_clients": sum(told.values()),
        "tokens_settled_for_them": sum(records[id].completion_tokens for id in told),
        "open_holds": still_open,
        "check": problems,
    }


def worker_pids(home: Path) -> list[int]:
    """Return the engine processes that work for a factory."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                line = (entry / "cmdline").read_bytes()
                if b"aigrid.engines.worker" in line and str(home).encode() in line:
                    found.append(int(entry.name))
    return found


def budget(rounds: int) -> dict[str, Any]:
    """Send 200 concurrent requests at a key that can pay for some of them, over and over."""
    spent, left, over = [], [], 0
    with upstreams() as pair, factory(pair) as running:

        async def go(secret: str) -> Counter[int]:
            http = load.client(running.url, secret)
            statuses: Counter[int] = Counter()

            async def one(at: int) -> None:
                stream = bool(at % 2)
                exchange = await http.request("POST", "/v1/chat/completions", load.chat(10 + at % 7, stream=stream))
                async with exchange as connection:
                    await connection.read_all(60)
                    statuses[connection.status] += 1

            await asyncio.gather(*(one(at) for at in range(200)))
            return statuses

        async def spent_by(key_id: str) -> int:
            async with books(running.home) as ledger:
                rows = [r async for page in ledger.export(Filter(key_id=key_id, limit=1000)) for r in page]
                return sum(row.revenue_nusd for row in rows)

        rng = random.Random(1)
        refused = 0
        for _ in range(rounds):
            limit = rng.randint(30_000, 300_000)
            made = running.run("keys", "create", "--tenant", "small", "--budget-usd", f"{limit / 1e9:.9f}")
            refused += load.run(lambda secret=made["key"]: go(secret))[429]
            time.sleep(1.0)
            used = asyncio.run(spent_by(made["id"]))
            over += used > limit
            spent.append(used)
            left.append(limit - used)
    return {
        "rounds": rounds,
        "requests": rounds * 200,
        "refused": refused,
        "spent_nusd": sum(spent),
        "over_budget": over,
        "least_left_nusd": min(left),
        "most_left_nusd": max(left),
    }


def soak(seconds: float) -> dict[str, Any]:
    """Serve for `seconds`; return the gateway's memory over time and its growth, from the second fifth on."""
    with upstreams() as pair, factory(pair) as running:
        pid = gateway_pid(running)
        samples: list[tuple[float, float]] = []

        async def go() -> int:
            http = load.client(running.url, running.key)
            rng = random.Random(3)
            start = time.monotonic()
            served = 0

            async def work() -> None:
                nonlocal served
                while time.monotonic() - start < seconds:
                    body, kind, leave = chaos_clients.plan(rng)
                    await chaos_clients.ask(http, body, kind, leave)
                    served += 1

            async def watch() -> None:
                while time.monotonic() - start < seconds:
                    await asyncio.sleep(seconds / 60)
                    samples.append((time.monotonic() - start, common.resident_bytes(pid) / (1 << 20)))

            await asyncio.gather(watch(), *(work() for _ in range(32)))
            return served

        served = load.run(go)
    later = [(at, mib) for at, mib in samples if at > seconds / 5]
    slope = statistics.linear_regression([at / 60 for at, _ in later], [mib for _, mib in later]).slope
    half = len(later) // 2
    first, last = (statistics.median(m for _, m in part) for part in (later[:half], later[half:]))
    return {
        "seconds": seconds,
        "requests": served,
        "memory_mib": common.spread([mib for _, mib in later]),
        "growth_mib_per_min": round(slope, 3),
        "second_half_over_first_mib": round(last - first, 2),
    }


def measure(parts: list[str], quick: bool) -> dict[str, Any]:
    """Run the parts asked for; return the benchmark's one JSON object."""
    figures: dict[str, Any] = {}
    holds: dict[str, bool] = {}
    scale = 10 if quick else 1
    if "storm" in parts:
        common.log("storm")
        figures["storm"] = storm(10_000 // scale, 0, seed=11)
        holds["10,000 chaotic requests: settled equals received, to the token"] = is_exact(figures["storm"])
    if "kills" in parts:
        common.log("kills")
        figures["kills"] = storm(10_000 // scale, 3, seed=12)
        holds["three kill -9 on top: each hold settled once, differences recovered and under 100 ms of tokens"] = (
            is_exact(figures["kills"]) and figures["kills"]["gateways_killed"] == 3
        )
    if "engine" in parts:
        common.log("engine")
        figures["engine"] = engine(24)
        holds["embedded engine killed three times and the gateway once: every hold settled, whole answers exactly"] = (
            not figures["engine"]["open_holds"]
            and not figures["engine"]["check"]
            and figures["engine"]["tokens_told_to_clients"] == figures["engine"]["tokens_settled_for_them"] > 0
        )
    if "budget" in parts:
        common.log("budget")
        figures["budget"] = budget(5 if quick else 20)
        holds["no budget exceeded by one nano-dollar under 200 concurrent requests"] = (
            figures["budget"]["over_budget"] == 0 and figures["budget"]["refused"] > 0
        )
    if "soak" in parts:
        common.log("soak")
        figures["soak"] = soak(30 if quick else 300)
        holds["no memory growth over a five-minute soak"] = abs(figures["soak"]["second_half_over_first_mib"]) <= 1.0
    return {"name": "ledger_chaos", "figures": figures, "peer": {}, "holds": holds}


PARTS = ["storm", "kills", "engine", "budget", "soak"]

if __name__ == "__main__":
    parser = common.arguments("whether the ledger stays exact when everything goes wrong")
    parser.add_argument("--quick", action="store_true", help="a tenth of the requests, a short soak")
    parser.add_argument("--parts", default=",".join(PARTS), help="which parts to run")
    options = parser.parse_args()
    common.report(measure(options.parts.split(","), options.quick), options.json)
