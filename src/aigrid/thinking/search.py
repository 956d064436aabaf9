"""One run of a strategy: its request, its budget, whom it asks, and the trace that grows.

A call for several candidates is one request with `n`: they share the prompt, and the engine makes them in one batch.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

import msgspec

from aigrid.core.errors import AigridError, BudgetExceeded, RateLimited, Unavailable, UpstreamError
from aigrid.engines.base import Chunk, Delta, GenerateRequest, Grammar, Sampling
from aigrid.thinking.base import Answer, Candidate, Models, Trace
from aigrid.thinking.budget import DRAWN, Budget, BudgetSpent, Caps, Cost
from aigrid.thinking.extract import Rule, answer_of

_ENDS = (BudgetExceeded, UpstreamError, Unavailable, RateLimited)
_FEWEST_TOKENS = 512
"""A budget that is short cuts answers down to this many tokens before it cuts their number."""


class Search:
    """Asks for candidates and remembers them. `error` is what ended the search early, if something did.

    The request's own candidates are `varied` in temperature, unless the client says how warm they are to be.
    """

    def __init__(
        self, name: str, request: GenerateRequest, budget: Budget, models: Models, rule: Rule | None = None
    ) -> None:
        self.request = request
        self.budget = budget
        self.models = models
        self.rule = rule or Rule()
        self.trace = Trace(name)
        self.error: AigridError | None = None
        self.varied = True

    async def sample(
        self, n: int, request: GenerateRequest | None = None, role: str = ""
    ) -> AsyncGenerator[Candidate, None]:
        """Yield up to `n` candidates as they are complete; closing this cancels the others at once.

        What ends the search (the budget, an engine's death) ends this, too, and is kept in `error`.
        """
        made: list[Candidate] = []
        last: list[Candidate] = []  # yielded when the stream is read out: its end brings the exact counts
        try:
            ask = self._fit(request or self.request, n, varied=request is None and self.varied)
            made = [self.trace.new(ask.model, role) for _ in range(ask.n)]
            self.trace.calls += 1
            caps = self.models.bound(ask)
            with self.budget.part(Caps(caps.tokens, caps.nusd), role or "a candidate") as draw:
                async with aclosing(self.models.generate(ask, draw)) as chunks:
                    while (chunk := await self._next(chunks)) is not None:
                        for delta in chunk.deltas:
                            if delta.index < len(made) and self._take(made[delta.index], delta):
                                if any(each.state == "running" for each in made):
                                    yield made[delta.index]
                                else:
                                    last.append(made[delta.index])
                for candidate in made:
                    if candidate.state == "running" and (candidate.text or candidate.tool_calls):
                        self._close(candidate)
                        last.append(candidate)
        except _ENDS as error:
            self.error, self.trace.ended = error, error.message
            self._leave(made, "failed")
        finally:
            self._leave(made, "cancelled")
        for candidate in last:
            yield candidate

    async def one(self, request: GenerateRequest | None = None, role: str = "") -> Candidate | None:
        """Return one candidate, or None where the search ended before it was complete."""
        async with aclosing(self.sample(1, request, role)) as found:
            async for candidate in found:
                return candidate
        return None

    def answer(self, candidate: Candidate, why: str) -> Answer:
        """Return the answer that this search came to."""
        return self.trace.won(candidate, why)

    def fallback(self, role: str = "") -> Answer:
        """Return the best of what is there after an early end: a complete candidate, else the longest begun.

        Raises what ended the search where nothing was begun.
        """
        own = [each for each in self.trace.candidates if each.role == role]
        whole = [each for each in own if each.complete]
        if whole:
            return self.answer(whole[0], "it was the only one complete when the search ended")
        begun = max((each for each in own if each.text), key=lambda each: len(each.text), default=None)
        if begun is None:
            raise self.error or UpstreamError("the model made no candidate; ask again")
        begun.finish_reason = "length"
        return self.answer(begun, "none was complete when the search ended; it had come farthest")

    async def _next(self, chunks: AsyncGenerator[Chunk, None]) -> Chunk | None:
        try:
            async with asyncio.timeout(self.budget.time_left_s()):
                return await anext(chunks, None)
        except TimeoutError:
            raise self.budget.late() from None

    def _take(self, candidate: Candidate, delta: Delta) -> bool:
        """Add what a delta brought; return whether the candidate is complete with it."""
        candidate.text += delta.text
        candidate.reasoning += delta.reasoning
        candidate.tokens += delta.tokens
        candidate.logprobs += delta.logprobs or ()
        for piece in delta.tool_calls or ():
            if piece.index >= len(candidate.tool_calls):
                candidate.tool_calls.append(msgspec.structs.replace(piece))
            else:
                candidate.tool_calls[piece.index].arguments += piece.arguments
        if delta.finish_reason is None or candidate.state != "running":
            return False
        candidate.finish_reason = delta.finish_reason
        self._close(candidate)
        return True

    def _close(self, candidate: Candidate) -> None:
        candidate.state = "cut" if candidate.finish_reason == "length" else "done"
        candidate.answer = answer_of(candidate, self.rule)
        self.models.told(candidate)

    def _leave(self, made: Sequence[Candidate], state: Any) -> None:
        for candidate in made:
            if candidate.state == "running":
                candidate.state = state

    def _fit(self, request: GenerateRequest, n: int, varied: bool) -> GenerateRequest:
        """Return the request for as many candidates, and as long ones, as the budget has left."""
        while True:
            ask = sampled(request, n, self.trace.calls, varied)
            if self._fits(ask):
                return ask
            least = min(ask.max_tokens, _FEWEST_TOKENS if n > 1 else 1)
            if self._fits(msgspec.structs.replace(ask, max_tokens=least)):
                return self._cut(ask, least)
            if n == 1:
                return ask  # whose draw says what is missing
            n //= 2

    def _cut(self, ask: GenerateRequest, low: int) -> GenerateRequest:
        high = ask.max_tokens
        while low < high:
            middle = (low + high + 1) // 2
            if self._fits(msgspec.structs.replace(ask, max_tokens=middle)):
                low = middle
            else:
                high = middle - 1
        return msgspec.structs.replace(ask, max_tokens=low)

    def _fits(self, request: GenerateRequest) -> bool:
        cost = self.models.bound(request)
        lefts = ((self.budget.left(kind), getattr(cost, kind)) for kind in DRAWN)
        return all(left is None or amount <= left for left, amount in lefts)


def sampled(request: GenerateRequest, n: int, turn: int = 0, varied: bool = False) -> GenerateRequest:
    """Return a request for `n` candidates, as a stream, with a body that says the same.

    Where they are to be `varied`, and the client does not say how warm, they are drawn at a temperature of 0.7
    (Wang et al. 2022). Of a request with a seed, each `turn` has its own.
    """
    body = {name: value for name, value in request.body.items() if name not in _NOT_PASSED}
    sampling = request.sampling
    if varied and sampling.temperature is None:
        body["temperature"] = _TEMPERATURE
        sampling = msgspec.structs.replace(sampling, temperature=_TEMPERATURE)
    if sampling.seed is not None and turn:  # else each call would bring the same candidates again
        body["seed"] = (sampling.seed + turn * _STRIDE) % 2**31
        sampling = msgspec.structs.replace(sampling, seed=body["seed"])
    if n > 1:
        body["n"] = n
    return msgspec.structs.replace(request, n=n, stream=True, include_usage=True, sampling=sampling, body=body)


_TEMPERATURE = 0.7
_STRIDE = 1_000_003
_NOT_PASSED = ("n", "service_tier", "aigrid", "stream", "stream_options", "reasoning_effort")


def prompted(
    request: GenerateRequest,
    messages: list[dict[str, Any]],
    *,
    max_tokens: int,
    temperature: float | None = None,
    grammar: Grammar | None = None,
    model: str = "",
    stop: Sequence[str] = (),
) -> GenerateRequest:
    """Return a chat request of a strategy's own, such as a critic's."""
    body: dict[str, Any] = {"model": model or request.model, "messages": messages}
    if temperature is not None:
        body["temperature"] = temperature
    if stop:
        body["stop"] = list(stop)
    if grammar is not None and grammar.kind == "json_schema":
        schema = {"name": "output", "schema": msgspec.json.decode(grammar.value), "strict": True}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    return GenerateRequest(
        id=request.id,
        model=model or request.model,
        max_tokens=min(max_tokens, request.max_tokens) if max_tokens else request.max_tokens,
        messages=messages,
        sampling=Sampling(temperature=temperature, seed=request.sampling.seed),
        grammar=grammar,
        stop=list(stop),
        stream=True,
        body=body,
        hops=request.hops,
    )


def question_of(request: GenerateRequest) -> str:
    """Return what was asked, as text: the conversation, or the prompt."""
    if isinstance(request.prompt, str):
        return request.prompt
    lines = []
    for message in request.messages or ():
        content = message.get("content")
        if isinstance(content, list):
            content = " ".join(part.get("text", "") for part in content if isinstance(part, dict))
        if content:
            lines.append(str(content) if message.get("role") == "user" else f"[{message.get('role')}] {content}")
    return "\n".join(lines)


def total(costs: Sequence[Cost]) -> Cost:
    """Return costs added up."""
    return Cost(*(sum(getattr(cost, kind) for cost in costs) for kind in DRAWN))


__all__ = ["BudgetSpent", "Search", "prompted", "question_of", "sampled", "total"]
