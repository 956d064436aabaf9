"""The words of thinking: candidates, the trace of how one of them won, and the protocol of strategies.

A strategy asks models for candidates within a budget and returns the best of them. It knows neither the gateway nor
the ledger: what it asks is a `Models`, whose every call draws on the budget before it starts.
"""

from collections.abc import AsyncGenerator
from typing import Any, Literal, Protocol

import msgspec

from aigrid.engines.base import Chunk, Delta, FinishReason, GenerateRequest, TokenLogprob, ToolCall
from aigrid.thinking.budget import Budget, Cost


class Candidate(msgspec.Struct, omit_defaults=True):
    """One answer that a model made, or a step of one.

    `answer` is what it says in the end, normalised: candidates with the same one agree. `score` is from a scorer,
    between 0 and 1 unless the scorer says otherwise; `note` is the scorer's reason. `tokens` are its completion's.
    """

    number: int
    model: str = ""
    role: str = ""
    text: str = ""
    reasoning: str = ""
    answer: str = ""
    tokens: int = 0
    state: Literal["running", "done", "cut", "cancelled", "failed"] = "running"
    score: float | None = None
    note: str = ""
    finish_reason: FinishReason = "stop"
    tool_calls: list[ToolCall] = []
    logprobs: list[TokenLogprob] = []

    @property
    def complete(self) -> bool:
        """Whether the model said all that it wanted or might."""
        return self.state in ("done", "cut")

    def deltas(self, logprobs: bool) -> list[Delta]:
        """Return it as an engine would have sent it, its tokens counted already."""
        shown = self.logprobs if logprobs and self.logprobs else None
        body = Delta(text=self.text, reasoning=self.reasoning, tool_calls=self.tool_calls or None, logprobs=shown)
        return [body, Delta(finish_reason=self.finish_reason)]


class Trace(msgspec.Struct, omit_defaults=True):
    """How an answer came about: every candidate, the votes, who won and why, and what ended the search early."""

    strategy: str = ""
    candidates: list[Candidate] = []
    votes: dict[str, float] = {}
    winner: int | None = None
    why: str = ""
    ended: str = ""
    calls: int = 0

    def new(self, model: str, role: str = "") -> Candidate:
        """Append a candidate and return it; numbers count from 1."""
        made = Candidate(len(self.candidates) + 1, model, role)
        self.candidates.append(made)
        return made

    def won(self, candidate: Candidate, why: str) -> "Answer":
        """Note who won and why, and return the answer."""
        self.winner, self.why = candidate.number, why
        return Answer(candidate, self)

    def public(self) -> dict[str, Any]:
        """Return it as JSON would have it, without what belongs to the winner's answer alone."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        for each in plain.get("candidates", ()):
            each.pop("logprobs", None)
        return plain


class Answer(msgspec.Struct):
    """The candidate that won, and how."""

    winner: Candidate
    trace: Trace


class Models(Protocol):
    """Whom a strategy asks."""

    def bound(self, request: GenerateRequest) -> Cost:
        """Return the most that a call can use; its energy is not known before, and 0."""

    def generate(self, request: GenerateRequest, draw: Budget) -> AsyncGenerator[Chunk, None]:
        """Make tokens; counts what it uses on `draw`. Closing it cancels the work at once."""

    def told(self, candidate: Candidate) -> None:
        """Hear of a candidate that is complete."""


class Strategy(Protocol):
    """A way to spend more tokens on one answer. `name` is what policies call it, `most` the most candidates it makes."""

    name: str
    most: int

    async def run(self, request: GenerateRequest, budget: Budget, models: Models) -> Answer:
        """Return the best answer found. A budget that ends early ends the search, not the answer.

        Raises `BudgetSpent` where the budget is not enough for one answer, and what the models raise.
        """
