"""Packs as an engine: `model: "NAME"` through any door that the gateway has, whatever rung of the ladder is inside.

What is in service is read from the shelf for each request, so a new version, or the old one again, counts at once.
A worker that fills in the arguments of a tool answers with a call of it where the client offers that tool.
"""

import asyncio
import logging
import threading
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import msgspec

from aigrid import packs
from aigrid.core.config import Config, home
from aigrid.core.errors import AigridError, BadRequest, NotFound, Refused, Unavailable
from aigrid.core.ids import new_id
from aigrid.engines.base import (
    Chunk,
    Delta,
    Embeddings,
    EmbedRequest,
    Engine,
    GenerateRequest,
    Load,
    ModelInfo,
    Throughput,
    ToolCall,
    Usage,
)
from aigrid.engines.openvino import OpenVinoEngine
from aigrid.factory import rows, standing, trial
from aigrid.factory.guarding import guard_of
from aigrid.factory.ladder.base import Answer, Candidate
from aigrid.factory.ladder.open import open as open_candidate
from aigrid.guard.classifier import Guard
from aigrid.packs import Pack, Shelf
from aigrid.packs.keys import trusted

log = logging.getLogger(__name__)
UNSURE = "I don't know."
"""What a worker says that would rather not answer."""
MODEL = "model.gguf"
"""The file of a worker that is a tuned model and nothing else."""
_CONTEXT = 8192
_BYTES_PER_TOKEN = 4


class Worker:
    """A pack that is loaded. Where it is a model and nothing else, `engine` runs it, and is passed every request."""

    def __init__(
        self, pack: Pack, candidate: Candidate | None, engine: Engine | None, guard: Guard | None = None
    ) -> None:
        self.pack, self.candidate, self.engine, self.guard = pack, candidate, engine, guard
        self.tool: dict[str, Any] | None = pack.manifest.runtime.get("tool")
        self._one = threading.Lock()

    def answer(self, text: str) -> Answer:
        """Return the answer; one question at a time."""
        assert self.candidate is not None
        with self._one:
            return self.candidate.answer([text])[0]

    async def stop(self) -> None:
        """Let go of the model."""
        if self.engine is not None:
            await self.engine.stop()
        if self.candidate is not None:
            await asyncio.to_thread(self.candidate.close)


class PackEngine:
    """Every pack that is in service."""

    def __init__(self, config: Config) -> None:
        self.name = "packs"
        self.site = config.site.id
        self._config = config
        self._shelf = Shelf()
        self._workers: dict[str, asyncio.Task[Worker]] = {}
        self._shadows: set[asyncio.Task[None]] = set()
        self._running = 0
        self._rate = Throughput()

    async def start(self) -> None:
        """Nothing is loaded before the first request."""

    async def stop(self) -> None:
        """Let go of every model."""
        tasks = [*self._shadows, *self._workers.values()]
        for task in tasks:
            if not task.done():
                task.cancel()
        for worker in await asyncio.gather(*self._workers.values(), return_exceptions=True):
            if isinstance(worker, Worker):
                await worker.stop()
        self._workers.clear()

    def models(self) -> list[ModelInfo]:
        """Return the packs in service that hold a worker."""
        names = sorted(path.parent.name for path in self._shelf.folder.glob("*/service.json"))
        return [
            ModelInfo(name, _CONTEXT, completions=False, tools=True, grammar=False, logprobs=False, owned_by="packs")
            for name in names
            if self._shelf.in_service(name) is not None
        ]

    def token_bound(self, request: GenerateRequest) -> int:
        """Return a bound on the prompt's tokens: what is asked, a token for each byte."""
        return len(_asked(request).encode()) + 16

    async def count(self, request: GenerateRequest) -> int:
        """Return the tokens of what is asked, four bytes each: no model reads most of them."""
        return _tokens(_asked(request))

    def load(self) -> Load:
        """Return the requests at work."""
        return Load(running=self._running, capacity=64, tokens_per_second=self._rate.rate())

    async def embed(self, request: EmbedRequest) -> Embeddings:
        """Refuse: packs have no vectors."""
        raise BadRequest("a pack embeds nothing; ask an embedding model", param="model")

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[Chunk, None]:
        """Answer with the pack in service, or for some requests with the one on trial."""
        decision = self._shelf.in_service(request.model)
        if decision is None:
            raise NotFound(f"no pack `{request.model}` is in service", param="model")
        tried = trial.read(request.model)
        running = tried if tried is not None and not tried.ended else None
        arm = running.arm(request.id) if running else "standing"
        version = running.version if running and arm == "trial" else decision.version
        self._running += 1
        began = False
        try:
            async with aclosing(self._made(request, version)) as chunks:
                async for chunk in chunks:
                    began = True
                    yield chunk
        except Exception as error:
            if isinstance(error, BadRequest | Refused):
                raise  # the client's doing
            if running:
                trial.note(request.model, running.version, arm, False)
            if arm != "trial" or began:
                raise
            log.exception("the pack %s %s on trial failed", request.model, version)
            async with aclosing(self._made(request, decision.version)) as chunks:  # nobody pays for a trial's failure
                async for chunk in chunks:
                    yield chunk
        else:
            if running:
                trial.note(request.model, running.version, arm, True)
                if running.mode == "shadow":
                    self._shadow(request, running.version, decision.version)
        finally:
            self._running -= 1

    async def _made(self, request: GenerateRequest, version: str) -> AsyncGenerator[Chunk, None]:
        worker = await self._worker(request.model, version)
        if worker.guard is not None and (await asyncio.to_thread(worker.guard.check, _asked(request))).attack:
            raise Refused(
                "the pack's guard takes this for an attempt to misuse it; ask in other words", param="messages"
            )
        if worker.engine is not None:
            async with aclosing(worker.engine.generate(request)) as chunks:
                async for chunk in chunks:
                    yield chunk
            return
        if request.n != 1:
            raise BadRequest("a pack gives one answer to one question: leave `n` out", param="n")
        text = _asked(request)
        answer = await asyncio.to_thread(worker.answer, text)
        delta, said = _delta(request, answer, worker.tool)
        delta.tokens = min(request.max_tokens, _tokens(said))
        self._rate.add(delta.tokens)
        yield Chunk([delta], Usage(_tokens(text), delta.tokens, source="estimated"))

    def _shadow(self, request: GenerateRequest, version: str, heard: str) -> None:
        """Ask the one on trial what was asked; nobody hears it. Where both are no plain models, count agreement."""

        async def ask() -> None:
            try:
                one, other = await self._worker(request.model, version), await self._worker(request.model, heard)
                agreed = False
                if one.engine is None and other.engine is None:
                    text = _asked(request)
                    said = await asyncio.to_thread(one.answer, text)
                    stood = await asyncio.to_thread(other.answer, text)
                    agreed = rows.canonical(said.output) == rows.canonical(stood.output)
                else:
                    async with aclosing(self._made(request, version)) as chunks:
                        async for _ in chunks:
                            pass
            except Exception as error:
                log.warning("in the shadow, %s %s failed: %s", request.model, version, error)
                trial.note(request.model, version, "trial", False)
            else:
                trial.note(request.model, version, "trial", True, agreed=agreed)

        task = asyncio.create_task(ask(), name=f"shadow-{request.model}")
        self._shadows.add(task)
        task.add_done_callback(self._shadows.discard)

    async def _worker(self, name: str, version: str) -> Worker:
        """Return a pack loaded; requests that come together wait for one loading."""
        pack = packs.open(self._shelf.folder / name / version)
        task = self._workers.get(pack.digest)
        if task is None or (task.done() and (task.cancelled() or task.exception() is not None)):
            task = self._workers[pack.digest] = asyncio.create_task(self._load(pack), name=f"load-{name}")
        return await asyncio.shield(task)

    async def _load(self, pack: Pack) -> Worker:
        report = await asyncio.to_thread(packs.verify, pack.path, trusted())
        if not report.ok:
            raise Unavailable(f"the pack {pack.manifest.name} is refused: {report.problems[0].text}")
        unpacked = await asyncio.to_thread(standing.unpacked, pack)
        folder, guard = unpacked / standing.WORKER, guard_of(unpacked / standing.GUARD)
        model = folder / MODEL
        if not model.is_file() or pack.manifest.runtime.get("engine") != "openvino":
            try:
                return Worker(pack, await asyncio.to_thread(open_candidate, folder), None, guard)
            except (AigridError, OSError, ValueError) as error:
                said = f"{pack.manifest.name}:{pack.manifest.version}"
                raise Unavailable(
                    f"the pack {said} cannot be loaded: {error}; try `aigrid pack verify {said}`"
                ) from error
        run_dir = home() / "run"
        run_dir.mkdir(exist_ok=True)
        name = f"pack-{pack.digest[7:19]}"
        engine = OpenVinoEngine(pack.manifest.name, model, self._config.engine, run_dir, name=name)
        await engine.start()
        return Worker(pack, None, engine, guard)


def _asked(request: GenerateRequest) -> str:
    """Return the last thing that the user said."""
    for message in reversed(request.messages or []):
        if message.get("role") == "user":
            content = message.get("content")
            if isinstance(content, list):
                content = "\n".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
            if content:
                return str(content)
    raise BadRequest("ask with a message of the role `user`", param="messages")


def _delta(request: GenerateRequest, answer: Answer, tool: dict[str, Any] | None) -> tuple[Delta, str]:
    """Return the answer as text, or as a call of the tool that the client offers; and its text."""
    said = UNSURE if answer.output is None else answer.output
    text = said if isinstance(said, str) else msgspec.json.encode(said).decode()
    offered = [each.get("function", {}).get("name") for each in request.tools]
    if tool is not None and isinstance(said, dict) and tool.get("name") in offered and request.tool_choice != "none":
        return Delta(tool_calls=[ToolCall(0, new_id("call_"), tool["name"], text)], finish_reason="tool_calls"), text
    most = request.max_tokens * _BYTES_PER_TOKEN
    if len(text.encode()) > most:
        text = text.encode()[:most].decode(errors="ignore")
        return Delta(text=text, finish_reason="length"), text
    return Delta(text=text, finish_reason="stop"), text


def _tokens(text: str) -> int:
    return -(-len(text.encode()) // _BYTES_PER_TOKEN)
