"""The engine of this machine's factory beside a radio: found, governed while the radio runs, and told about."""

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from aigrid.cli.output import warn
from aigrid.core.clock import now_ns
from aigrid.core.config import home, load
from aigrid.core.errors import NotFound

if TYPE_CHECKING:
    from aigrid.ran.harvest.harvester import Harvester
    from aigrid.ran.state import RadioState

RECORD_S = 0.5
Tell = Callable[["RadioState"], "Harvester | None"]
"""Called with the radio's state, many times: keeps the record that the console reads, and returns the harvester."""


@contextlib.contextmanager
def harvesting(page: Path, wanted: bool) -> Iterator[Tell]:
    """Give the engine of this factory what the radio at `page` leaves idle, where that is `wanted`."""
    from aigrid.ran.harvest import record
    from aigrid.ran.harvest.harvester import Harvester

    engine = load().site.id if wanted else ""
    began, told = now_ns(), 0.0
    with contextlib.ExitStack() as stack:
        harvester = stack.enter_context(Harvester(page, _meter())) if wanted else None
        said: set[str] = set()

        def tell(radio: "RadioState") -> "Harvester | None":
            nonlocal told
            if time.monotonic() - told >= RECORD_S:
                told = time.monotonic()
                record.write(radio, harvester, began, engine)
                for text in harvester.co.notes if harvester else ():
                    if text not in said:
                        warn(text)
                    said.add(text)
            return harvester

        stack.callback(record.forget)
        yield tell


def prepare(wanted: bool) -> None:
    """Before a radio starts: see that there is an engine to harvest, and compile the guard."""
    if wanted:
        _meter()
        from aigrid.ran.harvest.guard import warm

        warm()


def _meter() -> Path:
    """Return the meter of this factory's embedded engine; raises NotFound where none runs."""
    from aigrid.engines.meter import meter_path
    from aigrid.engines.openvino_process import socket_path

    meter = meter_path(socket_path(home() / "run", load().site.id))
    if not meter.exists():
        raise NotFound(
            f"no embedded engine runs in {home()}, so that there is nothing to give idle cycles to; "
            "start one with `aigrid up`, or leave --harvest out"
        )
    return meter
