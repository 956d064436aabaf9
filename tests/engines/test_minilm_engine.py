"""The gateway's embedding engine, with a real process and a tiny model."""

import asyncio
import base64
import os
import signal

import numpy as np
import openai
import pytest

from aigrid.core.errors import AigridError, BadRequest
from aigrid.core.models import Model
from aigrid.engines.base import EmbedRequest, Engine, GenerateRequest
from aigrid.engines.echo import EchoEngine
from aigrid.engines.minilm import MiniLm
from aigrid.engines.minilm_engine import MiniLmEngine
from tests.engines.minilm_model import write
from tests.gateway.conftest import open_door

pytestmark = pytest.mark.xdist_group("minilm")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
async def engine(folder):
    engine = MiniLmEngine(Model("tiny", f"file:{folder}", folder), "here", threads=1)
    await engine.start()
    yield engine
    await engine.stop()


def asked(*inputs, dimensions=None):
    return EmbedRequest("req_1", "tiny", list(inputs), dimensions)


async def test_texts_become_vectors_and_exact_tokens(engine, folder) -> None:
    assert isinstance(engine, Engine)
    assert engine.load().state == "idle"
    texts = [f"text {number} " + "word " * (number % 7) for number in range(150)]
    made = await engine.embed(asked(*texts))
    model = MiniLm(folder)
    np.testing.assert_allclose(made.vectors, model.embed(texts), atol=0.03)
    assert made.usage.prompt_tokens == sum(len(model.tokens.encode(text, 48)) for text in texts)
    assert made.usage.source == "counted"
    assert engine.load().state == "ready"


async def test_token_ids_are_the_text_they_stand_for(engine, folder) -> None:
    ids = MiniLm(folder).tokens.encode("ab c", 48)
    text, tokens = (await engine.embed(asked("ab c"))), (await engine.embed(asked(ids[1:-1])))
    assert text.vectors == tokens.vectors
    assert text.usage == tokens.usage


async def test_only_its_own_dimensions_are_served(engine) -> None:
    assert len((await engine.embed(asked("a", dimensions=32))).vectors[0]) == 32
    with pytest.raises(BadRequest, match="have 32 dimensions") as caught:
        await engine.embed(asked("a", dimensions=16))
    assert caught.value.param == "dimensions"


async def test_what_cannot_be_embedded_is_named_and_nothing_else_suffers(engine) -> None:
    good = asyncio.create_task(engine.embed(asked(*["fine"] * 10)))
    with pytest.raises(BadRequest, match=r"^input\[70\] is longer than the 48 tokens") as caught:
        await engine.embed(asked(*["a"] * 70, "a " * 47))
    assert caught.value.code == "context_length_exceeded"
    with pytest.raises(BadRequest, match=r"^input\[0\] holds 4000, which is not a token"):
        await engine.embed(asked([4000]))
    assert len((await good).vectors) == 10


async def test_many_at_once_each_get_their_own(engine) -> None:
    texts = [f"{number} of many" for number in range(60)]
    alone = [(await engine.embed(asked(text))).vectors[0] for text in texts]
    together = await asyncio.gather(*(engine.embed(asked(text)) for text in texts))
    np.testing.assert_allclose([made.vectors[0] for made in together], alone, atol=0.02)


async def test_a_process_that_is_killed_is_replaced_unseen(engine) -> None:
    before = await engine.embed(asked("a"))
    (pid,) = engine.load().pids
    running = asyncio.create_task(engine.embed(asked(*["b " * 40] * 600)))
    await asyncio.sleep(0.05)
    os.kill(pid, signal.SIGKILL)
    assert len((await running).vectors) == 600
    assert (await engine.embed(asked("a"))).vectors == before.vectors
    assert engine.load().pids != (pid,)


async def test_who_leaves_takes_their_work_along(engine) -> None:
    await engine.embed(asked("a"))
    long = asyncio.create_task(engine.embed(asked(*["b " * 40] * 2000)))
    await asyncio.sleep(0.05)
    long.cancel()
    with pytest.raises(asyncio.CancelledError):
        await long
    assert engine.load().running == 0
    assert (await engine.embed(asked("a"))).usage.prompt_tokens == 3


async def test_one_who_leaves_while_it_loads_does_not_stop_it_for_others(engine) -> None:
    first = asyncio.create_task(engine.embed(asked("a")))
    await asyncio.sleep(0.05)
    second = asyncio.create_task(engine.embed(asked("a")))
    first.cancel()
    assert len((await second).vectors) == 1


async def test_the_process_ends_with_the_engine(engine) -> None:
    await engine.embed(asked("a"))
    (pid,) = engine.load().pids
    await engine.stop()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_a_model_that_cannot_be_loaded_is_explained_each_time(tmp_path) -> None:
    engine = MiniLmEngine(Model("odd", f"file:{tmp_path}", write(tmp_path, hidden_act="relu")))
    for _ in range(2):
        with pytest.raises(AigridError, match="only BERT with gelu"):
            await engine.embed(asked("a"))
        assert engine.load().state == "down"
    await engine.stop()


async def test_it_makes_no_text(engine) -> None:
    with pytest.raises(BadRequest, match="makes embeddings, not text"):
        await anext(engine.generate(GenerateRequest("r", "tiny", 5, messages=[])))


async def test_the_openai_client_embeds_through_the_gateway_and_the_ledger_counts(engine, folder) -> None:
    texts = ["first text", "second"]
    expected = MiniLm(folder).embed(texts)
    async with open_door([EchoEngine(), engine]) as door:
        client = openai.AsyncOpenAI(base_url=f"{door.url}/v1", api_key=door.secret, max_retries=0)
        plain = await client.embeddings.create(model="tiny", input=texts, encoding_format="float")
        packed = await client.embeddings.create(model="tiny", input=texts, encoding_format="base64")
        default = await client.embeddings.create(model="tiny", input=texts)
        for answer in (plain, default):
            np.testing.assert_allclose([item.embedding for item in answer.data], expected, atol=0.03)
        decoded = [np.frombuffer(base64.b64decode(item.embedding), "<f4") for item in packed.data]
        np.testing.assert_array_equal(np.float32([item.embedding for item in plain.data]), decoded)
        assert plain.usage.prompt_tokens == plain.usage.total_tokens == 19
        with pytest.raises(openai.BadRequestError, match="makes embeddings, not text"):
            await client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": "hi"}])
        with pytest.raises(openai.BadRequestError, match="maximum context length"):
            await client.embeddings.create(model="tiny", input="a " * 100)
        records = await door.records()
        paid = [record for record in records if record.outcome == "finished"]
        assert [(record.site, record.prompt_tokens, record.usage_source) for record in paid] == [
            ("here", 19, "counted")
        ] * 3
        assert all(record.revenue_nusd == 0 for record in records if record.outcome != "finished")
        await client.close()
