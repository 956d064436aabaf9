"""Clients that behave badly, and remember exactly what they received."""

import asyncio
import random
import re
from dataclasses import dataclass

import msgspec

from aigrid.core.errors import AigridError
from aigrid.engines.http import HttpClient

RATE = 400
"""Tokens per second of each paced stream."""

_WORDS = "wind water stone light paper"
_USAGE = re.compile(rb'"completion_tokens":(\d+)')
_CONTENT = re.compile(rb'"content":"[^"]')


@dataclass
class Seen:
    """What one request came to, as its client saw it."""

    id: str = ""
    tokens: int = 0
    prompt: int = 0
    """Words of the prompt, which is what the echo counts."""
    told: int | None = None
    """Completion tokens as the answer's own usage says, where it says so."""
    status: int = 200
    ended: str = "refused"
    """`whole`, `left` (by us), `broken` (an error after the headers), `refused` (an HTTP error), `unreached`."""
    asked: str = ""


def plan(rng: random.Random) -> tuple[bytes, str, int | None]:
    """Return a random request body, a name for its kind, and after how many tokens the client leaves (None: never)."""
    tokens = rng.randint(1, 40)
    directive, leave = "", None
    kind = rng.choices(["good", "leave", "quit", "die", "fail", "stall", "lie"], weights=[48, 18, 4, 12, 6, 4, 8])[0]
    stream = kind in ("leave", "die") or (kind != "quit" and rng.random() < 0.5)
    if kind == "leave":
        leave = rng.randint(0, tokens)
        directive = f"rate={RATE}"
    elif kind == "quit":
        directive = f"rate={RATE}"
    elif kind == "die":
        directive = f"disconnect={rng.randint(0, tokens)} rate={RATE}"
    elif kind == "fail":
        directive = f"fail={rng.choice([400, 429, 500, 503])}"
    elif kind == "stall":
        directive = f"after={rng.randint(0, tokens)} stall=0.2"
    elif kind == "lie":
        directive = f"usage={rng.choice(['lie', 'zero', 'none'])}"
    body = {
        "model": "echo",
        "messages": [{"role": "user", "content": f"{_WORDS} [echo tokens={tokens} {directive}]"}],
        "max_tokens": tokens + rng.choice([0, 5]),
        "stream": stream,
        "stream_options": {"include_usage": rng.random() < 0.5} if stream else None,
    }
    return msgspec.json.encode(body), f"{kind}/{'stream' if stream else 'whole'}", leave


async def ask(http: HttpClient, body: bytes, kind: str, leave: int | None) -> Seen:
    """Make one request, leave it where planned, and count the tokens that arrived."""
    seen = Seen(asked=kind, prompt=len(msgspec.json.decode(body)["messages"][0]["content"].split()))
    try:
        async with asyncio.timeout(0.03 if kind.startswith("quit") else None):
            exchange = await http.request("POST", "/v1/chat/completions", body)
    except TimeoutError:
        seen.ended = "left"
        return seen
    except AigridError:
        seen.ended = "unreached"
        return seen
    parts: list[bytes] = []
    async with exchange as connection:
        seen.id = connection.headers.get("x-request-id", "")
        if connection.status != 200:
            seen.status = connection.status
            return seen
        seen.ended = "broken"
        try:
            while data := await connection.read(60):
                parts.append(data)
                if leave is not None and _frames(parts) >= leave:
                    seen.ended = "left"
                    break
            else:
                seen.ended = "whole"
        except AigridError:
            pass
    text = b"".join(parts)
    usage = _USAGE.findall(text)
    seen.told = int(usage[-1]) if usage and seen.ended == "whole" else None
    if kind.endswith("stream"):
        seen.tokens = _frames(parts)
        if seen.ended == "whole" and not text.endswith(b"[DONE]\n\n"):
            seen.ended = "broken"
    elif seen.ended == "whole":
        seen.tokens = len(msgspec.json.decode(text)["choices"][0]["message"]["content"].split())
    return seen


def _frames(parts: list[bytes]) -> int:
    return len(_CONTENT.findall(b"".join(parts)))


async def crowd(http: HttpClient, requests: int, at_once: int, seed: int, seen: list[Seen]) -> None:
    """Make `requests` requests, `at_once` at a time; `seen` gains what each came to."""
    rng = random.Random(seed)
    plans = iter([plan(rng) for _ in range(requests)])

    async def work() -> None:
        for body, kind, leave in plans:
            while (result := await ask(http, body, kind, leave)).ended == "unreached":
                await asyncio.sleep(0.05)
            seen.append(result)

    await asyncio.gather(*(work() for _ in range(at_once)))
