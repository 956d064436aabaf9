"""POST /v1/knowledge/ask: an answer from the documents, whole or as it is made.

The passages are those that the caller's key may read and no others reach the model; the search and each completion
are requests of the caller on the ledger, and the answer says what they came to together.
"""

import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta, Struct

from aigrid.core.errors import AigridError
from aigrid.core.ids import new_id
from aigrid.engines.base import Usage
from aigrid.gateway.auth import authenticate
from aigrid.gateway.http import SSE, ClientGone, Request, Response, Send, Sendable
from aigrid.gateway.inside import complete
from aigrid.gateway.knowledge import MAX_HITS, Question, readers_of
from aigrid.gateway.spent import Spent
from aigrid.gateway.wire.answer import DONE, data, error_frame, usage_object
from aigrid.gateway.wire.base import convert, tier_of
from aigrid.ledger.base import Key

if TYPE_CHECKING:
    from aigrid.gateway.app import Gateway
    from aigrid.knowledge.answer import Event


class AskBody(Struct):
    """A question to be answered from the documents by `model`: the first chat model where none is named.

    `limit` is how many passages are read for it, `max_tokens` how long the model may write.
    """

    question: Question
    model: Annotated[str, Meta(min_length=1, max_length=256)] | None = None
    stream: bool = False
    limit: Annotated[int, Meta(ge=1, le=MAX_HITS)] = 10
    max_tokens: Annotated[int, Meta(ge=1, le=32_768)] = 160
    service_tier: str | None = None


class Asking:
    """One question on its way: its events, and what they cost until now."""

    def __init__(self, gateway: "Gateway", request: Request, key: Key, body: AskBody) -> None:
        self._gateway = gateway
        self._request = request
        self._key = key
        self.body = body
        self.spent = Spent(model=self._model())
        self.envelope = {
            "id": "ask-" + new_id(),
            "object": "knowledge.answer",
            "created": int(time.time()),
            "model": self.spent.model,
        }

    def _model(self) -> str:
        """Return the model that writes; empty where none is served, and then the answer is a quote."""
        router = self._gateway.router
        if self.body.model is not None:
            tier_of(self.body.service_tier)
            return router.route(self.body.model).model.id
        return next((model.id for model in router.models() if model.chat), "")

    async def events(self) -> "AsyncGenerator[Event, None]":
        """Search, then yield the events of the answer."""
        from aigrid.knowledge.answer import answer
        from aigrid.knowledge.evidence import rarity_in

        knowledge, body, readers = self._gateway.knowledge, self.body, readers_of(self._key)
        hits = await knowledge.find(self._key, body.question, body.limit, self.spent)
        store, embedder = await knowledge.read(lambda library: (library.store, library.embedder if hits else None))
        made = answer(
            body.question,
            hits,
            lambda source_id: store.plain(source_id, readers),
            embedder,
            rarity=rarity_in(store, readers),
            complete=self._complete if self.spent.model else None,
            max_tokens=body.max_tokens,
        )
        async for event in made:
            yield event

    async def _complete(self, messages: list[dict[str, str]], **options: object) -> AsyncIterator[str | Usage]:
        asked: dict[str, Any] = {"model": self.spent.model, "messages": messages, **options}
        if self.body.service_tier is not None:
            asked["service_tier"] = self.body.service_tier
        async with aclosing(complete(self._gateway, self._request, asked, self.spent)) as pieces:
            async for piece in pieces:
                yield piece

    async def whole(self) -> dict[str, Any]:
        """Return the answer as one object."""
        async with aclosing(self.events()) as events:
            async for event in events:
                last = event
        return self.view(last)

    def view(self, event: "Event") -> dict[str, Any]:
        """Return the whole answer (the last event) as it is sent."""
        found: dict[str, Any] = msgspec.to_builtins(event)
        del found["type"], found["usage"]
        usage = Usage(self.spent.prompt_tokens, self.spent.completion_tokens, 0, self.spent.cached_tokens)
        found["answer"] = found.pop("text")
        return {**self.envelope, **found, "usage": usage_object(usage), "aigrid": self.spent.cost}


class AskStream:
    """An answer sent as it is made: frames of a chat stream, with what only knowledge has in `knowledge`."""

    def __init__(self, asking: Asking, events: "AsyncGenerator[Event, None]", first: "Event") -> None:
        self._asking = asking
        self._events = events
        self._first = first

    async def send(self, send: Send) -> None:
        """Write the stream; an error in the middle of it is its last frame."""
        await send({"type": "http.response.start", "status": 200, "headers": [SSE]})
        try:
            async with aclosing(self._events) as events:
                await send(_body(self._frame(self._first)))
                async for event in events:
                    await send(_body(self._frame(event)))
            end = DONE
        except AigridError as error:
            end = error_frame(error)
        except ClientGone:
            return
        await send({"type": "http.response.body", "body": end})

    def _frame(self, event: "Event") -> bytes:
        from aigrid.knowledge.answer import Answer, Text

        envelope = {**self._asking.envelope, "object": "chat.completion.chunk"}
        if isinstance(event, Text):
            return data({**envelope, "choices": [_choice({"content": event.text}, None)]})
        if isinstance(event, Answer):
            view = self._asking.view(event)
            shared = {"usage": view["usage"], "aigrid": view["aigrid"]}
            end = data({**envelope, "choices": [_choice({}, "stop")]})
            return end + data({**envelope, "choices": [], "knowledge": {**view, "type": "answer"}, **shared})
        return data({**envelope, "choices": [], "knowledge": event})


async def ask(gateway: "Gateway", request: Request) -> Sendable:
    """Answer a question; what fails before the first event is an error response."""
    key = await authenticate(request, gateway.ledger)
    asking = Asking(gateway, request, key, convert(await request.json(gateway.max_body), AskBody))
    if not asking.body.stream:
        return Response.of(await asking.whole(), headers=asking.spent.headers)
    events = asking.events()
    try:
        return AskStream(asking, events, await anext(events))
    except BaseException:
        await events.aclose()
        raise


def _choice(delta: dict[str, str], finish_reason: str | None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}


def _body(frame: bytes) -> dict[str, Any]:
    return {"type": "http.response.body", "body": frame, "more_body": True}
