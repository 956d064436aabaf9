"""A model to write SQL with: the embedded engine in a process of its own, asked from any number of threads."""

import asyncio
import contextlib
import itertools
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from aigrid.core.config import EngineConfig
from aigrid.engines.base import GenerateRequest, Sampling
from aigrid.engines.openvino import OpenVinoEngine
from aigrid.factory.sql.clerk import Generate
from aigrid.factory.sql.prompt import STOP

MAX_TOKENS = 160
TEMPERATURE = 0.7


@contextlib.contextmanager
def writer(path: Path, max_tokens: int = MAX_TOKENS, seed: int = 0) -> Iterator[Generate]:
    """Serve a GGUF file while the block runs; yields what a `Clerk` asks: the likeliest line, then drawn ones."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="sql-writer", daemon=True)
    thread.start()

    number = itertools.count()
    with TemporaryDirectory(prefix="aigrid-sql-") as folder:
        engine = OpenVinoEngine("sql", path, EngineConfig(), Path(folder))

        async def say(prompt: str, n: int, sampling: Sampling) -> list[str]:
            texts = [""] * n
            request = GenerateRequest(
                f"sql-{next(number)}", "sql", max_tokens, prompt=prompt, n=n, stop=[STOP], sampling=sampling,
                wire="completions",
            )  # fmt: skip
            async for chunk in engine.generate(request):
                for delta in chunk.deltas:
                    texts[delta.index] += delta.text
            return texts

        async def both(prompt: str, n: int) -> list[str]:
            jobs = [say(prompt, 1, Sampling(temperature=0.0))]
            if n > 1:
                jobs.append(say(prompt, n - 1, Sampling(temperature=TEMPERATURE, seed=seed)))
            return [text for texts in await asyncio.gather(*jobs) for text in texts]

        def generate(prompt: str, n: int) -> Sequence[str]:
            return asyncio.run_coroutine_threadsafe(both(prompt, n), loop).result()

        try:
            asyncio.run_coroutine_threadsafe(engine.start(), loop).result()
            yield generate
        finally:
            asyncio.run_coroutine_threadsafe(engine.stop(), loop).result()
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()
