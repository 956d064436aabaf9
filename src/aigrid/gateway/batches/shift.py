"""The overnight shift: which request of which batch is answered next, and when.

Requests of batches run in the capacity that interactive ones leave idle. Among tenants the one that has had the
fewest tokens is next, among its batches the one with the earliest deadline; a batch whose deadline is near goes before
all others. With a table of energy prices, a batch waits for the cheapest hours in which it can still be done.
"""

import asyncio
import contextlib
import logging
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from aigrid.core.clock import SECOND, now_ns
from aigrid.core.errors import (
    AigridError,
    BudgetExceeded,
    LedgerUnavailable,
    NotFound,
    RateLimited,
    Unauthorized,
    Unavailable,
    UpstreamError,
)
from aigrid.gateway.batches import lines
from aigrid.gateway.batches.hours import Hours
from aigrid.gateway.batches.job import Job, Lost
from aigrid.gateway.batches.keeper import Keeper
from aigrid.gateway.batches.work import Attempt
from aigrid.ledger import shelf
from aigrid.ledger.shelf import FAILED, Line, Result

if TYPE_CHECKING:
    from aigrid.gateway.app import Gateway

log = logging.getLogger("aigrid.batches")
_LOOK_S = 1.0
_LEASE_NS = 60 * SECOND
_SWEEP_NS = 600 * SECOND
_TRIES = 3
_BUDGET_WAIT_NS = 10 * SECOND
_TROUBLE_WAIT_NS = SECOND
_MARGIN = 2
"""Work is taken to last so many times as long as it should, so that it starts early enough."""
_LATEST = 1.25
"""The same for a batch that waits for idle time: later, it takes what it needs."""
_FIRST_RATE = 50.0
"""Completion tokens per second that are reckoned with before any were made."""
_AHEAD = 2.0
"""Requests sent to an engine that puts them aside by itself, over how many it runs at once: some always wait there."""
_LONGEST_TURN_S = 1.0


class Shift:
    """Works on all batches that are this gateway's. `start` and `stop` it with the gateway."""

    def __init__(self, gateway: "Gateway") -> None:
        self._gateway = gateway
        self.hours = Hours(gateway.config)
        self.jobs: dict[str, Job] = {}
        self.rate = _FIRST_RATE
        self._served: dict[str, float] = {}
        self._flying: dict[str, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._main: asyncio.Task[None] | None = None
        self._keeper: Keeper | None = None
        self._swept_ns = 0
        self._made = 0
        self._made_since = now_ns()
        self._looked_ns = 0

    @property
    def runner(self) -> str:
        """The name under which batches are taken: this gateway's in a shared ledger."""
        return getattr(self._gateway.ledger, "gateway", "") or self._gateway.config.site.id

    async def start(self) -> None:
        """Begin to work."""
        self._keeper = Keeper(self._gateway.ledger, self.runner)
        self._main = asyncio.create_task(self._run(), name="overnight-shift")

    async def stop(self) -> None:
        """Put everything down: what has no answer yet is done again by whoever comes next, and costs nothing."""
        tasks = [*self._tasks, *([self._main] if self._main is not None else [])]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        self._main = None

    def wake(self) -> None:
        """Look at once: a batch was made or is to be cancelled."""
        self._looked_ns = 0
        self._wake.set()

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            try:
                now = now_ns()
                if now - self._looked_ns >= _LOOK_S * SECOND:
                    self._looked_ns = now
                    await self._look(now)
                await self._hand_out(now)
            except LedgerUnavailable as error:
                log.warning("batches wait for the database: %s", error.message)
                await asyncio.sleep(_LOOK_S)
            except Exception:
                log.exception("the overnight shift stumbled")
                await asyncio.sleep(_LOOK_S)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), _LOOK_S)

    async def _look(self, now: int) -> None:
        """Take what is nobody's, let go of what is another's, and see what is to be cancelled."""
        ledger = self._gateway.ledger
        mine = await ledger.write(lambda run: shelf.claim(run, self.runner, now, _LEASE_NS))
        for batch in mine:
            job = self.jobs.get(batch.id)
            if job is None:
                job = self.jobs[batch.id] = Job(self._gateway, batch, self.runner)
                self._spawn(self._live(job))
            elif batch.status == "cancelling" and job.batch.status == "in_progress":
                job.batch.status, job.batch.plan.times = batch.status, batch.plan.times
                job.changed.set()
        for id_ in self.jobs.keys() - {batch.id for batch in mine}:  # another gateway took it, or it has just ended
            self.jobs[id_].lost = self.jobs[id_].batch.status in shelf.AT_WORK
            self.jobs[id_].changed.set()
        if now - self._swept_ns > _SWEEP_NS:
            self._swept_ns = now
            for file in await ledger.read(lambda run: shelf.stale_files(run, now, now - 3600 * SECOND)):
                await ledger.write(lambda run, f=file: shelf.erase_file(run, f))  # type: ignore[misc]

    def _spawn(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _live(self, job: Job) -> None:
        """See a batch through."""
        try:
            if job.batch.status == "validating":
                await job.validate()
            while job.batch.status == "in_progress" and job.left and not job.lost and now_ns() < job.batch.deadline_ns:
                job.changed.clear()
                wait = min(5.0, max(0.0, (job.batch.deadline_ns - now_ns()) / SECOND))
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(job.changed.wait(), wait)
            if job.batch.status in ("in_progress", "cancelling", "finalizing") and not job.lost:
                await job.put_down()
                await job.finish()
        except Lost:
            pass
        except LedgerUnavailable as error:
            log.warning("batch %s waits for the database: %s", job.batch.id, error.message)
            await asyncio.sleep(_LOOK_S)
        except Exception:
            log.exception("batch %s cannot go on; it is tried again", job.batch.id)
            await asyncio.sleep(30)
        finally:
            job.closed = True
            await job.put_down()
            self.jobs.pop(job.batch.id, None)
            self.wake()

    # Whose turn it is

    async def _hand_out(self, now: int) -> None:
        """Start as many requests as there is room for."""
        for job in list(self.jobs.values()):
            if job.batch.status == "in_progress":
                await job.fill()
        while (best := self._next(now)) is not None:
            line = best.ready.popleft()
            engine = self._engine_of(best)
            best.busy[line.line] = self._spawn(self._answer(best, line, engine))
            self._flying[engine] = self._flying.get(engine, 0) + 1
            if not best.ready:
                await best.fill()

    def _next(self, now: int) -> Job | None:
        able = []
        for job in self.jobs.values():
            if job.batch.status == "in_progress" and not job.closed and now < job.batch.deadline_ns:
                self._press(job, now)
                job.waits_for = self._reason(job, now)
                if not job.waits_for and job.ready:
                    able.append(job)
        if not able:
            return None
        urgent = [job for job in able if now + self.work_ns(job) * _MARGIN >= job.batch.deadline_ns]
        if not urgent:
            tenants = {job.batch.tenant for job in able}
            least = min(self._served.get(tenant, 0.0) for tenant in tenants)
            self._served = {tenant: self._served.get(tenant, least) for tenant in {*tenants, *self._served}}
            first = min(tenants, key=lambda tenant: (self._served[tenant], tenant))
            able = [job for job in able if job.batch.tenant == first]
        best = min(urgent or able, key=lambda job: (job.batch.deadline_ns, job.batch.id))
        share = best.batch.plan.tokens_bound / max(1, best.batch.total) + 1
        self._served[best.batch.tenant] = self._served.get(best.batch.tenant, 0.0) + share
        return best

    def work_ns(self, job: Job) -> int:
        """Return how long the rest of a batch should take at the rate seen lately, in nanoseconds."""
        return int(job.tokens_left / self.rate * SECOND)

    def _press(self, job: Job, now: int) -> None:
        """See whether a batch can go on waiting for idle time; one that cannot takes back what it left there."""
        margin = _MARGIN if job.pressed else _LATEST
        pressed = now + self.work_ns(job) * margin >= job.batch.deadline_ns
        name = self._engine_of(job)
        patient = any(getattr(engine, "patient", False) for engine in self._gateway.engines if engine.name == name)
        if pressed and not job.pressed and patient:
            for task in job.busy.values():
                task.cancel()
        job.pressed = pressed

    def _reason(self, job: Job, now: int) -> str:
        """Return what a batch waits for; empty when it may go on."""
        if now < job.not_before_ns:
            return job.waits_for or "another try"
        start = self.hours.until(now, job.batch.deadline_ns, self.work_ns(job) * _MARGIN + 300 * SECOND)
        if start > now:
            return f"cheap energy from {self.hours.local(start)}"
        engine = self._engine_of(job)
        room = self._room(engine)
        if self._flying.get(engine, 0) >= room:
            return "the engine" if not room else "interactive requests" if self._gateway.gate.running else "its turn"
        return ""

    def _engine_of(self, job: Job) -> str:
        for engine in self._gateway.engines:
            if any(model.id == job.batch.plan.model for model in engine.models()):
                return engine.name
        return ""

    def _room(self, name: str) -> int:
        """Return how many requests of batches an engine may have now."""
        for engine in self._gateway.engines:
            if engine.name == name:
                load = engine.load()
                if load.state not in ("ready", "idle"):
                    return 0
                if getattr(engine, "patient", False):
                    return int(load.capacity * _AHEAD)
        return max(0, self._gateway.config.overnight.streams - self._gateway.gate.running)

    async def turn(self) -> None:
        """Wait while an interactive request waits for its first token; not for ever."""
        gate = self._gateway.gate
        if gate.rushing:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(gate.calm.wait(), _LONGEST_TURN_S)

    # One request

    async def _answer(self, job: Job, line: Line, engine: str) -> None:
        assert self._keeper is not None
        batch = job.batch
        attempt = Attempt(
            self._gateway, batch.id, batch.plan.endpoint, line, self.turn, self._keeper.keep, idle=not job.pressed
        )
        again = True
        try:
            key = self._gateway.ledger.key(batch.key_id)
            if key is None:
                raise Unauthorized("the API key that made this batch was revoked")
            self._count(await attempt.run(key))
            job.batch.completed += 1
            again = False
        except asyncio.CancelledError:
            raise
        except AigridError as error:
            again = self._wait(job, line, error)
            if not again:
                await self._fail(job, line, attempt.request_id, error)
        except Exception:
            log.exception("unexpected error in line %d of batch %s", line.line, batch.id)
            unknown = AigridError("something went wrong in the gateway; its log says what")
            await self._fail(job, line, attempt.request_id, unknown)
            again = False
        finally:
            self._flying[engine] = max(0, self._flying.get(engine, 1) - 1)
            job.busy.pop(line.line, None)
            if again:
                job.ready.appendleft(line)
            if not job.left:
                job.changed.set()
            self._wake.set()

    async def _fail(self, job: Job, line: Line, request_id: str, error: AigridError) -> None:
        assert self._keeper is not None
        answer = lines.failed(line.custom_id, request_id, error)
        await self._keeper.keep(Result(job.batch.id, line.line, FAILED, answer))
        job.batch.failed += 1

    def _wait(self, job: Job, line: Line, error: AigridError) -> bool:
        """Return whether a request that was refused is to be tried again, and hold its batch back for a while."""
        now = now_ns()
        if isinstance(error, BudgetExceeded):
            job.not_before_ns, job.waits_for = now + _BUDGET_WAIT_NS, "budget"
            return True
        if isinstance(error, RateLimited):
            wait = error.retry_after or 1.0
            job.not_before_ns, job.waits_for = now + int(wait * SECOND), "the key's rate limit"
            return True
        if isinstance(error, Unavailable):
            job.not_before_ns, job.waits_for = now + _TROUBLE_WAIT_NS, "the engine"
            return True
        down = any(engine.load().state not in ("ready", "idle") for engine in self._gateway.engines)
        if isinstance(error, UpstreamError) or (isinstance(error, NotFound) and down):
            tries = job.attempts[line.line] = job.attempts.get(line.line, 1) + 1
            if tries <= _TRIES:
                job.not_before_ns, job.waits_for = now + _TROUBLE_WAIT_NS, "another try"
                return True
        return False

    def _count(self, tokens: int) -> None:
        """Learn how fast work is done, as a mean over about the last half minute of work."""
        self._made += tokens
        now = now_ns()
        span = (now - self._made_since) / SECOND
        if span >= 5.0:
            if span < 30.0:
                self.rate += (self._made / span - self.rate) * 0.3
                self.rate = max(self.rate, 1.0)
            self._made, self._made_since = 0, now
