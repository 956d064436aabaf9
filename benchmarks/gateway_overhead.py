"""What the gateway adds, with keys, budgets, limits and ledger on, beside LiteLLM with its accounting off.

The gateway runs on one core; load generator and echo upstream share the other. Latency is measured by asking the
echo and each gateway in turn, one request at a time, so that all see the same noise. "Per core" is work divided by
the processor seconds of the gateway's process. `--quick` shortens every part; `--no-peer` leaves LiteLLM out.
"""

import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks import common, load, servers
from benchmarks.servers import Server

LITELLM = "litellm[proxy]==1.93.*"
STREAMS = 1000
PACE = 10
PAIRS = 100


async def saturate(url: str, key: str, server: Server, body: bytes, clients: int, seconds: float) -> dict[str, Any]:
    """Keep the server busy; return requests/s and frames/s, of the wall and per core, over five windows."""
    http = load.client(url, key)
    await load.closed_loop(http, body, clients, min(1.0, seconds))
    rps, per_core, frames_per_core = [], [], []
    for _ in range(5):
        cpu, start = server.cpu_seconds(), time.perf_counter()
        requests, frames, _ = await load.closed_loop(http, body, clients, seconds / 5)
        wall, cpu = time.perf_counter() - start, server.cpu_seconds() - cpu
        rps.append(requests / wall)
        per_core.append(requests / cpu)
        frames_per_core.append(frames / cpu)
    http.close()
    return {
        "requests_per_s": common.spread(rps),
        "requests_per_s_per_core": common.spread(per_core),
        "frames_per_s_per_core": common.spread(frames_per_core),
    }


async def governance(
    on: tuple[str, str, Server], off: tuple[str, str, Server], body: bytes, seconds: float = 0.5
) -> dict[str, Any]:
    """Return the share of throughput per core that governance costs, from short bursts in turn.

    Such machines change their speed by half within seconds, so one pair of bursts says little: the medians of all
    bursts are compared, and bootstrapping them (Efron 1979) says how sure that is.
    """
    clients = [(load.client(url, key), server) for url, key, server in (on, off)]
    took: list[list[float]] = [[], []]
    for at in range(PAIRS + 2):
        for (http, server), microseconds in zip(clients, took, strict=True):
            cpu = server.cpu_seconds()
            requests, _, _ = await load.closed_loop(http, body, 32, seconds)
            if at >= 2:
                microseconds.append((server.cpu_seconds() - cpu) / requests * 1e6)
    for http, _ in clients:
        http.close()
    draw = random.Random(1)

    def cost(governed: list[float], plain: list[float]) -> float:
        return 1 - statistics.median(plain) / statistics.median(governed)

    drawn = [cost(*(draw.choices(each, k=PAIRS) for each in took)) for _ in range(2000)]
    return {
        "share": round(cost(*took), 4),
        "interval95": [round(common.percentile(drawn, q), 4) for q in (0.025, 0.975)],
        "governed_us": common.spread(took[0]),
        "plain_us": common.spread(took[1]),
    }


async def in_turn(targets: dict[str, tuple[str, str]], body: bytes, rounds: int, first: bool) -> dict[str, list[float]]:
    """Ask each target in turn, one request at a time; return milliseconds (to the first byte, or in all)."""
    clients = {name: load.client(url, key) for name, (url, key) in targets.items()}
    took: dict[str, list[float]] = {name: [] for name in targets}
    for at in range(rounds + 20):
        for name, http in clients.items():
            to_first, whole, _ = await load.once(http, body)
            if at >= 20:
                took[name].append((to_first if first else whole) * 1000)
    for http in clients.values():
        http.close()
    return took


def added(took: dict[str, list[float]], name: str) -> dict[str, float]:
    """Return what a gateway adds to the echo's own latency at the median and the 99th percentile, in ms."""
    own, its = took["echo"], took[name]
    shares = (0.5, 0.9, 0.99)
    return {
        f"added_p{round(q * 100)}_ms": round(common.percentile(its, q) - common.percentile(own, q), 3) for q in shares
    }


async def paced(url: str, key: str, seconds: int) -> dict[str, Any]:
    """Run 1,000 streams of 10 tokens/s and watch every frame."""
    http = load.client(url, key)
    text = f"hello there [echo tokens={PACE * seconds} rate={PACE}]"
    body = load.chat(PACE * seconds, text=text, stream=True)
    seen = await load.paced_streams(http, body, STREAMS, spread=2.0)
    http.close()
    gaps = sorted(seen.gaps)
    return {
        "streams": STREAMS,
        "complete": seen.complete,
        "frames": seen.frames,
        "frames_expected": STREAMS * PACE * seconds,
        "longest_silence_ms": common.spread([gap * 1000 for gap in gaps]),
        "worst_silence_ms": round(gaps[-1] * 1000, 1),
    }


def litellm(stack: ExitStack, upstream: str, on: set[int]) -> Server:
    """Install LiteLLM's proxy in a throw-away environment and start it with its accounting off."""
    where = Path(tempfile.gettempdir()) / "aigrid-bench-litellm"
    if not (where / "bin" / "litellm").exists():
        subprocess.run([sys.executable, "-m", "venv", str(where)], check=True)
        subprocess.run([str(where / "bin" / "pip"), "install", "-q", LITELLM], check=True)
    settings = where / "config.yaml"
    settings.write_text(
        "model_list:\n"
        "  - model_name: echo\n"
        f"    litellm_params: {{model: openai/echo, api_base: '{upstream}/v1', api_key: none}}\n"
        "litellm_settings: {telemetry: false}\n"
    )
    port = common.free_port()
    command = [str(where / "bin" / "litellm"), "--config", str(settings), "--port", str(port), "--num_workers", "1"]
    env = {"LITELLM_LOG": "ERROR", "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_MODE": "PRODUCTION",
           "PATH": f"{where / 'bin'}:{os.environ['PATH']}"}  # fmt: skip
    return stack.enter_context(servers.server(command, port, on=on, env=env, path="/health/liveliness"))


def measure(quick: bool, peer: bool) -> dict[str, Any]:
    """Run every part; return the benchmark's one JSON object."""
    seconds = 3.0 if quick else 10.0
    rounds = 200 if quick else 1000
    scheduling = common.first_in_line()
    mine, others = servers.cores()
    os.sched_setaffinity(0, others)
    figures: dict[str, Any] = {"scheduling": scheduling}
    theirs: dict[str, Any] = {}
    run = load.run

    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        echo = stack.enter_context(servers.echo(on=others))
        ours = stack.enter_context(servers.gateway(echo.url, on=mine, home=home))
        limits = (
            "--budget-usd",
            "1000000",
            "--budget-usd-day",
            "1000000",
            "--rpm",
            "100000000",
            "--tpm",
            "100000000000",
        )
        key = servers.make_key(home, *limits)
        port = common.free_port()
        command = [sys.executable, "-m", "benchmarks.plain_gateway", str(port), echo.url]
        plain = stack.enter_context(servers.server(command, port, on=mine, path="/health/live"))

        short = load.chat(16)
        stream = load.chat(256, stream=True)
        figures["governed"] = run(lambda: saturate(ours.url, key, ours, short, 32, seconds))
        figures["governance_costs"] = run(lambda: governance((ours.url, key, ours), (plain.url, "any", plain), short))
        figures["stream_saturation"] = run(lambda: saturate(ours.url, key, ours, stream, 32, seconds))
        figures["paced_direct"] = run(lambda: paced(echo.url, "", 3 if quick else 10))
        figures["paced"] = run(lambda: paced(ours.url, key, 3 if quick else 10))
        targets = {"echo": (echo.url, ""), "aigrid": (ours.url, key)}
        slow = load.chat(4, stream=True, text="hello [echo tokens=4 rate=1000]")
        took = run(lambda: in_turn(targets, short, rounds, first=False))
        figures["one_client"] = added(took, "aigrid")
        took = run(lambda: in_turn(targets, slow, rounds, first=True))
        figures["first_token"] = added(took, "aigrid")
        totals = servers.ledger_totals(home)
        figures["requests_on_the_ledger"] = totals["requests"]
        if peer:
            lite = litellm(stack, echo.url, mine)
            theirs["name"] = "LiteLLM proxy, accounting off"
            theirs["version"] = subprocess.run(
                [f"{tempfile.gettempdir()}/aigrid-bench-litellm/bin/pip", "list", "--format=freeze"],
                capture_output=True, text=True, check=True,
            ).stdout.partition("litellm==")[2].partition("\n")[0]  # fmt: skip
            theirs["throughput"] = run(lambda: saturate(lite.url, "sk-any", lite, short, 32, seconds))
            took = run(
                lambda: in_turn({"echo": (echo.url, ""), "peer": (lite.url, "sk-any")}, short, rounds // 4, False)
            )
            theirs["one_client"] = added(took, "peer")
    return report(figures, theirs)


def report(figures: dict[str, Any], theirs: dict[str, Any]) -> dict[str, Any]:
    """Judge the figures."""
    rps = figures["governed"]["requests_per_s_per_core"]["median"]
    governance = figures["governance_costs"]["share"]
    paced, one = figures["paced"], figures["one_client"]
    holds = {
        "at least 1,500 requests/s per core": rps >= 1500,
        "at most 0.5 ms added at p50": one["added_p50_ms"] <= 0.5,
        "at most 2 ms added at p99": one["added_p99_ms"] <= 2.0,
        "at most 1 ms added to the first token at p50": figures["first_token"]["added_p50_ms"] <= 1.0,
        "1,000 paced streams: no frame lost": paced["frames"] == paced["frames_expected"]
        and paced["complete"] == STREAMS,
        "1,000 paced streams: no silence over 5 frames' time": paced["worst_silence_ms"] <= 5 * 1000 / PACE,
        "at least 10,000 frames/s per core at saturation": figures["stream_saturation"]["frames_per_s_per_core"][
            "median"
        ]
        >= 10_000,
        "governance costs at most 25 % of throughput": governance <= 0.25,
    }
    if theirs:
        ratio = rps / theirs["throughput"]["requests_per_s_per_core"]["median"]
        figures["ratio_to_peer"] = round(ratio, 1)
        holds["at least 10 times the peer's requests/s per core"] = ratio >= 10
    table = [
        row("requests per second and core", rps, theirs.get("throughput", {}).get("requests_per_s_per_core", {}).get("median")),
        row("added latency, p50 (ms)", one["added_p50_ms"], theirs.get("one_client", {}).get("added_p50_ms"), less=True),
        row("added latency, p99 (ms)", one["added_p99_ms"], theirs.get("one_client", {}).get("added_p99_ms"), less=True),
        row("added to the first token, p50 (ms)", figures["first_token"]["added_p50_ms"]),
        row("frames per second and core, streaming", figures["stream_saturation"]["frames_per_s_per_core"]["median"]),
        row("1,000 streams at 10 tokens/s: frames lost", paced["frames_expected"] - paced["frames"]),
        row("… longest silence in any stream (ms; the echo alone: peer)", paced["worst_silence_ms"],
            figures["paced_direct"]["worst_silence_ms"]),
        row("what governance costs (share of throughput)", governance),
    ]  # fmt: skip
    return {"name": "gateway_overhead", "figures": figures, "peer": theirs, "holds": holds, "table": table}


def row(what: str, ours: float, peer: float | None = None, *, less: bool = False) -> dict[str, Any]:
    """Return a row for people; the ratio says how many times better we are."""
    ratio = None if not peer or not ours or what.startswith("…") else peer / ours if less else ours / peer
    return {"what": what, "ours": ours, "peer": peer, "ratio": ratio}


if __name__ == "__main__":
    parser = common.arguments("what the gateway adds, beside LiteLLM")
    parser.add_argument("--quick", action="store_true", help="shorten every part")
    parser.add_argument("--no-peer", action="store_true", help="leave LiteLLM out")
    options = parser.parse_args()
    common.report(measure(options.quick, not options.no_peer), options.json)
