"""What a radio has to do, slot by slot: resource blocks and MCS of both directions, from a file or a generator."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aigrid.core.errors import BadRequest

SLOT_S = 0.0005
LARGEST_PRB, LARGEST_MCS = 51, 27
MOST_ROWS = 20_000_000
I16 = NDArray[np.int16]


@dataclass(frozen=True)
class Trace:
    """The load of a cell of `cell_prb` blocks: one entry per step of `step_slots` slots, repeated when it ends.

    MCS are those of the 256QAM table (TS 38.214, table 5.1.3.1-2). Which slots go up or down is the radio's pattern.
    """

    cell_prb: int
    downlink_prb: I16
    downlink_mcs: I16
    uplink_prb: I16
    uplink_mcs: I16
    step_slots: int = 1

    def __post_init__(self) -> None:
        parts = (self.downlink_prb, self.downlink_mcs, self.uplink_prb, self.uplink_mcs)
        if not self.downlink_prb.size or any(part.shape != self.downlink_prb.shape for part in parts):
            raise BadRequest("a trace needs at least one step, and as many of each direction")
        if not 1 <= self.cell_prb <= LARGEST_PRB:
            raise BadRequest(f"a cell of {self.cell_prb} resource blocks is not supported; 1 to {LARGEST_PRB} are")
        if max(int(self.downlink_prb.max()), int(self.uplink_prb.max())) > self.cell_prb:
            raise BadRequest(f"the trace uses more resource blocks than the cell has ({self.cell_prb})")

    @property
    def seconds(self) -> float:
        """Return how long it lasts before it repeats."""
        return self.downlink_prb.size * self.step_slots * SLOT_S


def read(path: Path, cell_prb: int = LARGEST_PRB) -> Trace:
    """Read a trace: a CSV file with the columns `slot` or `time` (seconds), `direction` (dl or ul), `prb` and `mcs`.

    Each direction's rows stand in order and without gaps: slots one after another, times in equal steps that are whole
    slots of 0.5 ms. A direction that is not in the file is idle. Raises BadRequest, naming the row, for the rest.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            return _parse(path, csv.DictReader(file), cell_prb)
    except OSError as error:
        raise BadRequest(f"cannot read the trace {path}: {error.strerror}", code="bad_trace") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadRequest(f"{path} is not a CSV text file: {error}", code="bad_trace") from error


def _parse(path: Path, rows: "csv.DictReader[str]", cell_prb: int) -> Trace:
    names = [name.strip() for name in rows.fieldnames or []]
    rows.fieldnames = names
    clock = "slot" if "slot" in names else "time"
    if missing := [name for name in (clock, "direction", "prb", "mcs") if name not in names]:
        raise BadRequest(
            f"{path} has no column {', '.join(missing)}; needed are slot (or time, in seconds), direction, prb, mcs",
            code="bad_trace",
        )
    times: dict[str, list[float]] = {"dl": [], "ul": []}
    loads: dict[str, list[tuple[int, int]]] = {"dl": [], "ul": []}
    for where, row in _checked(path, rows):
        direction = (row["direction"] or "").strip().lower()
        if direction not in times:
            raise BadRequest(f"{where}: direction is {row['direction']!r}; it must be dl or ul", code="bad_trace")
        prb = _whole(where, row, "prb", cell_prb)
        mcs = _whole(where, row, "mcs", LARGEST_MCS)
        _follows(where, clock, times[direction], row[clock])
        loads[direction].append((prb, mcs))
    return _trace(path, clock, times, loads, cell_prb)


def _checked(path: Path, rows: "csv.DictReader[str]") -> Iterator[tuple[str, dict[str, str]]]:
    """Yield rows with their place in words."""
    for count, row in enumerate(rows):
        where = f"{path}, row {rows.line_num}"
        if None in row or None in row.values():
            raise BadRequest(f"{where}: it has not as many fields as the heading", code="bad_trace")
        if count >= MOST_ROWS:
            raise BadRequest(f"{where}: a trace may have {MOST_ROWS:,} rows; use longer steps", code="bad_trace")
        yield where, row


def _whole(where: str, row: dict[str, str], name: str, most: int) -> int:
    text = row[name].strip()
    if not (text.removeprefix("-").isascii() and text.removeprefix("-").isdigit()) or len(text) > 9:
        raise BadRequest(
            f"{where}: {name} is {row[name]!r}; it must be a whole number from 0 to {most}", code="bad_trace"
        )
    value = int(text)
    if not 0 <= value <= most:
        raise BadRequest(f"{where}: {name} is {value}; it must be from 0 to {most}", code="bad_trace")
    return value


def _follows(where: str, clock: str, times: list[float], text: str) -> None:
    """Add a time that follows the one before at the step of the first two."""
    try:
        now = float(int(text)) if clock == "slot" else float(text)
    except ValueError:
        raise BadRequest(f"{where}: {clock} is {text!r}, which is not a number", code="bad_trace") from None
    if not 0 <= now < 1e12:
        raise BadRequest(f"{where}: {clock} is {text}; it must not be negative, nor beyond 10¹²", code="bad_trace")
    if times:
        step = 1.0 if clock == "slot" else times[1] - times[0] if len(times) > 1 else now - times[0]
        expected = times[-1] + step
        if step <= 0 or abs(now - expected) > 0.01 * step:
            raise BadRequest(
                f"{where}: {clock} is {text} after {times[-1]:g}, where {expected:g} was expected: "
                "the rows of a direction must follow each other without gaps",
                code="bad_trace",
            )
    times.append(now)


def _trace(
    path: Path, clock: str, times: dict[str, list[float]], loads: dict[str, list[tuple[int, int]]], cell_prb: int
) -> Trace:
    if not (times["dl"] or times["ul"]):
        raise BadRequest(f"{path} holds no rows", code="bad_trace")
    both = [key for key in ("dl", "ul") if times[key]]
    if len(both) == 2 and (len(times["dl"]) != len(times["ul"]) or times["dl"][0] != times["ul"][0]):
        raise BadRequest(
            f"{path}: dl has {len(times['dl'])} rows from {times['dl'][0]:g}, ul {len(times['ul'])} from "
            f"{times['ul'][0]:g}; both directions must cover the same time",
            code="bad_trace",
        )
    series = times[both[0]]
    step = 1
    if clock == "time" and len(series) > 1:
        exact = (series[-1] - series[0]) / (len(series) - 1) / SLOT_S
        step = round(exact)
        if step < 1 or abs(exact - step) > 0.01 * step:
            raise BadRequest(f"{path}: steps of {exact * SLOT_S:g} s are not whole slots of 0.5 ms", code="bad_trace")
    idle = [(0, 0)] * len(series)
    down, up = (np.array(loads[key] or idle, np.int16) for key in ("dl", "ul"))
    return Trace(cell_prb, down[:, 0].copy(), down[:, 1].copy(), up[:, 0].copy(), up[:, 1].copy(), step)
