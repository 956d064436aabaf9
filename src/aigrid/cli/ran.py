"""`aigrid ran …`: a radio with deadlines on this machine."""

import contextlib
import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aigrid.cli import ran_compare
from aigrid.cli.output import Json, emit, err, table, warn
from aigrid.cli.ran_harvest import Tell, harvesting, prepare
from aigrid.core.errors import BadRequest

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

    from aigrid.ran.harvest.harvester import Harvester
    from aigrid.ran.radio import Radio, Summary
    from aigrid.ran.state import RadioState

app = typer.Typer(no_args_is_help=True, help="Run 5G radio work with real deadlines on this machine.")
BARS = " ▁▂▃▄▅▆▇█"
LOOK_S = 0.25
Harvest = Annotated[
    bool, typer.Option("--harvest", help="Give the engine of this machine's factory what the radio leaves idle.")
]

app.command("compare")(ran_compare.compare)


@app.callback()
def ran() -> None:
    """Run 5G radio work with real deadlines on this machine."""


@app.command("run")
def run(
    trace: Annotated[Path | None, typer.Option(help="CSV file with slot (or time), direction, prb, mcs.")] = None,
    generate: Annotated[str, typer.Option(help="Without a file: a measured cell: town, steady or event.")] = "town",
    hour: Annotated[float, typer.Option(help="Hour of the day that is generated.")] = 20.0,
    scale: Annotated[float, typer.Option(help="Factor on the measured load; 8 makes it a busy 5G cell.")] = 8.0,
    seconds: Annotated[float, typer.Option(help="How long to run.")] = 10.0,
    prb: Annotated[int, typer.Option(help="Resource blocks of the cell, 24 to 51.", min=24, max=51)] = 51,
    pattern: Annotated[str, typer.Option(help="tdd (three slots down, one switching, one up) or fdd.")] = "tdd",
    cpu: Annotated[int, typer.Option(help="Processor to stay on; -1: any.")] = -1,
    fifo: Annotated[bool, typer.Option(help="Ask for the real-time scheduling class.")] = True,
    empty: Annotated[
        bool, typer.Option(help="The control: the same slots without the work, the machine's own floor.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of what is generated.")] = 0,
    harvest: Harvest = False,
    as_json: Json = False,
) -> None:
    """Run a radio and say how many of its deadlines it met.

    Every 500 µs a slot: PDSCH is to be ready 1,155 µs after the tick, PUSCH received 4,500 µs after its slot began
    (2,000 µs where an early HARQ answer is due). 99.98 % of the slots on time is the mark to reach.
    """
    from aigrid.ran.generate import generate as generated
    from aigrid.ran.radio import Plan, Radio
    from aigrid.ran.trace import read

    if trace is None:
        load = generated(generate, hour=hour, seconds=min(seconds, 600.0), scale=scale, seed=seed, cell_prb=prb)
    else:
        load = read(trace, prb)
    plan = Plan(load, seconds, pattern, None if cpu < 0 else cpu, fifo, empty, seed)
    if cpu >= 0 and not fifo and not empty:
        warn("pinned and without the real-time class, the radio waits for whatever else runs on that processor")
    if not as_json:
        err().print("preparing the radio (the first start compiles its kernels) …", style="dim")
    prepare(harvest)
    with Radio(plan) as radio:
        for text in radio.notes:
            warn(text)
        with harvesting(radio.page, harvest) as tell:
            watch(radio, not as_json, tell)
        result = radio.wait()
    emit(dataclasses.asdict(result), as_json, lambda console: console.print(page(result)))
    if result.ended != "done":
        raise BadRequest(f"{result.ended}; what it did until then is above", code="radio_died")


def watch(radio: "Radio", show: bool, tell: Tell) -> None:
    """Draw the radio, and what is harvested beside it, until it ends."""
    with live(show) as view:
        while radio.alive:
            state = radio.state()
            harvester = tell(state)
            if view is not None:
                view.update(picture(state, harvester))
            time.sleep(LOOK_S)


@contextlib.contextmanager
def live(show: bool) -> Iterator["Live | None"]:
    """Draw on the terminal until the block ends; None where nothing is to be shown."""
    from rich.live import Live

    if not show:
        yield None
        return
    with Live(console=err(), refresh_per_second=1 / LOOK_S, transient=True) as view:
        yield view


def bars(histogram: Any) -> str:
    """Return a histogram as one line, an octave a character, on a logarithmic scale."""
    import numpy as np

    octaves = np.log1p(histogram.reshape(-1, 4).sum(axis=1))
    top = max(float(octaves.max()), 1.0)
    return "".join(BARS[round(float(value) / top * (len(BARS) - 1))] for value in octaves)


def picture(state: "RadioState", harvester: "Harvester | None" = None) -> "RenderableType":
    """Return the radio at one moment: slots, deadlines, load; and the AI beside it."""
    import numpy as np

    grid = table("", "")
    load = (state.recent_downlink_prb + state.recent_uplink_prb).reshape(32, -1).mean(axis=1) / state.cell_prb
    grid.add_row("slot", f"{state.slot:,}")
    grid.add_row("on time", f"{100 * state.on_time:.3f} % of {state.busy_slots:,} with work, {state.late_slots:,} late")
    grid.add_row("tick, 1 µs to 65 ms", bars(state.tick_histogram))
    grid.add_row("downlink ready", bars(state.downlink_histogram))
    grid.add_row("uplink done", bars(state.uplink_histogram))
    line = "".join(BARS[round(min(1.0, float(value)) * (len(BARS) - 1))] for value in load)
    grid.add_row("blocks, last 0.5 s", f"{line} {100 * float(np.mean(load)):.0f} %")
    work = float(state.recent_work_ns.sum()) / (len(state.recent_work_ns) * max(1, state.slot_ns))
    grid.add_row("processor", f"{100 * work:.0f} % of one")
    if harvester is not None:
        co = harvester.co
        kept = f", kept in {co.kept:,} of {co.kept + co.broken:,} windows of 10 s" if co.kept + co.broken else ""
        grid.add_row("next second", f"{100 * co.need_low:.0f} to {100 * co.need_high:.0f} % of one (90 %)")
        grid.add_row("AI", f"{co.tokens_per_second:,.0f} tokens/s, {100 * co.engine_cpu:.0f} % of one processor")
        grid.add_row("promised", f"{co.promised:,.0f} tokens/s{kept}")
        grid.add_row("halted", f"{co.halts:,} times, {co.held_s:.2f} s in all")
        grid.add_row("why", co.reason)
    return grid


def page(result: "Summary") -> "RenderableType":
    """Return what a radio did, for people."""
    grid = table("", "µs: half within", "99 %", "99.9 %", "all", right=1)
    for name, times in (("tick", result.tick_us), ("downlink", result.downlink_us), ("uplink", result.uplink_us)):
        grid.add_row(name, *(f"{value:,.0f}" for value in (times.p50, times.p99, times.p999, times.most)))
    mark = "holds" if result.holds else "does not hold"
    grid.title = (
        f"{result.slots:,} slots, {result.busy_slots:,} with work, {100 * result.on_time:.3f} % on time "
        f"(99.98 % {mark}); {result.dropped:,} pieces dropped, {100 * result.cpu_share:.0f} % of one processor"
    )
    grid.title_justify = "left"
    return grid


@app.command("watch")
def watch_other(
    kind: Annotated[str, typer.Argument(help="srsran, oai or aerial.")],
    source: Annotated[str, typer.Argument(help="Its log file, or for aerial the address of its metrics page.")],
    prb: Annotated[int, typer.Option(help="Resource blocks of its cell, where it does not say (oai, aerial).")] = 106,
    seconds: Annotated[float, typer.Option(help="How long to watch; 0: until Ctrl-C.")] = 0.0,
    page_path: Annotated[Path | None, typer.Option("--page", help="Where to keep the page of state.")] = None,
    harvest: Harvest = False,
    as_json: Json = False,
) -> None:
    """Read another radio's own counters, and show and publish them as this program's radio does.

    srsRAN: gnb.log with metrics enabled. OpenAirInterface: what nr-softmodem prints. Aerial: its Prometheus page.
    """
    import tempfile

    from aigrid.ran.adapters.sources import watch_radio
    from aigrid.ran.state import Page

    prepare(harvest)
    with tempfile.TemporaryDirectory(prefix="aigrid-radio-") as folder:
        page = Page(page_path or Path(folder) / "page", create=True)
        with harvesting(page.path, harvest) as tell, live(not as_json) as view:
            for _ in watch_radio(kind, source, prb, seconds, page):
                harvester = tell(page.read())
                if view is not None:
                    view.update(picture(page.read(), harvester))
        state = page.read()
    said = {name: getattr(state, name) for name in (
        "slot", "cell_prb", "on_time", "downlink_done", "downlink_missed", "uplink_done", "uplink_missed", "bad_blocks",
        "downlink_prb", "uplink_prb", "tick_late_max_ns",
    )}  # fmt: skip
    emit(said, as_json, lambda console: console.print(picture(state)))
