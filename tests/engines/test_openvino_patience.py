"""Patient requests in the embedded engine: they make way, and lose nothing by it."""

import asyncio

import pytest
import pytest_asyncio

from aigrid.core import models
from aigrid.core.config import Config, EngineConfig
from aigrid.engines.base import GenerateRequest, Sampling
from aigrid.engines.openvino import OpenVinoEngine
from aigrid.engines.openvino_patience import BESIDE

SLOTS = EngineConfig().max_batch
pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.xdist_group("engine")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(tmp_path_factory):
    path = models.pull(models.resolve("smollm2-135m-instruct", Config()))
    engine = OpenVinoEngine("small", path, EngineConfig(cache_gb=1), tmp_path_factory.mktemp("run"))
    await engine.start()
    yield engine
    await engine.stop()


def ask(text, id, max_tokens=40, **more):
    messages = [{"role": "user", "content": text}]
    return GenerateRequest(
        id=id, model="small", max_tokens=max_tokens, messages=messages, sampling=Sampling(temperature=0), **more
    )


async def answer(engine, request):
    """Return text, tokens counted in deltas, and the usage told last."""
    text, tokens, usage = "", 0, None
    async for chunk in engine.generate(request):
        usage = chunk.usage or usage
        for delta in chunk.deltas:
            text += delta.text
            tokens += delta.tokens
    return text, tokens, usage.completion_tokens


async def test_what_is_put_aside_ends_as_if_it_had_not_been(engine) -> None:
    questions = [f"Tell me about the number {n}, please." for n in range(BESIDE + 6)]
    alone = [await answer(engine, ask(text, f"a{n}")) for n, text in enumerate(questions)]
    await asyncio.sleep(5.5)  # nobody is expected any more, so all run at once
    patient = [
        asyncio.create_task(answer(engine, ask(text, f"p{n}", patient=True))) for n, text in enumerate(questions)
    ]
    await asyncio.sleep(0.3)
    for n in range(3):
        await answer(engine, ask("How deep is the sea?", f"i{n}", max_tokens=4))
    beside = await asyncio.gather(*patient)
    assert [tokens for _, tokens, _ in beside] == [told for _, _, told in beside]
    # Rounding differs with the size of a batch, so that some greedy answers part ways; most must not.
    assert sum(first[0] == second[0] for first, second in zip(alone, beside, strict=True)) >= len(questions) // 2


async def test_an_interactive_request_goes_before_a_queue_of_patient_ones(engine) -> None:
    patient = [
        asyncio.create_task(answer(engine, ask(f"Count the stars of {n} skies. " * 12, f"q{n}", 400, patient=True)))
        for n in range(100)
    ]
    await asyncio.sleep(1.0)
    await answer(engine, ask("Hello", "me", max_tokens=1))
    assert sum(task.done() for task in patient) < len(patient) - SLOTS, "as many must end before a place is free"
    for task in patient:
        task.cancel()
    await asyncio.gather(*patient, return_exceptions=True)
    assert (await answer(engine, ask("Hello", "again", max_tokens=3)))[1] == 3
