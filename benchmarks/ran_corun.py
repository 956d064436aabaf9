"""A radio and the embedded engine on one machine: what AI costs the radio, and what it makes of what is left.

1. Slices in random order, as `aigrid ran compare` does it: the machine's floor, the radio alone, AI alone, and five
   ways to share. Misses added by AI are those of a slice less those of the radio alone in the same round.
2. One long run under the harvester, for the tokens it promises in windows of ten seconds.

`--keep FILE` adds the slices and windows of this run to those of earlier ones, for machines that are quiet only for
minutes: the figures are then of all of them.
"""

import argparse
import json
import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from aigrid.ran.generate import generate
from aigrid.ran.harvest import compare
from aigrid.ran.harvest.compare import CONTROLS, POLICIES, WORDS, Bench, Slice
from aigrid.ran.harvest.governor import autogroup
from aigrid.ran.harvest.harvester import Harvester
from aigrid.ran.harvest.works import BurnWork, EngineWork
from aigrid.ran.radio import GATE, Plan, Radio
from benchmarks.common import arguments, interval, log, report

SCALE, TRACE_S = 8.0, 20.0


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Run slices; return them with what else is known of the run."""
    load = generate("town", hour=20.0, seconds=TRACE_S, scale=SCALE, seed=1)
    kinds = [*CONTROLS, *options.policies.split(",")]
    with Bench(load, made(options), 86_400 - 1, ahead=options.ahead) as bench:
        until = time.monotonic() + 60 * options.minutes - len(kinds) * (options.slice + compare.SETTLE_S)

        def tell(kind: str, number: int) -> None:
            log(f"round {number + 1}: {WORDS[kind]}")

        slices = compare.rounds(bench, kinds, until, options.slice, tell, seed=int(time.time()))
        return {"slices": [asdict(each) for each in slices], "notes": bench.notes}


def made(options: argparse.Namespace) -> Any:
    """Return the AI to share the machine with."""
    return EngineWork() if options.work == "engine" else BurnWork()


def promises(options: argparse.Namespace) -> dict[str, Any]:
    """Run the harvester for minutes on a load that changes; return windows kept and broken, and what the guard did."""
    load = generate("event", hour=19.0, seconds=60 * options.promise_minutes + 60, scale=SCALE, seed=2)
    found: dict[str, Any] = {}
    with made(options) as work, Radio(Plan(load, 86_400 - 1, cpu=max(os.sched_getaffinity(0)))) as radio:
        autogroup(work.pid, options.ahead)
        with Harvester(radio.page, work.meter_path) as harvester:
            for minute in range(round(options.promise_minutes)):
                time.sleep(60)
                log(f"minute {minute + 1}: {harvester.co}")
            guard = harvester.guard
            assert guard is not None
            co, forecast = harvester.co, harvester.forecast
            history = [[round(value, 3) for value in each] for each in harvester.history]
            found = {
                "kept": co.kept, "broken": co.broken, "halts": co.halts, "held_s": co.held_s, "causes": guard.causes(),
                "halted_within_us": round(guard.reacted_ns / 1e3, 1), "coverage": [forecast.coverage(0.95), forecast.judged],
                "seconds": 60 * options.promise_minutes, "history": history, "notes": co.notes,
                "share_of_forecast": harvester.promise.ratio,
            }  # fmt: skip
        found["radio_on_time"] = radio.result().on_time
    return found


def kept(runs: list[dict[str, Any]]) -> list[Slice]:
    """Return the slices of all runs, with rounds numbered through."""
    found: list[Slice] = []
    base = 0
    for run in runs:
        slices = [Slice(**{**each, "round": base + each["round"]}) for each in run["slices"]]
        found += slices
        base = 1 + max((each.round for each in found), default=-1)
    return found


def judge(runs: list[dict[str, Any]], long: list[dict[str, Any]], work: str) -> dict[str, Any]:
    """Return the benchmark's one JSON object."""
    processors = len(os.sched_getaffinity(0))
    figures: dict[str, Any] = dict(compare.figures(kept(runs), processors))
    ours, plain, alone, floor = (figures[name] for name in ("harvester", "plain", "radio", "floor"))
    good, bad = sum(run["kept"] for run in long), sum(run["broken"] for run in long)
    inside = sum(run["coverage"][0] * run["coverage"][1] for run in long)
    steps = sum(run["coverage"][1] for run in long)
    figures["promise"] = {
        "windows": good + bad, "kept": good, "share": good / (good + bad) if good + bad else None,
        "interval": interval(good, good + bad), "halts": sum(run["halts"] for run in long),
        "held_s": sum(run["held_s"] for run in long), "seconds": sum(run["seconds"] for run in long),
        "causes": [run["causes"] for run in long], "halted_within_us": [run["halted_within_us"] for run in long],
        "forecast_95_covers": inside / steps if steps else None, "radio_on_time": [run["radio_on_time"] for run in long],
    }  # fmt: skip
    figures["work"] = work
    reach = min(alone["on_time"]["value"], floor["on_time"]["value"])
    holds = {
        "under the harvester the misses added by AI cannot be told from none (paired, 95 %)": ours["added_misses"][
            "low"
        ]
        <= 0,
        "plain sharing adds misses plainly (paired, 95 %)": plain["added_misses"]["low"] > 0,
        "slots on time: 99.98 %, or as many as the machine reaches without AI (95 %)": ours["on_time"]["high"]
        >= min(GATE, reach),
        "at least 80 % of the cycles that the radio leaves idle are used": ours["reclaimed"]["value"] >= 0.8,
        "at least 85 % of the tokens that this idle share gives without a radio": ours["of_idle_share"]["value"]
        >= 0.85,
        "the promised tokens were made in at least 95 % of ten-second windows": bool(good + bad)
        and good / (good + bad) >= 0.95,
    }
    return {
        "name": "ran_corun",
        "figures": figures,
        "peer": {"name": "the ways to share in the same table, and the radio alone"},
        "grid": {"columns": COLUMNS, "rows": [row(kind, figures[kind]) for kind in (*CONTROLS, *POLICIES) if kind in figures]},
        "history": long[-1]["history"] if long else [],
        "holds": holds,
    }  # fmt: skip


COLUMNS = [
    "slots with work", "% on time", "added misses in 10,000", "tick late, µs: half / 99 %", "tokens/s",
    "% of its idle share", "% of idle cycles used",
]  # fmt: skip


def row(kind: str, entry: dict[str, Any]) -> list[Any]:
    """Return a row of the table."""

    def said(name: str, factor: float, places: int) -> str | None:
        if name not in entry:
            return None
        value, low, high = (f"{factor * entry[name][part]:,.{places}f}" for part in ("value", "low", "high"))
        return f"{value} ({low} to {high})"

    ticks = entry.get("tick_us")
    return [
        WORDS[kind], entry.get("busy_slots"), said("on_time", 100, 3), said("added_misses", 1, 1),
        f"{ticks['p50']:.0f} / {ticks['p99']:,.0f}" if ticks else None, said("tokens_per_s", 1, 0),
        said("of_idle_share", 100, 0), said("reclaimed", 100, 0),
    ]  # fmt: skip


def main() -> None:
    """Measure, and report."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--minutes", type=float, default=12.0, help="length of the comparison; 0: only what is kept")
    parser.add_argument("--promise-minutes", type=float, default=6.0, help="length of the long run; 0: none")
    parser.add_argument("--slice", type=float, default=5.0, help="seconds of a slice")
    parser.add_argument("--policies", default=",".join(POLICIES), help="what to compare")
    parser.add_argument("--work", choices=("engine", "burn"), default="engine", help="the AI")
    parser.add_argument(
        "--ahead", type=int, default=-20, help="nice value of the sessions that are measured, before other programs"
    )
    parser.add_argument("--keep", type=Path, help="file that keeps the slices of this run for the next")
    options = parser.parse_args()
    autogroup(os.getpid(), options.ahead)
    state = {"runs": [], "long": []}
    if options.keep and options.keep.exists():
        state = json.loads(options.keep.read_text())
    for name, work, wanted in (("runs", measure, options.minutes), ("long", promises, options.promise_minutes)):
        if wanted:
            state[name].append(work(options))
        if options.keep:
            options.keep.write_text(json.dumps(state))
    report(judge(state["runs"], state["long"], options.work), options.json)


if __name__ == "__main__":
    main()
