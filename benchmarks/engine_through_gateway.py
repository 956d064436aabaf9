"""The embedded engine behind the gateway, beside `openvino-genai` driven directly: the same model, the same prompts.

Both programs stay loaded; rounds alternate between them, so that a noisy minute falls on both. Through the gateway
every token is also detokenised, counted, priced, streamed over HTTP and received by a client on the same two cores.
"""

import asyncio
import statistics
import subprocess
import sys
import time
from typing import Any

import msgspec

from aigrid.core.config import EngineConfig
from benchmarks import common, load
from benchmarks.direct_engine import prompts

MODEL = EngineConfig().model
STREAMS = {1: 96, 8: 64, 32: 48}
"""Tokens asked for per answer, by number of streams."""


def direct(peer: subprocess.Popen[str], streams: int, tokens: int, turn: int) -> tuple[int, float]:
    """Run one round directly; return tokens made and tokens/s."""
    assert peer.stdin is not None
    assert peer.stdout is not None
    peer.stdin.write(f"{streams} {tokens} {turn}\n")
    peer.stdin.flush()
    made, seconds = peer.stdout.readline().split()
    return int(made), int(made) / float(seconds)


async def through(factory: common.Factory, streams: int, tokens: int, turn: int) -> tuple[int, float]:
    """Run the same round through the gateway, as streams; return tokens made (its usage) and tokens/s."""
    http = load.client(factory.url, factory.key)

    async def one(text: str) -> int:
        body = load.chat(tokens, model=MODEL, stream=True, text=text, temperature=0)
        body = msgspec.json.encode({**msgspec.json.decode(body), "stream_options": {"include_usage": True}})
        async with await http.request("POST", "/v1/chat/completions", body) as connection:
            data = await connection.read_all(120)
            if connection.status != 200:
                raise RuntimeError(data)
        last = [frame for frame in data.split(b"\n\n") if frame.startswith(b"data: {")][-1]
        return int(msgspec.json.decode(last[6:])["usage"]["completion_tokens"])

    start = time.perf_counter()
    made = sum(await asyncio.gather(*(one(text) for text in prompts(streams, turn))))
    seconds = time.perf_counter() - start
    http.close()
    return made, made / seconds


def measure(rounds: int) -> dict[str, Any]:
    """Alternate rounds; return the benchmark's one JSON object."""
    figures: dict[str, Any] = {"scheduling": common.first_in_line()}
    theirs: dict[str, Any] = {"name": "openvino-genai ContinuousBatchingPipeline, driven directly"}
    holds: dict[str, bool] = {}
    peer = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.direct_engine", MODEL],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=common.ROOT,
    )  # fmt: skip
    try:
        assert peer.stdout is not None
        while peer.stdout.readline() != "ready\n":
            pass
        with common.factory() as factory:
            for streams, tokens in STREAMS.items():
                ours, direct_rates, ratios, same = [], [], [], 0
                for turn in range(rounds + 1):
                    made, rate = load.run(lambda s=streams, t=tokens, r=turn: through(factory, s, t, r))
                    peers_made, peers_rate = direct(peer, streams, tokens, turn)
                    if turn == 0:
                        continue  # warms both up
                    same += made == peers_made
                    ours.append(rate)
                    direct_rates.append(peers_rate)
                    ratios.append(rate / peers_rate)
                name = f"{streams}_streams"
                figures[name] = {
                    "tokens_per_s": common.spread(ours),
                    "ratio": common.spread(ratios),
                    "rounds_with_equal_tokens": same,
                }
                theirs[name] = {"tokens_per_s": common.spread(direct_rates)}
                holds[f"{streams} streams: at least 95 % of the direct tokens/s"] = statistics.median(ratios) >= 0.95
    finally:
        peer.kill()
        peer.wait()
    table = [
        {
            "what": f"{streams} stream{'s' if streams > 1 else ''} (tokens/s)",
            "ours": figures[f"{streams}_streams"]["tokens_per_s"],
            "peer": theirs[f"{streams}_streams"]["tokens_per_s"],
            "ratio": figures[f"{streams}_streams"]["ratio"]["median"],
        }
        for streams in STREAMS
    ]
    return {"name": "engine_through_gateway", "figures": figures, "peer": theirs, "holds": holds, "table": table}


if __name__ == "__main__":
    parser = common.arguments("the embedded engine through the gateway, beside the same engine driven directly")
    parser.add_argument("--rounds", type=int, default=9, help="rounds per number of streams")
    options = parser.parse_args()
    common.report(measure(options.rounds), options.json)
