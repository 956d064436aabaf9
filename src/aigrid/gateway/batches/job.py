"""One batch from its input file to its output file. Every step can be begun again after a crash."""

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from aigrid.core.clock import SECOND, now_ns
from aigrid.core.errors import AigridError
from aigrid.core.ids import new_id
from aigrid.gateway.batches import lines
from aigrid.gateway.batches.files import KEPT_NS, FileWriter, content
from aigrid.gateway.batches.work import understand
from aigrid.ledger import shelf
from aigrid.ledger.base import Run
from aigrid.ledger.shelf import DONE, FAILED, Batch, Line, Problem

if TYPE_CHECKING:
    from aigrid.gateway.app import Gateway

_LOADED = 256
_PAGE = 500
_MOST_PROBLEMS = 100
_AT_ONCE = 8
"""Lines understood before others get their turn."""


class Lost(Exception):
    """Another gateway has this batch now, or somebody wants it cancelled."""


class Job:
    """A batch that this gateway works on. `ready` has requests that wait, `busy` those being answered, by line."""

    def __init__(self, gateway: "Gateway", batch: Batch, runner: str) -> None:
        self.batch = batch
        self.ready: deque[Line] = deque()
        self.busy: dict[int, asyncio.Task[None]] = {}
        self.attempts: dict[int, int] = {}
        self.not_before_ns = 0
        self.waits_for = ""
        self.lost = self.closed = False
        self.pressed = False  # whether it can wait for idle time no longer
        self.changed = asyncio.Event()
        self._gateway, self._runner = gateway, runner
        self._loaded = -1
        self._all_loaded = False
        self._loading = asyncio.Lock()

    @property
    def left(self) -> int:
        """Requests without an answer, those being answered among them."""
        return self.batch.waiting

    @property
    def tokens_left(self) -> int:
        """The most completion tokens that are still to be made."""
        return self.batch.plan.tokens_bound * self.left // max(1, self.batch.total)

    async def put_down(self) -> None:
        """Stop answering; answers that are being written are waited for."""
        while self.busy:
            tasks = list(self.busy.values())
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def fill(self) -> None:
        """Load requests that wait, if few are at hand."""
        async with self._loading:
            if len(self.ready) < _LOADED // 2 and not self._all_loaded:
                found = await self._gateway.ledger.read(
                    lambda run: shelf.waiting(run, self.batch.id, self._loaded, _LOADED)
                )
                self._all_loaded = len(found) < _LOADED
                if found:
                    self._loaded = found[-1].line
                    self.ready.extend(found)

    async def advance(self) -> None:
        """Write down the batch's status and plan; raises `Lost`."""
        self.batch.plan.times.setdefault(self.batch.status, now_ns())
        if not await self._gateway.ledger.write(lambda run: shelf.advance(run, self.batch, self._runner)):
            raise Lost

    async def validate(self) -> None:
        """Read the input file into requests, or find what is wrong with it."""
        batch, ledger = self.batch, self._gateway.ledger
        plan, config = batch.plan, self._gateway.config
        problems: list[Problem] = []
        file = await ledger.read(lambda run: shelf.file(run, batch.tenant, plan.input_file, now_ns()))
        if file is None:
            problems = [Problem("file_not_found", f"The input file {plan.input_file} is not there any more.")]
        else:
            check = Check(self._gateway, batch, config.overnight.max_requests)
            page: list[Line] = []
            number = 0
            async for text in lines.split(content(ledger, file.id), config.gateway.max_body_mb << 20):
                number += 1
                if text.strip():
                    line = check.line(text, number)
                    page += [line] if line is not None else []
                if len(page) >= _PAGE:
                    await ledger.write(lambda run, p=page: shelf.put_lines(run, batch.id, p))  # type: ignore[misc]
                    page = []
                if number % _AT_ONCE == 0:
                    await asyncio.sleep(0)
                if len(check.problems) >= _MOST_PROBLEMS:
                    break
            await ledger.write(lambda run: shelf.put_lines(run, batch.id, page))
            problems = check.finish()
            batch.total, plan.model = check.total, check.model
            plan.tokens_bound, plan.bound_nusd = check.tokens_bound, check.bound_nusd
        if problems:
            batch.status, plan.errors, batch.total = "failed", problems, 0
            await ledger.write(lambda run: shelf.erase_lines(run, batch.id))
        else:
            batch.status = "in_progress"
        await self.advance()

    async def finish(self) -> None:
        """Write the output and error files of a batch that is done, expired or cancelled."""
        batch, plan = self.batch, self.batch.plan
        cancelled = batch.status == "cancelling"
        expired = not cancelled and self.left > 0
        if not cancelled:
            batch.status = "finalizing"
            plan.output_file = plan.output_file or new_id("file-")
            plan.error_file = plan.error_file or new_id("file-")
            await self.advance()
        else:
            plan.output_file = plan.output_file or new_id("file-")
            plan.error_file = plan.error_file or new_id("file-")
        if expired:
            await self._expire()
        kept_ns = plan.output_expires_s * SECOND or KEPT_NS
        files = [
            await self._write(plan.output_file, "output", DONE),
            await self._write(plan.error_file, "error", FAILED),
        ]
        plan.output_file, plan.error_file = (file.id if file is not None else "" for file in files)
        batch.status = "cancelled" if cancelled else "expired" if expired else "completed"
        plan.times[batch.status] = now_ns()

        def end(run: Run) -> bool:
            for file in files:
                if file is not None:
                    shelf.finish_file(run, file.finished(kept_ns))
            shelf.erase_lines(run, batch.id)
            return shelf.advance(run, batch, self._runner)

        await self._gateway.ledger.write(end)

    async def _expire(self) -> None:
        ledger, id_ = self._gateway.ledger, self.batch.id
        while True:
            page = await ledger.read(lambda run: shelf.waiting(run, id_, -1, _PAGE))
            if not page:
                return
            message = "This request could not be executed before the completion window expired."
            rows = [(line.line, lines.unmade(line.custom_id, "batch_expired", message)) for line in page]
            await ledger.write(lambda run, r=rows: shelf.expire_lines(run, id_, r))  # type: ignore[misc]

    async def _write(self, id_: str, what: str, state: int) -> FileWriter | None:
        """Write a file of all answers in a state; None where there is none."""
        ledger, batch = self._gateway.ledger, self.batch
        writer: FileWriter | None = None
        after = -1
        while True:
            rows = await ledger.read(lambda run, a=after: shelf.answers(run, batch.id, state, a, _PAGE))  # type: ignore[misc]
            if rows and writer is None:
                writer = FileWriter(ledger, batch.tenant, "batch_output", id_)
                await writer.begin(f"{batch.id}_{what}.jsonl")
            if writer is None:
                return None
            for _, answer in rows:
                await writer.write(answer + b"\n")
            if len(rows) < _PAGE:
                await writer.close()
                return writer
            after = rows[-1][0]


class Check:
    """What is found while the lines of an input file are read: requests, problems, and the most that they can cost."""

    def __init__(self, gateway: "Gateway", batch: Batch, most: int) -> None:
        self.problems: list[Problem] = []
        self.total = self.tokens_bound = self.bound_nusd = 0
        self.model = ""
        self._gateway, self._most = gateway, most
        self._endpoint = batch.plan.endpoint
        self._key = gateway.ledger.key(batch.key_id)
        self._seen: set[str] = set()

    def line(self, text: bytes, number: int) -> Line | None:
        """Take a line that is not blank; return its request."""
        found = lines.read(text, number, self._endpoint, self._seen)
        if isinstance(found, Problem):
            self.problems.append(found)
            return None
        self.total += 1
        if self.total > self._most:
            return None
        if self._key is not None:
            try:
                order = understand(self._gateway, self._endpoint, found.body, self._key).order
            except AigridError:
                return found  # it fails by itself, with its own line in the error file
            self.model = self.model or order.model
            self.tokens_bound += order.completion_bound
            tariff = self._gateway.prices.tariff(order.model, "overnight", order.site, now_ns())
            self.bound_nusd += tariff.bound(order.prompt_bound, order.completion_bound)
        return found

    def finish(self) -> list[Problem]:
        """Return what is wrong with the file, now that it is read."""
        if self.total > self._most:
            message = f"The file has {self.total:,} requests or more; a batch takes at most {self._most:,}."
            return [Problem("too_many_requests", message)]
        if not self.problems and not self.total:
            return [Problem("empty_file", "The input file has no requests.")]
        return self.problems[:_MOST_PROBLEMS]
