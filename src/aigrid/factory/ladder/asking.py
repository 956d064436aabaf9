"""A model for programs that do not wait in an event loop: one thread runs the engine, callers block for its answers."""

import asyncio
import math
import threading
from collections.abc import Coroutine, Sequence
from typing import Any, NamedTuple, TypeVar

from aigrid.core.config import Config, home
from aigrid.core.config import load as settings
from aigrid.core.errors import ConfigError
from aigrid.core.ids import new_id
from aigrid.core.models import pull, resolve
from aigrid.engines.base import Engine, GenerateRequest, Grammar, Sampling, Usage
from aigrid.factory.base import Cost
from aigrid.factory.digest import of_value

T = TypeVar("T")
_AT_ONCE = 8


class Said(NamedTuple):
    """What a model said, and the probability of saying just that (1 where the engine does not tell)."""

    text: str
    chance: float


class Asking:
    """Asks `model`: in the embedded engine, or at one of the `[[upstreams]]` of the configuration.

    Answers are greedy, so that they are the same each time as far as rounding allows. `cost` grows with each.
    """

    def __init__(self, model: str, upstream: str, cost: Cost) -> None:
        self._config = settings()
        self._model = model
        self._cost = cost
        self._engine, self._prices = _engine(model, upstream, self._config)
        self._limit = asyncio.Semaphore(_AT_ONCE)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="ladder-model", daemon=True)
        self._thread.start()
        try:
            self._wait(self._engine.start())
        except BaseException:
            self.close()
            raise

    def ask(self, chats: Sequence[list[dict[str, Any]]], most: int, grammar: Grammar | None = None) -> list[Said]:
        """Return the answer to each chat, of at most `most` tokens."""
        return self._wait(self._all(chats, most, grammar))

    def close(self) -> None:
        """Stop the engine, the loop and the thread."""
        try:
            self._wait(self._engine.stop())
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _all(self, chats: Sequence[list[dict[str, Any]]], most: int, grammar: Grammar | None) -> list[Said]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._one(chat, most, grammar)) for chat in chats]
        return [task.result() for task in tasks]

    async def _one(self, chat: list[dict[str, Any]], most: int, grammar: Grammar | None) -> Said:
        request = GenerateRequest(
            new_id("req"), self._model, most, messages=chat, grammar=grammar,
            sampling=Sampling(temperature=0.0, logprobs=True),
        )  # fmt: skip
        text, chance, usage = "", 0.0, Usage()
        async with self._limit:
            async for chunk in self._engine.generate(request):
                for delta in chunk.deltas:
                    text += delta.text
                    chance += sum(each.logprob for each in delta.logprobs or [])
                usage = chunk.usage or usage
        self._cost.tokens += usage.total_tokens
        self._cost.nusd += usage.prompt_tokens * self._prices[0] + usage.completion_tokens * self._prices[1]
        return Said(text.strip(), math.exp(min(0.0, chance)))


def _engine(model: str, upstream: str, config: Config) -> tuple[Engine, tuple[int, int]]:
    """Return the engine, and what a prompt token and a completion token cost there, in nano-dollars."""
    if upstream:
        from aigrid.engines.openai import OpenAIEngine

        found = next((each for each in config.upstreams if each.name == upstream), None)
        if found is None:
            known = ", ".join(each.name for each in config.upstreams) or "none"
            raise ConfigError(f"there is no upstream `{upstream}` in aigrid.toml; there are: {known}", param="upstream")
        prices = round(found.prompt_usd_per_mtok * 1000), round(found.completion_usd_per_mtok * 1000)
        return OpenAIEngine(found), prices
    from aigrid.engines.openvino import OpenVinoEngine

    known_model = resolve(model, config)
    run_dir = home() / "run"
    run_dir.mkdir(parents=True, exist_ok=True)
    path = pull(known_model)
    name = f"factory-{of_value(str(path))[:8]}"
    return OpenVinoEngine(model, path, config.engine, run_dir, name=name), (0, 0)
