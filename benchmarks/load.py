"""A lean load generator: the client that gateways are measured with, the same for ours and for its peers."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import msgspec

from aigrid.engines.http import HttpClient


def chat(tokens: int, *, model: str = "echo", stream: bool = False, text: str = "hello there", **more: Any) -> bytes:
    """Return the body of a chat request."""
    body = {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": tokens, "stream": stream}
    return msgspec.json.encode({**body, **more})


def client(base: str, key: str = "") -> HttpClient:
    """Return a client for one server, e.g. `http://127.0.0.1:8470`."""
    headers = {"authorization": f"Bearer {key}"} if key else {}
    return HttpClient("load", base, headers=headers, connect_timeout=30, timeout=120)


async def once(http: HttpClient, body: bytes) -> tuple[float, float, int]:
    """Do one request; return seconds to the first body byte, seconds in all, and frames received."""
    start = time.perf_counter()
    async with await http.request("POST", "/v1/chat/completions", body) as connection:
        data = await connection.read(120)
        first = time.perf_counter() - start
        if connection.status != 200:
            raise RuntimeError(f"HTTP {connection.status}: {data[:200]!r}")
        parts = []
        while data:
            parts.append(data)
            data = await connection.read(120)
    frames = b"".join(parts).count(b"\n\n")
    return first, time.perf_counter() - start, frames


async def closed_loop(http: HttpClient, body: bytes, clients: int, seconds: float) -> tuple[int, int, list[float]]:
    """Keep `clients` requests running for `seconds`; return requests, frames, and latencies in seconds."""
    latencies: list[float] = []
    frames = 0
    end = time.perf_counter() + seconds

    async def work() -> None:
        nonlocal frames
        while time.perf_counter() < end:
            _, took, got = await once(http, body)
            frames += got
            latencies.append(took)

    await asyncio.gather(*(work() for _ in range(clients)))
    return len(latencies), frames, latencies


class Paced:
    """What paced streams showed: frames and the longest silence inside any of them."""

    def __init__(self) -> None:
        self.frames = 0
        self.complete = 0
        self.gaps: list[float] = []
        self.first: list[float] = []


async def paced_streams(http: HttpClient, body: bytes, streams: int, spread: float) -> Paced:
    """Open `streams` streams evenly over `spread` seconds and watch every frame arrive."""
    seen = Paced()

    async def work(at: int) -> None:
        await asyncio.sleep(spread * at / streams)
        start = last = time.perf_counter()
        worst = 0.0
        parts = []
        async with await http.request("POST", "/v1/chat/completions", body) as connection:
            if connection.status != 200:
                raise RuntimeError(f"HTTP {connection.status}")
            while data := await connection.read(120):
                now = time.perf_counter()
                if last == start:
                    seen.first.append(now - start)
                else:
                    worst = max(worst, now - last)
                last = now
                parts.append(data)
        whole = b"".join(parts)
        seen.frames += whole.count(b'"content":"') - whole.count(b'"content":""')
        seen.complete += whole.endswith(b"[DONE]\n\n")
        seen.gaps.append(worst)

    await asyncio.gather(*(work(at) for at in range(streams)))
    return seen


def run(make: Callable[[], Any]) -> Any:
    """Run a coroutine on uvloop."""
    import uvloop

    return uvloop.run(make())
