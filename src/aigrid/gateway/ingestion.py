"""The gateway's hand on its library: one piece of writing at a time, in a process of its own.

Reading and embedding documents would take time from those who wait for tokens, so the child runs at low priority;
it holds the library's lock, tells how far it is, and ends with the gateway.
"""

import asyncio
import contextlib
import logging
import os
import signal
import subprocess
import sys
from typing import Any, Literal

import msgspec

from aigrid.core.clock import now_ns
from aigrid.core.config import EFFECTIVE, Config
from aigrid.core.errors import AigridError, BadRequest, Conflict, NotFound
from aigrid.core.ids import new_id
from aigrid.core.supervise import dies_with_parent, why

log = logging.getLogger("aigrid.gateway")
_LINE = 16 << 20
_ERRORS: dict[int, type[AigridError]] = {400: BadRequest, 404: NotFound, 409: Conflict}


class Job(msgspec.Struct):
    """One piece of writing: how far it is, and in the end what it did (`report`) or why it failed (`error`)."""

    id: str
    act: Literal["add", "refresh", "remove"]
    targets: list[str]
    state: Literal["running", "done", "failed"] = "running"
    done: int = 0
    total: int = 0
    what: str = ""
    started_ns: int = 0
    ended_ns: int = 0
    removed: int | None = None
    report: dict[str, Any] | None = None
    error: dict[str, Any] | None = None


class Ingestion:
    """Starts, watches and stops the child. The last job stays to be looked at."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self.job: Job | None = None
        self._task: asyncio.Task[None] | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def start(
        self,
        act: Literal["add", "refresh", "remove"],
        targets: list[str],
        readers: list[str] | None = None,
        again: bool = False,
    ) -> Job:
        """Begin a job; raises `Conflict` while one is running."""
        if self.job is not None and self.job.state == "running":
            raise Conflict(
                f"knowledge is being written: {self.job.done:,} of {self.job.total:,} files are done; wait, or stop it "
                "with DELETE /admin/knowledge/job",
                code="knowledge_in_use",
            )
        job = self.job = Job(new_id("job_"), act, targets, started_ns=now_ns())
        task = {"act": act, "targets": targets, "readers": readers, "again": again}
        self._task = asyncio.create_task(self._run(job, msgspec.json.encode(task)))
        return job

    async def wait(self) -> Job:
        """Return the job once it has ended; raises what it failed with."""
        assert self.job is not None, "a job was started before"
        assert self._task is not None, "a job was started before"
        job = self.job
        await asyncio.shield(self._task)
        if job.error is not None:
            error = _ERRORS.get(job.error.get("status", 500), AigridError)
            raise error(job.error["message"], param=job.error.get("param"), code=job.error.get("code"))
        return job

    def stop(self) -> None:
        """Tell the child to stop after what it is writing."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)

    async def close(self) -> None:
        """Stop, and wait until the child has ended."""
        self.stop()
        if self._task is not None:
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self, job: Job, task: bytes) -> None:
        process = self._process = subprocess.Popen(  # noqa: ASYNC220 - forking is quick, and must be in the main thread
            [sys.executable, "-m", "aigrid.knowledge"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, EFFECTIVE: msgspec.json.encode(self._config).decode()},
            process_group=0,
            preexec_fn=dies_with_parent(),
        )
        assert process.stdin is not None
        assert process.stdout is not None
        with process.stdin as pipe:
            pipe.write(task + b"\n")
        reader = asyncio.StreamReader(limit=_LINE)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), process.stdout
        )
        try:
            while line := await reader.readline():
                self._take(job, line)
        finally:
            transport.close()
            code = await asyncio.to_thread(process.wait)
            job.ended_ns = now_ns()
            if job.error is None and job.report is None and job.removed is None:
                job.error = {"message": f"the process that writes knowledge ended ({why(code)})", "code": "crashed"}
            job.state = "failed" if job.error else "done"
            if job.error:
                log.warning("knowledge: %s", job.error["message"])

    def _take(self, job: Job, line: bytes) -> None:
        try:
            said: dict[str, Any] = msgspec.json.decode(line)
        except msgspec.DecodeError:
            log.info("knowledge: %s", line.decode(errors="replace").rstrip())
            return
        for name in ("done", "total", "what", "report", "removed", "error"):
            if name in said:
                setattr(job, name, said[name])
