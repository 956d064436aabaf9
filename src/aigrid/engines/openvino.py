"""The embedded engine: OpenVINO in a process of its own, started, watched and restarted from here.

When the worker dies, requests that had sent nothing yet go to its successor once, unseen by their clients; the
others end with `EngineDied`. When this process dies instead, the worker waits for a successor, who finds it by its
socket and may ask it with `report` what was made.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from functools import partial
from pathlib import Path

import msgspec

from aigrid.core.clock import SECOND, mono_ns
from aigrid.core.config import EngineConfig
from aigrid.core.errors import AigridError, BadRequest, EngineDied, NotFound, Unavailable, UpstreamError
from aigrid.engines import openvino_wire as wire
from aigrid.engines.base import (
    Chunk,
    Embeddings,
    EmbedRequest,
    GenerateRequest,
    Load,
    ModelInfo,
    byte_bound,
)
from aigrid.engines.meter import Meter, meter_path
from aigrid.engines.openvino_link import Link, Open
from aigrid.engines.openvino_night import Night
from aigrid.engines.openvino_process import WorkerProcess
from aigrid.engines.openvino_watch import Watch

_BACKOFF_S = (0.0, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
_FIRST_TRIES = 3
_STEADY_NS = 60 * SECOND
_READY_WAIT_S = 120.0


class OpenVinoEngine:
    """Serves the model at `path` (a GGUF file or an OpenVINO folder) under the name `model_id`.

    `run_dir` holds the worker's socket, lock and log; one engine per `run_dir` and `name`. An `idle` one runs only while
    no other process wants to.
    """

    def __init__(
        self,
        model_id: str,
        path: Path,
        config: EngineConfig,
        run_dir: Path,
        name: str = "local",
        *,
        idle: bool = False,
    ) -> None:
        self.name = self.site = name
        self.patient = True
        self.model_id = model_id
        self._config = config
        self._process = WorkerProcess(path, config, run_dir, name, idle=idle)
        self._idle = idle
        self._night: Night | None = None
        if config.second_copy and config.device == "CPU" and not idle:
            make = partial(OpenVinoEngine, model_id, path, config, run_dir, f"{name}-overnight", idle=True)
            self._night = Night(path, config.cache_gb, make)
        self._link: Link | None = None
        self._hello: wire.Hello | None = None
        self._open: dict[int, Open] = {}
        self._next = 0
        self._ready = asyncio.Event()
        self._failed: AigridError | None = None
        self._supervisor: asyncio.Task[None] | None = None
        self._watch: Watch | None = None
        self._trouble = ""
        self._rate: deque[tuple[int, int]] = deque()
        self._meter: Meter | None = None

    async def start(self) -> None:
        """Attach to a living worker or start one; returns when the model is loaded.

        Raises `AigridError` with the reason when the model cannot be loaded.
        """
        if self._supervisor is None:
            self._supervisor = asyncio.create_task(self._supervise(), name=f"engine-{self.name}")
        await self._ready.wait()
        if self._failed is not None:
            raise self._failed

    async def stop(self) -> None:
        """End the worker and everything that runs in it; one that others use as well goes on for them."""
        if self._supervisor is not None:
            self._supervisor.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._supervisor
            self._supervisor = None
        if self._night is not None:
            await self._night.stop()
        self._ready.clear()
        obeyed = False
        if self._link is not None:
            self._link.send(wire.Stop())
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(self._link.lost), 10.0)
            obeyed = self._link.lost.done()
            self._link.close()
            self._link = None
        await self._process.end(force=not obeyed)
        self._fail_all(Unavailable("the engine was stopped"))

    def models(self) -> list[ModelInfo]:
        """Return the one model that is served."""
        context = self._hello.context if self._hello is not None else ModelInfo("").context
        return [ModelInfo(id=self.model_id, context=context)]

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[Chunk, None]:
        """Make tokens for one request; see `Engine`. Answers to the same seed agree as far as rounding allows."""
        if request.body.get("logit_bias"):
            raise BadRequest("this engine cannot bias single tokens: leave logit_bias out", param="logit_bias")
        governed = self._meter is not None and self._meter.governed  # by somebody who knows of one worker
        if request.idle and self._night is not None and self._supervisor is not None and not governed:
            async with self._night.use() as night:
                if night is not None:
                    async with aclosing(night.generate(request)) as made:
                        async for each in made:
                            yield each
                    return
        await self._until_ready()
        lean = msgspec.structs.replace(request, body={})
        seq = self._send(lambda seq: wire.Generate(seq, lean))
        entry = self._open[seq]
        try:
            while True:
                chunk = await entry.get()
                assert isinstance(chunk, Chunk)
                if entry.last and not entry.inbox:
                    del self._open[seq]
                    yield chunk
                    return
                yield chunk
        finally:
            if self._open.pop(seq, None) is not None and self._link is not None:
                self._link.send(wire.Cancel(seq))

    async def embed(self, request: EmbedRequest) -> Embeddings:
        """Raise `BadRequest`: this engine generates."""
        raise BadRequest(
            f"no embedding model is loaded: `{self.model_id}` generates text. Add an upstream that embeds under "
            "[[upstreams]] in aigrid.toml",
            param="model",
            code="no_embedding_model",
        )

    def token_bound(self, request: GenerateRequest) -> int:
        """Return a number of tokens that the prompt cannot exceed; it includes the words that introduce tools."""
        tools = len(msgspec.json.encode(request.tools)) if request.tools else 0
        return byte_bound(request) + tools + 512

    async def count(self, request: GenerateRequest) -> int:
        """Return the exact number of prompt tokens; raises `BadRequest` for what cannot be a prompt."""
        answer = await self._ask(lambda seq: wire.Count(seq, request))
        assert isinstance(answer, wire.Counted)
        return answer.tokens

    async def report(self, ids: list[str]) -> dict[str, int]:
        """Return the completion tokens made for requests, by request id; those the worker never saw are left out."""
        answer = await self._ask(lambda seq: wire.Report(seq, ids))
        assert isinstance(answer, wire.Reported)
        return answer.tokens

    def load(self) -> Load:
        """Return how busy the engine is with this client's requests."""
        horizon = mono_ns() - SECOND
        while self._rate and self._rate[0][0] < horizon:
            self._rate.popleft()
        begun = sum(entry.begun for entry in self._open.values())
        up = self._ready.is_set() and self._failed is None
        doubtful = self._watch is not None and self._watch.doubtful
        pid, meter = self._process.pid, self._meter if up else None
        night = self._night.engine.load() if self._night and self._night.engine else Load()
        return Load(
            running=begun,
            waiting=len(self._open) - begun,
            capacity=meter.most_running(self._config.max_batch) if meter else self._config.max_batch,
            promised_tokens_per_second=meter.promised if meter else None,
            tokens_per_second=float(sum(tokens for _, tokens in self._rate)) + night.tokens_per_second,
            state="ready" if up and not doubtful else "down" if up or self._failed or self._trouble else "starting",
            pids=((pid,) if pid and up else ()) + night.pids,
        )

    # The way to the worker and back

    async def _until_ready(self) -> None:
        if not self._ready.is_set():
            try:
                await asyncio.wait_for(self._ready.wait(), _READY_WAIT_S)
            except TimeoutError:
                trouble = f": it {self._trouble}" if self._trouble else ""
                raise Unavailable(f"the engine is not ready{trouble}; try again soon", retry_after=10) from None
        if self._failed is not None:
            raise self._failed

    def _send(self, make: Callable[[int], wire.ToWorker]) -> int:
        self._next += 1
        message = make(self._next)
        self._open[self._next] = Open(message)
        if self._link is not None:
            self._link.send(message)
        return self._next

    async def _ask(self, make: Callable[[int], wire.ToWorker]) -> Chunk | wire.Counted | wire.Reported:
        await self._until_ready()
        seq = self._send(make)
        try:
            return await self._open[seq].get()
        finally:
            self._open.pop(seq, None)

    def _made(self, message: wire.Made) -> None:
        tokens = 0
        for seq, chunk, last in message.chunks:
            for delta in chunk.deltas:
                tokens += delta.tokens
            entry = self._open.get(seq)
            if entry is not None:
                entry.last = last
                entry.put(chunk)
        self._rate.append((mono_ns(), tokens))
        if len(self._rate) > 4096:
            self._rate.popleft()

    def _answered(self, message: wire.Counted | wire.Reported | wire.Failed) -> None:
        entry = self._open.get(message.seq)
        if entry is None:
            return
        if isinstance(message, wire.Failed):
            kind = BadRequest if message.kind == "bad_request" else UpstreamError
            entry.put(kind(message.message, param=message.param, code=message.code))
        else:
            entry.put(message)

    # Supervision

    async def _supervise(self) -> None:
        failures, ever = 0, False
        while True:
            try:
                await asyncio.sleep(_BACKOFF_S[min(failures, len(_BACKOFF_S) - 1)])
                since = await self._come_up()
                ever = True
            except Unavailable as error:  # it died while it loaded
                failures, self._trouble = failures + 1, error.message
                if not ever and failures >= _FIRST_TRIES:
                    return self._give_up(error)
                continue
            except AigridError as error:  # it says that it cannot serve this model
                return self._give_up(error)
            except OSError as error:
                return self._give_up(EngineDied(f"the engine process cannot be started: {error}"))
            assert self._link is not None
            watch = await self._until_lost(self._link)
            self._ready.clear()
            self._link = None
            failures = 0 if mono_ns() - since > _STEADY_NS else failures + 1
            self._trouble = await self._process.obituary()
            if watch.killed:
                self._trouble = watch.verdict
            self._bury(retry=not watch.killed)
            if self._idle and failures >= _FIRST_TRIES:  # there may be no room for it: others do its work
                return self._give_up(EngineDied(f"the second engine process {self._trouble}, time and again"))

    async def _until_lost(self, link: Link) -> Watch:
        self._watch = watch = Watch(link, self._process.pid, self._waits, idle=self._idle)
        task = asyncio.create_task(watch.run(), name=f"watch-{self.name}")
        try:
            await asyncio.shield(link.lost)
        finally:
            task.cancel()
            self._watch = None
        return watch

    def _waits(self) -> bool:
        return any(not entry.last for entry in self._open.values())

    async def _come_up(self) -> int:
        """Connect to a worker with a loaded model; return when that was, in monotonic nanoseconds."""
        while True:
            link = await self._process.connect(lambda: Link(self._made, self._answered))
            hello = await link.hello
            if hello is None:
                raise Unavailable(await self._process.explain())
            if self._process.matches(hello):
                break
            await self._process.send_away(link, hello)
        self._process.pid = hello.pid
        self._link, self._hello, self._trouble = link, hello, ""
        with contextlib.suppress(NotFound):
            self._meter = Meter(meter_path(self._process.socket))
        for entry in self._open.values():
            link.send(entry.message)
        self._ready.set()
        return mono_ns()

    def _give_up(self, error: AigridError) -> None:
        self._failed = error
        self._fail_all(error)
        self._ready.set()

    def _bury(self, retry: bool = True) -> None:
        """Keep the requests that may go to the next worker; end the others. Without `retry` that is all of them."""
        for seq, entry in list(self._open.items()):
            if entry.last:
                continue  # all of its answer is here
            if entry.begun or entry.retried or not retry:
                del self._open[seq]
                entry.put(EngineDied(
                    f"the engine process {self._trouble} while it worked on this request; it restarts by itself: "
                    "send the request again",
                    retry_after=5,
                ))  # fmt: skip
            else:
                entry.retried = True

    def _fail_all(self, error: AigridError) -> None:
        for entry in self._open.values():
            if not entry.last:
                entry.put(error)
        self._open.clear()
