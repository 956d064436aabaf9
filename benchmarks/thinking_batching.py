"""What 16 candidates of one prompt cost beside one: the embedded engine behind the gateway, wall time of whole answers.

A round is one prompt of 500 tokens that nobody has seen (so nothing of it is cached) for one candidate, another for 16
in one request (`n`), another for 16 requests that come together, and 16 different ones as what 16 questions cost. All
answers have the same number of tokens (where candidates end early, another prompt is tried); rounds alternate, and
ratios are within a round.
"""

import asyncio
import random
import statistics
import time
from typing import Any

import msgspec

from aigrid.core.config import EngineConfig
from aigrid.engines.http import HttpClient
from benchmarks import common, load

MODEL = EngineConfig().model
PROMPT, CANDIDATES = 500, 16
LENGTHS = (64, 128)
"""Tokens of an answer."""
WHOLE = 0.97
"""Share of the tokens allowed that a round's answers must have together."""
WORDS = [
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
WAYS = {
    "one": "1 candidate",
    "n": "16 candidates in one request",
    "together": "16 requests with the same prompt at once",
    "different": "16 requests with different prompts at once",
}


def question(chance: random.Random) -> str:
    """Return the beginning of a text that nobody has sent, of `PROMPT` tokens: each of its words is one."""
    return " ".join(chance.choice(WORDS) for _ in range(PROMPT - 5)) + " once upon a time there"


async def ask(http: HttpClient, text: str, n: int, tokens: int, seed: int) -> tuple[int, int]:
    """Ask once; return prompt and completion tokens as the usage has them."""
    body = {"model": MODEL, "prompt": text, "n": n, "max_tokens": tokens, "temperature": 0.7, "seed": seed}
    async with await http.request("POST", "/v1/completions", msgspec.json.encode(body)) as connection:
        data = await connection.read_all(120)
        if connection.status != 200:
            raise RuntimeError(data)
    usage = msgspec.json.decode(data)["usage"]
    return usage["prompt_tokens"], usage["completion_tokens"]


async def go(factory: common.Factory, way: str, tokens: int, chance: random.Random) -> tuple[float, int, int]:
    """Go one way once; return seconds until the last answer, tokens of the first prompt, and tokens made."""
    http = load.client(factory.url, factory.key)
    text, seed = question(chance), chance.randrange(1 << 30)
    asked = [(text, CANDIDATES if way == "n" else 1)]
    if way in ("together", "different"):
        texts = [text if way == "together" else question(chance) for _ in range(CANDIDATES)]
        asked = [(each, 1) for each in texts]
    start = time.perf_counter()
    usages = await asyncio.gather(*(ask(http, each, n, tokens, seed + at) for at, (each, n) in enumerate(asked)))
    seconds = time.perf_counter() - start
    http.close()
    made = sum(count for _, count in usages)
    if made < WHOLE * tokens * sum(n for _, n in asked):
        return await go(factory, way, tokens, chance)
    return seconds, usages[0][0], made


def measure(rounds: int) -> dict[str, Any]:
    """Alternate the ways; return the benchmark's one JSON object."""
    figures: dict[str, Any] = {"scheduling": common.first_in_line()}
    holds: dict[str, bool] = {}
    rows: list[list[Any]] = []
    chance = random.Random(16)
    with common.factory() as factory:
        for tokens in LENGTHS:
            seconds: dict[str, list[float]] = {way: [] for way in WAYS}
            made: dict[str, list[int]] = {way: [] for way in WAYS}
            prompts = []
            for turn in range(rounds + 1):
                for way in WAYS:
                    took, prompt, count = load.run(lambda w=way, t=tokens: go(factory, w, t, chance))
                    if turn:  # the first warms up
                        seconds[way].append(took)
                        made[way].append(count)
                        prompts.append(prompt)
                common.log(f"{tokens} tokens, round {turn} of {rounds}")
            found = figures[f"{tokens}_tokens"] = {"prompt_tokens": common.spread(prompts)}
            for way, what in WAYS.items():
                ratios = [took / one for took, one in zip(seconds[way], seconds["one"], strict=True)]
                found[way] = {
                    "seconds": common.spread(seconds[way]),
                    "times_one": common.spread(ratios),
                    "tokens_made": common.spread(made[way]),
                }
                rows.append([f"{what}, {tokens} tokens each", *found[way].values()])
                if way in ("n", "together"):
                    claim = f"{what}, {PROMPT} tokens of prompt, {tokens} per answer: at most 3 × the time of one"
                    holds[claim] = statistics.median(ratios) <= 3
    columns = ["seconds", "× one candidate", "tokens made"]
    return {
        "name": "thinking_batching",
        "figures": figures,
        "holds": holds,
        "grid": {"columns": columns, "rows": rows},
    }


if __name__ == "__main__":
    parser = common.arguments("what 16 candidates of one prompt cost beside one, on the embedded engine")
    parser.add_argument("--rounds", type=int, default=5, help="rounds per length of answer")
    options = parser.parse_args()
    common.report(measure(options.rounds), options.json)
