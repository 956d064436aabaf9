"""The overnight shift beside interactive requests: what it costs them, what it makes of idle time, what kills lose.

1. `waiting`: time to first token of interactive chats, in turns with a full queue of batches and without one.
   `shared` is the same without a second copy of the model.
2. `idle`: tokens/s of a batch by itself against the engine driven directly with 64 streams; and, while the chats of (1)
   run, against the same rate over the time in which no chat was in the engine.
3. `kills`: `kill -9` of gateway, engine, and both while a batch runs: each request has one answer, charged once.
"""

import asyncio
import contextlib
import itertools
import json
import random
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from aigrid.core.config import Config, EngineConfig
from aigrid.core.models import resolve
from benchmarks import common, load
from benchmarks.overnight_kills import kills

MODEL = EngineConfig().model
CHATS_PER_S = 1.0
CHAT_TOKENS = 16
BATCH_TOKENS = 48
_WORDS = [
    "time",
    "year",
    "people",
    "way",
    "day",
    "man",
    "thing",
    "woman",
    "life",
    "child",
    "world",
    "school",
    "state",
    "family",
    "student",
    "group",
    "country",
]


def words(count: int, rng: random.Random) -> str:
    """Return text that no other request begins with."""
    return " ".join(rng.choice(_WORDS) for _ in range(count))


def story(turn: int) -> Callable[[int], str]:
    """Return what makes the prompts of one batch: as long as those of the engine driven directly."""
    return lambda at: f"Tell me a long story about the number {turn * 10_000 + at}."


Peer = subprocess.Popen[str] | None


class Night:
    """A factory and its batches."""

    def __init__(self, factory: common.Factory, model: str) -> None:
        self.factory, self.model = factory, model

    def call(self, method: str, path: str, body: bytes | None = None, kind: str = "application/json") -> bytes:
        """Send one request, again while the gateway restarts; return the body."""
        for tries in range(400):
            head = {"content-type": kind}
            if not path.startswith("/admin/"):  # which asks for no key on this machine
                head["authorization"] = f"Bearer {self.factory.key}"
            request = urllib.request.Request(f"{self.factory.url}{path}", body, head, method=method)
            try:
                with urllib.request.urlopen(request, timeout=30) as answer:
                    return bytes(answer.read())
            except urllib.error.HTTPError as error:
                if error.code != 503:
                    raise RuntimeError(error.read()) from None
            except OSError:
                if tries == 399:
                    raise
            time.sleep(0.1)
        raise RuntimeError("the gateway did not come back")

    def submit(self, requests: int, tokens: int, text: Any) -> str:
        """Make a batch; return its id."""
        rows = []
        for at in range(requests):
            most = tokens * 2 // 3 + at * 7 % (tokens * 2 // 3)  # of different lengths, or they would end in waves
            body = {"model": self.model, "messages": [{"role": "user", "content": text(at)}], "max_tokens": most}
            line = {"custom_id": f"r{at}", "method": "POST", "url": "/v1/chat/completions"}
            rows.append(msgspec.json.encode({**line, "body": {**body, "temperature": 0}}))
        edge = "overnight"
        form = (
            (
                f'--{edge}\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--{edge}\r\n'
                'content-disposition: form-data; name="file"; filename="in.jsonl"\r\n\r\n'
            ).encode()
            + b"\n".join(rows)
            + f"\r\n--{edge}--\r\n".encode()
        )
        file = json.loads(self.call("POST", "/v1/files", form, f"multipart/form-data; boundary={edge}"))
        asked = {"input_file_id": file["id"], "endpoint": "/v1/chat/completions", "completion_window": "24h"}
        return str(json.loads(self.call("POST", "/v1/batches", msgspec.json.encode(asked)))["id"])

    def batch(self, id_: str) -> dict[str, Any]:
        """Return a batch."""
        return dict(json.loads(self.call("GET", f"/v1/batches/{id_}")))

    def until(self, id_: str, done: Any, patience: float = 240.0) -> dict[str, Any]:
        """Return a batch once something is true of it."""
        end = time.monotonic() + patience
        while time.monotonic() < end:
            batch = self.batch(id_)
            if done(batch) or batch["status"] in ("completed", "failed", "expired", "cancelled"):
                return batch
            time.sleep(0.1)
        raise RuntimeError(f"batch {id_} is {batch['status']} after {patience:g} s")

    def pids(self) -> dict[str, int]:
        """Return the processes of gateway and engine that live now."""
        found = {}
        for path in Path("/proc").glob("[0-9]*"):
            try:
                command = (path / "cmdline").read_bytes().decode().split("\0")
                home = f"AIGRID_HOME={self.factory.home}\0".encode() in (path / "environ").read_bytes()
            except OSError:
                continue
            if home and "aigrid.cli.gateway" in command:
                found["gateway"] = int(path.name)
            if home and "aigrid.engines.worker" in command:
                found["night" if "--idle" in command else "engine"] = int(path.name)
        return found


async def chats(night: Night, seconds: float, seed: int) -> tuple[list[float], float]:
    """Send chats at random times; return times to first token, and the seconds in which any was being answered."""
    rng, http = random.Random(seed), load.client(night.factory.url, night.factory.key)
    texts = random.Random(time.time_ns())  # arrivals are the same in both turns, prompts are never in a cache
    firsts: list[float] = []
    spans: list[tuple[float, float]] = []

    async def one(text: str) -> None:
        body = load.chat(CHAT_TOKENS, model=night.model, stream=True, text=text, temperature=0)
        start = time.perf_counter()
        first, took, _ = await load.once(http, body)
        firsts.append(first)
        spans.append((start, start + took))

    end = time.perf_counter() + seconds
    tasks = []
    while (left := end - time.perf_counter()) > 0:
        tasks.append(asyncio.create_task(one(words(100, texts))))
        await asyncio.sleep(min(left, rng.expovariate(CHATS_PER_S)))
    await asyncio.gather(*tasks)
    http.close()
    return firsts, union(spans)


def union(spans: list[tuple[float, float]]) -> float:
    """Return the length of time that lies in any of these spans."""
    total, reached = 0.0, 0.0
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total


def waiting(night: Night, rounds: int, seconds: float, program: Peer) -> dict[str, Any]:
    """Alternate rounds with and without a full queue; return times to first token in milliseconds, and what is used.

    `idle_share_used` are the tokens/s of batches beside chats, over those of the engine driven directly just before and
    after, in the share of time in which the same chats by themselves left the engine alone.
    """
    times: dict[str, list[float]] = {"without": [], "with": []}
    busy, rates, shares = 0.0, [], []
    numbers = itertools.count(1000)
    load.run(lambda: chats(night, 3.0, 0))  # warms up
    for turn in range(rounds):
        best = [at_best(program, 64, 1000 + 2 * turn)] if program else []
        for what in ("without", "with") if turn % 2 else ("with", "without"):
            id_, before = "", 0
            if what == "with":
                id_ = night.submit(3000, BATCH_TOKENS, story(next(numbers)))
                night.until(id_, lambda batch: batch["request_counts"]["completed"] > 16)
                before = night.batch(id_)["usage"]["output_tokens"]
            began = time.perf_counter()
            firsts, used = load.run(lambda t=turn: chats(night, seconds, t + 1))  # type: ignore[misc]
            span = time.perf_counter() - began
            times[what] += [value * 1000 for value in firsts]
            if what == "with":
                rates.append((night.batch(id_)["usage"]["output_tokens"] - before) / span)
                night.call("POST", f"/v1/batches/{id_}/cancel", b"")
                night.until(id_, lambda batch: False)
                time.sleep(0.5)
            else:
                busy = used / span
        if program:
            best.append(at_best(program, 64, 1001 + 2 * turn))
            shares.append(rates[-1] / (statistics.mean(best) * (1 - busy)))
    figures: dict[str, Any] = {
        what: {**common.spread(values), "p99": common.percentile(values, 0.99)} for what, values in times.items()
    }
    figures["p99_ratio"] = figures["with"]["p99"] / figures["without"]["p99"]
    figures["median_ratio"] = figures["with"]["median"] / figures["without"]["median"]
    figures["batch_tokens_per_s"] = common.spread(rates)
    return {**figures, "idle_share_used": common.spread(shares)} if shares else figures


def alone(night: Night, requests: int, text: Any) -> float:
    """Return the tokens/s of a batch that has the engine to itself, from its first to its last answer."""
    id_ = night.submit(requests, BATCH_TOKENS, text)
    batch = night.until(id_, lambda batch: batch["status"] == "in_progress")
    start = time.perf_counter()
    batch = night.until(id_, lambda batch: False)
    return float(batch["usage"]["output_tokens"] / (time.perf_counter() - start))


@contextmanager
def direct() -> Iterator[subprocess.Popen[str]]:
    """Run the engine directly in a program of its own."""
    peer = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.direct_engine", MODEL],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=common.ROOT,
    )  # fmt: skip
    try:
        assert peer.stdout is not None
        while peer.stdout.readline() != "ready\n":
            pass
        yield peer
    finally:
        peer.kill()
        peer.wait()


def at_best(peer: Peer, streams: int, turn: int) -> float:
    """Return the tokens/s of the engine driven directly, with so many streams at once."""
    assert peer is not None
    assert peer.stdin is not None
    assert peer.stdout is not None
    peer.stdin.write(f"{streams} {BATCH_TOKENS} {turn}\n")
    peer.stdin.flush()
    made, seconds = peer.stdout.readline().split()
    return int(made) / float(seconds)


def idle(night: Night, turns: int, program: Peer) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the tokens/s of a batch by itself, and of the engine driven directly in turns with it."""
    shares, best, ours = [], [], []
    at_best(program, 64, 0)  # warms up
    for turn in range(1, turns + 1):
        best.append(at_best(program, 64, turn))
        ours.append(alone(night, 384, story(turn)))
        best.append(at_best(program, 64, turn + 100))
        shares.append(ours[-1] / statistics.mean(best[-2:]))
    return {"tokens_per_s": common.spread(ours), "share": common.spread(shares)}, common.spread(best)


def engine(
    kind: str, model: str, options: Any, parts: set[str]
) -> tuple[dict[str, Any], dict[str, Any], dict[str, bool]]:
    """Measure one engine; return its figures, its peer's, and what holds."""
    found: dict[str, Any] = {}
    peer: dict[str, Any] = {}
    holds: dict[str, bool] = {}
    rng = random.Random(2)
    name = {"openvino": "embedded engine", "echo": "echo engine"}[kind]
    rate = {"AIGRID_ENGINE_ECHO_RATE": "200"} if kind == "echo" else {}
    with common.factory("--engine", kind, env=rate) as factory, contextlib.ExitStack() as stack:
        night = Night(factory, model)
        program: Peer = None
        if kind == "openvino" and parts & {"idle", "waiting"}:
            program = stack.enter_context(direct())
        if "idle" in parts and program:
            found["alone"], peer["tokens_per_s"] = idle(night, 2, program)
            holds["a batch by itself: at least 90 % of the engine's best tokens/s"] = (
                found["alone"]["share"]["median"] >= 0.9
            )
        if "waiting" in parts:
            rounds = options.rounds if program else 2
            found["first_token_ms"] = one = waiting(night, rounds, options.seconds, program)
            holds[f"{name}: p99 time to first token with a full queue is at most 1.2 of that without"] = (
                one["p99_ratio"] <= 1.2
            )
            if program:
                holds["beside chats: at least 90 % of what they leave idle"] = one["idle_share_used"]["median"] >= 0.9
        stack.close()
        if "kills" in parts:
            what = [["gateway"], ["night"], ["gateway", "engine", "night"]] if kind == "openvino" else [["gateway"]] * 3
            found["kills"] = gone = kills(night, 300, 24, lambda at: f"{at} {words(12, rng)}", what)
            wrong = ("lost", "repeated", "charged_without_answer", "answers_not_charged", "nusd_apart")
            good = gone["status"] == "completed" and not any(gone[each] for each in wrong)
            holds[f"{name}: three kill -9 lose nothing, repeat nothing, charge each answer once"] = good
    if "shared" in parts and kind == "openvino":
        with common.factory("--engine", kind, env={"AIGRID_ENGINE_SECOND_COPY": "false"}) as factory:
            found["first_token_ms_in_one_worker"] = waiting(Night(factory, model), 2, options.seconds, None)
    return found, peer, holds


def table(figures: dict[str, Any], peer: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the rows that people should read."""
    rows: list[dict[str, Any]] = []
    for kind, found in figures.items():
        if "alone" in found:
            ours, share = found["alone"]["tokens_per_s"], found["alone"]["share"]["median"]
            rows.append(
                {"what": "a batch alone (tokens/s)", "ours": ours, "peer": peer["tokens_per_s"], "ratio": share}
            )
        for where, one in found.items():
            if not where.startswith("first_token_ms"):
                continue
            title = kind + ", one worker for all" * where.endswith("worker")
            for name in ("median", "p99"):
                what = f"{title}: first token beside batches, {name}; peer: without (ms)"
                first, second = one["with"][name], one["without"][name]
                rows.append({"what": what, "ours": first, "peer": second, "ratio": first / second})
            if "idle_share_used" in one:
                rows.append({"what": "share used of what chats leave idle", "ours": one["idle_share_used"]})
    return rows


def measure(options: Any) -> dict[str, Any]:
    """Return the benchmark's one JSON object."""
    figures: dict[str, Any] = {}
    peer: dict[str, Any] = {"name": "openvino-genai driven directly with 64 streams"}
    holds: dict[str, bool] = {}
    for kind, model in {"openvino": MODEL, "echo": "echo"}.items():
        if kind in options.engines and (kind == "echo" or resolve(MODEL, Config()).present):
            figures[kind], direct_figures, held = engine(kind, model, options, set(options.parts.split(",")))
            peer |= direct_figures
            holds |= held
    return {"name": "overnight", "figures": figures, "peer": peer, "holds": holds, "table": table(figures, peer)}


if __name__ == "__main__":
    parser = common.arguments("the overnight shift beside interactive requests")
    parser.add_argument("--rounds", type=int, default=4, help="pairs of rounds with and without batches")
    parser.add_argument("--seconds", type=float, default=15.0, help="length of a round")
    parser.add_argument("--parts", default="idle,waiting,kills,shared", help="what to measure")
    parser.add_argument("--engines", default="openvino,echo", help="which engines")
    arguments = parser.parse_args()
    common.report(measure(arguments), arguments.json)
