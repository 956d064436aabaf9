"""`aigrid bench`: how fast this machine and this factory are."""

import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aigrid.cli import factory, output
from aigrid.cli.output import Json, emit, note
from aigrid.cli.units import energy, seconds
from aigrid.client.http import Answer, Gateway
from aigrid.core.errors import BadRequest, NotFound
from aigrid.ledger.prices import usd

if TYPE_CHECKING:
    from rich.console import Console

PROMPT = "Write a short story about a lighthouse, a storm and a letter that arrives twenty years late."


def bench(
    name: Annotated[
        str, typer.Argument(help="A benchmark of the repository; without it, the running factory is measured.")
    ] = "",
    streams: Annotated[str, typer.Option(help="How many streams at once, one measurement each.")] = "1,8",
    tokens: Annotated[int, typer.Option(help="Tokens of each answer.", min=2)] = 128,
    model: Annotated[str, typer.Option(help="Model to measure; the first one served, unless named.")] = "",
    url: Annotated[str, typer.Option(help="Gateway to measure; else the one in AIGRID_HOME.")] = "",
    key: Annotated[str, typer.Option(help="Key to pay with; else the command line's own.")] = "",
    as_json: Json = False,
) -> None:
    """Measure the running factory.

    Tokens per second, time to first token, joules and price, for several numbers of streams.
    """
    if name:
        raise typer.Exit(run_module(name, as_json))
    gateway = factory.gateway(url, key)
    model = model or next(iter(gateway.models()), "")
    if not model:
        raise BadRequest(f"{gateway.url} serves no model to measure")
    results = []
    for count in _counts(streams):
        note(f"{count} streams of {tokens} tokens from {model} …")
        results.append(measure(gateway, model, count, tokens))
    value = {"model": model, "gateway": gateway.url, "tokens": tokens, "results": results}
    emit(value, as_json, lambda console: _show(console, results))


def run_module(name: str, as_json: bool) -> int:
    """Run one benchmark of the repository; returns its exit code."""
    root = Path.cwd()
    if not (root / "benchmarks" / "__main__.py").exists():
        raise NotFound("the named benchmarks are part of the repository, not of the package: run this in a checkout")
    known = subprocess.check_output([sys.executable, "-m", "benchmarks", "--list"], cwd=root, text=True).split()
    if name not in known:
        raise NotFound(f"no benchmark `{name}`; there are: {', '.join(known)}")
    return subprocess.call([sys.executable, "-m", f"benchmarks.{name}", *(["--json"] if as_json else [])], cwd=root)


def measure(gateway: Gateway, model: str, streams: int, tokens: int) -> dict[str, Any]:
    """Run `streams` requests at once and return what came of them together."""
    from concurrent.futures import ThreadPoolExecutor

    def one(number: int) -> Answer:
        body = {
            "model": model,
            "messages": [{"role": "user", "content": f"{PROMPT} (version {number})"}],
            "max_completion_tokens": tokens,
            "temperature": 1.0,
            "seed": number,
        }
        answer = Answer()
        for _ in gateway.chat(body, answer):
            pass
        return answer

    began = time.perf_counter_ns()
    with ThreadPoolExecutor(streams) as pool:
        answers = list(pool.map(one, range(streams)))
    took_ns = time.perf_counter_ns() - began
    made = sum(answer.completion_tokens for answer in answers)
    first = sorted(answer.first_token_ns for answer in answers)
    joules = [answer.energy_mj for answer in answers if answer.energy_mj is not None]
    return {
        "streams": streams,
        "completion_tokens": made,
        "duration_ns": took_ns,
        "tokens_per_second": round(made * 1e9 / took_ns, 2),
        "first_token_ns": {"median": first[len(first) // 2], "worst": first[-1]},
        "energy_mj": sum(joules) if joules else None,
        "energy_source": answers[0].energy_source,
        "cost_nusd": sum(answer.cost_nusd or 0 for answer in answers),
    }


def _counts(text: str) -> list[int]:
    try:
        counts = [int(part) for part in text.split(",")]
    except ValueError:
        counts = []
    if not counts or min(counts) < 1 or max(counts) > 1000:
        raise BadRequest(f"--streams wants numbers from 1 to 1000, e.g. 1,8,32, not `{text}`")
    return counts


def _show(console: "Console", results: list[dict[str, Any]]) -> None:
    rows = output.table("streams", "tokens/s", "first token", "worst", "energy/token", "price", right=1)
    for row in results:
        joules = row["energy_mj"]
        rows.add_row(
            str(row["streams"]),
            f"{row['tokens_per_second']:,.1f}",
            seconds(row["first_token_ns"]["median"]),
            seconds(row["first_token_ns"]["worst"]),
            energy(round(joules / row["completion_tokens"])) if joules is not None else "–",
            usd(row["cost_nusd"]),
        )
    console.print(rows)
