"""The ledger's heartbeat: samples the meter, closes what is settled, and hands batches on to be committed."""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from aigrid.core.clock import mono_ns
from aigrid.ledger.attribution import NoMeter
from aigrid.ledger.energy import Meter, Sample
from aigrid.ledger.till import Batch, Till

log = logging.getLogger(__name__)

BUSY_S = 0.25
IDLE_S = 5.0
SLOW_NS = 500_000
"""A meter that took longer than this is not asked on the event loop."""


class Ticker:
    """Ticks a till: four times a second while holds are open, every five seconds else, and soon after a settlement."""

    def __init__(self, till: Till, meter: Meter | None, submit: Callable[[Batch], None], least_s: float) -> None:
        """`least_s` is the shortest time between two ticks, and so between two group commits."""
        self.till = till
        self._meter = meter if meter is not None else NoMeter()
        self._submit = submit
        self._least_s = least_s
        self._wake = asyncio.Event()
        self._ticking = asyncio.Lock()
        # Some sensors take milliseconds to answer: those are asked in a thread of their own.
        self._slow = True
        self._sampler = ThreadPoolExecutor(1, "aigrid-ledger-meter")
        self._task = asyncio.create_task(self._run(), name="ledger-ticker")
        self._sampled = mono_ns()
        self._failed = False
        self.wake = self._wake.set

    async def stop(self) -> None:
        """Tick a last time and end."""
        self._task.cancel()
        await asyncio.wait([self._task])
        await self.tick(last=True)
        self._sampler.shutdown()

    async def tick(self, *, last: bool = False) -> None:
        """Sample, share out, and submit what is settled."""
        async with self._ticking:
            if self._slow:
                sample = await asyncio.get_running_loop().run_in_executor(self._sampler, self._sample)
            else:
                sample = self._sample()
            batch = self.till.tick(sample, last=last)
            if batch is not None:
                self._submit(batch)

    async def _run(self) -> None:
        while True:
            try:
                async with asyncio.timeout(BUSY_S if self.till.open else IDLE_S):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            try:
                await self.tick()
            except Exception:
                log.exception("the ledger's tick failed; it is tried again")
            await asyncio.sleep(self._least_s)

    def _sample(self) -> Sample:
        asked = mono_ns()
        try:
            sample = self._meter.sample()
            self._slow = mono_ns() - asked > SLOW_NS
        except Exception as error:  # a broken sensor must not stop settlement
            if not self._failed:
                log.error("the energy meter fails: %s; energy is counted as zero", error)
            self._failed = True
            sample = Sample(0, mono_ns() - self._sampled, "none", False, str(error))
        else:
            self._failed = False
        self._sampled = mono_ns()
        return sample
