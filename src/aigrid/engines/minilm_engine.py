"""The gateway's embedding engine: a sentence encoder in a process of its own, started at the first request.

A process, because loading the model would stop the event loop, its inference would compete with it, and a crash
would take it along. Large requests go there in pieces, so that they cannot hold up small ones and stop when their
client leaves. A process that dies is replaced at the next request; what it worked on is tried once more.
"""

import array
import asyncio
import sys
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

import msgspec

from aigrid.core.config import home
from aigrid.core.errors import AigridError, BadRequest, EngineDied, Unavailable
from aigrid.core.models import Model, pull
from aigrid.engines.base import (
    Chunk,
    Embeddings,
    EmbedRequest,
    GenerateRequest,
    Load,
    ModelInfo,
    Throughput,
    Usage,
    byte_bound,
)
from aigrid.engines.minilm_wire import LENGTH, Ask, Hello, Made, Refused, ToClient, pack

CONTEXT = 512
_PIECE = 32
_REFUSED = 3
_PATIENCE_S = 5.0
_DIED = "the embedding process died while it worked on this request"

_decode = msgspec.msgpack.Decoder(ToClient).decode


class _Worker:
    """A running process: who waits for what, and what it said at the start."""

    def __init__(self, process: asyncio.subprocess.Process, hello: Hello) -> None:
        self.process = process
        self.hello = hello
        self.waiting: dict[int, asyncio.Future[Made | Refused]] = {}
        self.reader = asyncio.create_task(self._read(), name="embeddings")
        self._seq = 0

    @property
    def gone(self) -> bool:
        return self.reader.done()

    async def ask(self, inputs: Sequence[str | list[int]]) -> Made | Refused:
        """Embed one piece; raises `EngineDied`."""
        assert self.process.stdin is not None
        if self.gone:
            raise EngineDied(_DIED)
        self._seq += 1
        seq = self._seq
        answer: asyncio.Future[Made | Refused] = asyncio.get_running_loop().create_future()
        self.waiting[seq] = answer
        self.process.stdin.write(pack(Ask(seq, inputs)))
        try:
            return await answer
        finally:
            del self.waiting[seq]

    async def _read(self) -> None:
        try:
            while True:
                message = await receive(self.process)
                waiter = self.waiting.get(message.seq) if not isinstance(message, Hello) else None
                if waiter is not None and not waiter.done() and not isinstance(message, Hello):
                    waiter.set_result(message)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            for waiter in self.waiting.values():
                if not waiter.done():
                    waiter.set_exception(EngineDied(_DIED))

    async def end(self) -> None:
        """Close its stdin, wait a moment, then kill it."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            await asyncio.wait_for(self.process.wait(), _PATIENCE_S)
        except TimeoutError:
            self.process.kill()
            await self.process.wait()
        await asyncio.gather(self.reader, return_exceptions=True)


async def receive(process: asyncio.subprocess.Process) -> ToClient:
    """Read one message; raises `IncompleteReadError` at the end."""
    assert process.stdout is not None
    (size,) = LENGTH.unpack(await process.stdout.readexactly(LENGTH.size))
    message: ToClient = _decode(await process.stdout.readexactly(size))
    return message


class MiniLmEngine:
    """Serves one embedding model under its id; `site` is the place that its usage is booked to."""

    def __init__(self, model: Model, site: str = "local", threads: int = 0) -> None:
        self.site = site
        self.name = f"{site}-embeddings"
        self._model = model
        self._threads = threads
        self._worker: _Worker | None = None
        self._spawning: asyncio.Task[_Worker] | None = None
        self._running = 0
        self._done = Throughput()
        self._trouble = False

    async def start(self) -> None:
        """Nothing yet: the model is loaded at the first request."""

    async def stop(self) -> None:
        """End the process; what runs in it fails."""
        if self._spawning is not None:
            self._spawning.cancel()
            await asyncio.wait([self._spawning])
        worker, self._worker = self._worker, None
        if worker is not None:
            await worker.end()

    def models(self) -> list[ModelInfo]:
        """Return the one model, which embeds and does nothing else."""
        return [
            ModelInfo(
                self._model.id,
                context=CONTEXT,
                chat=False,
                completions=False,
                embeddings=True,
                tools=False,
                grammar=False,
                logprobs=False,
            )
        ]

    async def embed(self, request: EmbedRequest) -> Embeddings:
        """Embed texts or token ids; raises `BadRequest` for those too long and for `dimensions` other than its own."""
        self._running += 1
        try:
            worker = await self._ready()
            if request.dimensions not in (None, worker.hello.dimensions):
                raise BadRequest(
                    f"the vectors of {self._model.id} have {worker.hello.dimensions} dimensions and cannot be cut; "
                    "leave `dimensions` out",
                    param="dimensions",
                )
            made = Embeddings([], Usage())
            tokens = 0
            for at in range(0, len(request.inputs), _PIECE):
                piece = await self._piece(request.inputs[at : at + _PIECE])
                if isinstance(piece, Refused):
                    raise BadRequest(f"input[{at + piece.at}] {piece.why}", param="input", code=piece.code)
                made.vectors += _rows(piece.vectors, worker.hello.dimensions)
                tokens += piece.tokens
                self._done.add(piece.tokens)
            made.usage = Usage(prompt_tokens=tokens)
            return made
        finally:
            self._running -= 1

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[Chunk, None]:
        """Raise `BadRequest`: this model has no words."""
        raise BadRequest(
            f"`{self._model.id}` makes embeddings, not text: ask it at /v1/embeddings, or name another model here",
            param="model",
            code="model_not_supported",
        )
        yield

    def token_bound(self, request: GenerateRequest) -> int:
        """Return the bound that holds for any tokenizer over bytes."""
        return byte_bound(request)

    async def count(self, request: GenerateRequest) -> int:
        """Raise `BadRequest`: there is no prompt to count."""
        raise BadRequest(f"`{self._model.id}` makes embeddings, not text: it has no prompts", param="model")

    def load(self) -> Load:
        """Return how busy it is; `idle` until somebody needs it."""
        worker = self._worker
        up = worker is not None and not worker.gone
        return Load(
            running=self._running,
            capacity=1024,
            tokens_per_second=self._done.rate(),
            state="ready" if up else "starting" if self._spawning else "down" if self._trouble else "idle",
            pids=(worker.process.pid,) if worker is not None and up else (),
        )

    async def _piece(self, inputs: Sequence[str | list[int]]) -> Made | Refused:
        try:
            return await (await self._ready()).ask(inputs)
        except EngineDied:
            return await (await self._ready()).ask(inputs)

    async def _ready(self) -> _Worker:
        """Return the living process, or start one: for whoever asks, also when the first who did has left."""
        if self._worker is not None and not self._worker.gone:
            return self._worker
        if self._spawning is None:
            self._spawning = asyncio.create_task(self._spawn(), name="embeddings-start")
            self._spawning.add_done_callback(self._spawned)
        return await asyncio.shield(self._spawning)

    def _spawned(self, task: asyncio.Task[_Worker]) -> None:
        self._spawning = None
        self._trouble = task.cancelled() or task.exception() is not None
        if not self._trouble:
            self._worker = task.result()

    async def _spawn(self) -> _Worker:
        """Start the process and wait for its model; raises what kept it from loading."""
        if self._worker is not None:
            await self._worker.end()
        folder = await asyncio.to_thread(pull, self._model)
        log = home() / "run" / f"engine-{self.name}.log"
        log.parent.mkdir(exist_ok=True)
        command = [sys.executable, "-m", "aigrid.engines.minilm_worker", str(folder), "--threads", str(self._threads)]
        with log.open("wb") as errors:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
            )
        try:
            hello = await receive(process)
        except (asyncio.IncompleteReadError, ConnectionError):
            raise _refusal(await process.wait(), log) from None
        except asyncio.CancelledError:
            process.kill()
            raise
        assert isinstance(hello, Hello)
        return _Worker(process, hello)


def _refusal(status: int, log: Path) -> AigridError:
    lines = log.read_text(errors="replace").strip().splitlines()
    said = lines[-1][:500] if lines else "it does not say why"
    if status == _REFUSED:
        return AigridError(said, code="unsupported_model")
    return Unavailable(f"the embedding process ended with status {status} while it loaded: {said} (see {log})")


def _rows(data: bytes, dimensions: int) -> list[list[float]]:
    floats = array.array("f")
    floats.frombytes(data)
    flat = floats.tolist()
    return [flat[at : at + dimensions] for at in range(0, len(flat), dimensions)]
