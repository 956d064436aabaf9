"""The energy of runs, as the ledger has it: what was attributed to a step may still grow for a moment after it."""

from collections.abc import Iterable

from aigrid.agents.journal import Step
from aigrid.agents.views import Run
from aigrid.core.clock import SECOND, now_ns
from aigrid.ledger.base import Ledger

_SETTLED_NS = 60 * SECOND
_MOST = 100_000


class Energy:
    """Looks records up in the ledger, and remembers those that do not change any more."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._known: dict[str, tuple[int, str]] = {}

    async def of(self, records: Iterable[str]) -> tuple[int, str]:
        """Return the millijoules that records have come to, and how they were measured; "" where nothing was."""
        total, sources = 0, set()
        for record in records:
            energy, source = await self._one(record)
            total += energy
            sources |= {source} if source else set()
        return total, sources.pop() if len(sources) == 1 else "mixed" if sources else ""

    async def _one(self, record: str) -> tuple[int, str]:
        found = self._known.get(record)
        if found is None:
            row = await self._ledger.record(record)
            if row is None:
                return 0, ""
            found = row.energy_mj, row.energy_source
            if now_ns() - row.settled_ns > _SETTLED_NS:
                if len(self._known) >= _MOST:
                    self._known.clear()
                self._known[record] = found
        return found

    async def measure(self, runs: Iterable[Run]) -> None:
        """Fill in the energy of runs."""
        for run in runs:
            run.energy_mj, run.energy_source = await self.of(run.records)

    async def measure_steps(self, steps: Iterable[Step]) -> None:
        """Fill in the energy of each step of the model."""
        for step in steps:
            if step.kind == "model":
                step.body["energy_mj"], step.body["energy_source"] = await self.of(step.body.get("records", ()))
