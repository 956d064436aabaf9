"""1,000 strategy runs with random caps, cancellations and engine deaths: no cap is exceeded, the ledger is exact.

A real gateway and ledger in this process; the engine answers at random, dies at random, and lets clients leave.
"""

import asyncio
import contextlib
import random
import tempfile
import time
from collections import Counter
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import msgspec

from aigrid.core.config import Config, GatewayConfig
from aigrid.core.errors import EngineDied
from aigrid.engines.base import Chunk, Delta, GenerateRequest, Usage
from aigrid.engines.echo import EchoEngine
from aigrid.gateway.app import Gateway
from aigrid.ledger import open_ledger
from aigrid.ledger.base import Filter, Record
from benchmarks import common

WAYS = ("plain", "adaptive", "self_consistency", "best_of_n", "weighted_vote", "refine", "beam_search", "debate")
SLACK_S = 0.25
"""How long after its deadline a run may still answer: the event loop is shared by all runs."""


class Fickle(EchoEngine):
    """Says random numbers at a random pace; dies in the middle of one request in twelve."""

    def __init__(self, seed: int) -> None:
        super().__init__("local")
        self.luck = random.Random(seed)

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[Chunk, None]:
        """Make tokens, perhaps not all."""
        luck = self.luck
        prompt = 5 + luck.randint(0, 5)
        ends = [min(request.max_tokens, luck.randint(1, 40)) for _ in range(request.n)]
        dies = luck.randint(0, 30) if luck.random() < 1 / 12 else None
        yield Chunk(usage=Usage(prompt))
        for at in range(max(ends) + 1):
            await asyncio.sleep(0.001 if luck.random() < 0.3 else 0)
            if at == dies:
                raise EngineDied("the engine died as it was asked to")
            deltas = [
                Delta(index, f"{luck.randint(0, 3)} ", tokens=1)
                if at < end
                else Delta(index, finish_reason="length" if end == request.max_tokens else "stop")
                for index, end in enumerate(ends)
                if at <= end
            ]
            yield Chunk(deltas)
        yield Chunk(usage=Usage(prompt, sum(ends)))


class Run:
    """One request and what came of it."""

    def __init__(self, number: int, luck: random.Random) -> None:
        self.way = luck.choice(WAYS)
        self.caps: dict[str, Any] = {}
        if luck.random() < 0.6:
            self.caps["max_cost_usd"] = luck.randint(2_000, 100_000) / 1e9
        if luck.random() < 0.5:
            self.caps["max_tokens"] = luck.randint(50, 4000)
        if luck.random() < 0.3:
            self.caps["max_seconds"] = luck.choice([0.005, 0.02, 0.05, 0.2])
        self.leaves = luck.random() < 0.15
        self.patience = luck.random() * 0.05
        self.id, self.status, self.took = "", 0, 0.0
        how = {**self.caps, "strategy": self.way, "n": luck.choice([2, 4, 8, 16])}
        text = f"question {number}"
        self.body = msgspec.json.encode(
            {"model": "echo", "max_tokens": luck.choice([8, 32, 64]), "service_tier": "think", "aigrid": how,
             "messages": [{"role": "user", "content": text}]}
        )  # fmt: skip

    async def go(self, gateway: Gateway, secret: str) -> None:
        """Ask, and perhaps leave before the answer is there."""
        left = asyncio.Event()
        unread = [self.body]

        async def receive() -> dict[str, Any]:
            if unread:
                return {"type": "http.request", "body": unread.pop(), "more_body": False}
            await left.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                self.status = message["status"]
                self.id = dict(message["headers"]).get(b"x-request-id", b"").decode()

        headers = [(b"authorization", f"Bearer {secret}".encode()), (b"content-type", b"application/json")]
        scope = {"type": "http", "method": "POST", "path": "/v1/chat/completions", "headers": headers, "client": None}
        began = time.perf_counter()
        task = asyncio.create_task(gateway(scope, receive, send))
        if self.leaves:
            await asyncio.sleep(self.patience)
            left.set()
        await task
        self.took = time.perf_counter() - began


async def measure(runs: int, seed: int) -> dict[str, Any]:
    """Run them, 16 at once; return the benchmark's one JSON object."""
    luck = random.Random(seed)
    config = Config(gateway=GatewayConfig(port=0))
    ledger = open_ledger(config, owner=True)
    await ledger.open()
    gateway = Gateway(config, ledger, [Fickle(seed)])
    _, secret = await ledger.create_key("bench")
    all_runs = [Run(at, luck) for at in range(runs)]
    places = asyncio.Semaphore(16)

    async def one(run: Run) -> None:
        async with places:
            await run.go(gateway, secret)

    await asyncio.gather(*(one(run) for run in all_runs))
    await ledger.flush()  # type: ignore[attr-defined]
    records = [record async for page in ledger.export(Filter(limit=500)) for record in page]
    trouble = await ledger.check()
    report = await ledger.report(0)
    await ledger.close()
    return judge(all_runs, records, trouble, report.open_holds)


def judge(runs: list[Run], records: list[Record], trouble: list[str], open_holds: int) -> dict[str, Any]:
    """Compare what the ledger says of each run with its caps."""
    children: dict[str, list[Record]] = {}
    parents = {record.id: record for record in records if record.parent is None}
    for record in records:
        if record.parent is not None:
            children.setdefault(record.parent, []).append(record)
    money = tokens = late = compared = 0
    for run in runs:
        if run.id not in parents:
            continue
        compared += 1
        spent = children.get(run.id, [])
        cost = sum(each.revenue_nusd for each in spent) + parents[run.id].revenue_nusd
        used = sum(each.prompt_tokens + each.completion_tokens for each in spent)
        if "max_cost_usd" in run.caps:
            money += cost > round(run.caps["max_cost_usd"] * 1e9)
        tokens += used > run.caps.get("max_tokens", used)
        late += run.took > run.caps.get("max_seconds", run.took) + SLACK_S
    outcomes = Counter(record.outcome for record in records if record.parent is not None)
    figures = {
        "runs": len(runs),
        "answered": sum(run.status == 200 for run in runs),
        "refused_for_their_budget": sum(run.status == 429 for run in runs),
        "engine_died": sum(run.status == 503 for run in runs),
        "left_by_their_client": sum(run.leaves and not run.status for run in runs),
        "calls_within_them": sum(map(len, children.values())),
        "calls_stopped_early": outcomes.get("stopped", 0),
        "calls_failed": outcomes.get("failed", 0),
        "caps_on_money_exceeded": money,
        "caps_on_tokens_exceeded": tokens,
        "deadlines_missed": late,
        "ledger_disagreements": len(trouble),
    }
    lost = [each for parent in children for each in [parent] if each not in parents]
    holds = {
        "no cap on money, tokens or time is exceeded": money + tokens + late == 0,
        "the ledger is exact: every balance follows from its records, and no hold is open": not trouble
        and not open_holds,
        "every call stands under the record of its request": not lost and compared > 0,
        "caps, cancellations and deaths all happened": min(
            figures["refused_for_their_budget"], figures["calls_stopped_early"], figures["calls_failed"]
        )
        > 0,
    }
    return {"figures": figures, "holds": holds}


def main() -> None:
    """Measure and print."""
    parser = common.arguments(__doc__ or "")
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=5)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack():
        import os

        os.environ["AIGRID_HOME"] = str(Path(folder))
        result = asyncio.run(measure(chosen.runs, chosen.seed))
    common.report(result, chosen.json)


if __name__ == "__main__":
    main()
