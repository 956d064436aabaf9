"""Checks with the `openai` SDK: errors, timeouts, clients that leave, many at once."""

import asyncio
from typing import Any

import openai

from benchmarks.sdk_checks import Target, check, raises
from benchmarks.sdk_openai import SAID, say


@check("openai", "a wrong key raises AuthenticationError")
def wrong_key(target: Target) -> None:
    client = target.openai(api_key="sk-wrong")
    error = raises(
        openai.AuthenticationError, lambda: client.chat.completions.create(model=target.model, messages=SAID)
    )
    assert error.code == "invalid_api_key"


@check("openai", "an unknown model raises NotFoundError with code model_not_found")
def unknown_model(target: Target) -> None:
    client = target.openai()
    error = raises(openai.NotFoundError, lambda: client.chat.completions.create(model="no-such", messages=SAID))
    assert error.code == "model_not_found"


@check("openai", "a bad value raises BadRequestError that names the field")
def bad_value(target: Target) -> None:
    client = target.openai()
    error = raises(
        openai.BadRequestError,
        lambda: client.chat.completions.create(model=target.model, messages=SAID, temperature=3),
    )
    assert error.param == "temperature"
    wrong: Any = [{"role": "robot", "content": "x"}]
    error = raises(openai.BadRequestError, lambda: client.chat.completions.create(model=target.model, messages=wrong))
    assert error.param == "messages[0].role"


@check("openai", "no messages raise BadRequestError")
def no_messages(target: Target) -> None:
    client = target.openai()
    raises(openai.BadRequestError, lambda: client.chat.completions.create(model=target.model, messages=[]))


@check("openai", "a spent budget raises RateLimitError with code insufficient_quota")
def spent_budget(target: Target) -> None:
    client = target.openai(api_key=target.poor_key)
    error = raises(
        openai.RateLimitError, lambda: client.chat.completions.create(model=target.model, messages=SAID, max_tokens=64)
    )
    assert error.code == "insufficient_quota"


@check("openai", "too many requests raise RateLimitError with Retry-After")
def too_many(target: Target) -> None:
    client = target.openai(api_key=target.slow_key)

    def often() -> None:
        for _ in range(3):
            client.chat.completions.create(model=target.model, messages=SAID, max_tokens=1)

    error = raises(openai.RateLimitError, often)
    assert int(error.response.headers["retry-after"]) >= 1


@check("openai", "a timeout raises APITimeoutError", echo=True)
def timeout(target: Target) -> None:
    client = target.openai(timeout=0.5)
    said = say("[echo delay=20] slow")
    raises(openai.APITimeoutError, lambda: client.chat.completions.create(model=target.model, messages=said))


@check("openai", "an engine that fails raises InternalServerError", echo=True)
def engine_fails(target: Target) -> None:
    client = target.openai()
    said = say("[echo fail=500] x")
    raises(openai.InternalServerError, lambda: client.chat.completions.create(model=target.model, messages=said))


@check("openai", "an engine that fails in the middle of a stream raises APIError", echo=True)
def engine_fails_midway(target: Target) -> None:
    stream = target.openai().chat.completions.create(
        model=target.model, messages=say("[echo fail=500 after=3 tokens=9] x"), stream=True
    )
    got: list[Any] = []
    raises(openai.APIError, lambda: got.extend(stream))
    assert got


@check("openai", "a stream can be left in the middle", echo=True)
def left_stream(target: Target) -> None:
    client = target.openai()
    with client.chat.completions.create(
        model=target.model, messages=say("[echo tokens=500 rate=100] x"), stream=True
    ) as stream:
        for _, _chunk in zip(range(3), stream, strict=False):
            pass
    assert client.models.list().data


@check("openai", "the async client streams 20 answers at once")
def many_async(target: Target) -> None:
    async def one(client: openai.AsyncOpenAI) -> str:
        stream = await client.chat.completions.create(model=target.model, messages=SAID, max_tokens=5, stream=True)
        return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    async def many() -> list[str]:
        options: Any = {"base_url": f"{target.url}/v1", "api_key": target.key, "max_retries": 0}
        async with openai.AsyncOpenAI(**options) as client:
            return list(await asyncio.gather(*(one(client) for _ in range(20))))

    assert all(asyncio.run(many()))
