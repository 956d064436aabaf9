"""Which patient requests run in the embedded engine, beside those that somebody waits for.

A step serves all running sequences at once and cannot be cut short, so whoever comes waits for the one under way: the
length of a step is what patient work costs others. While others were there lately, few patient sequences run and their
prompts are read in small pieces; without others they fill the batch. From one to the other most are put aside: their
tokens are kept, the prefix cache has their state, and going on costs the reading of half a block.
"""

import time
from collections import deque
from collections.abc import Sequence
from typing import Any

from aigrid.engines.base import Delta, GenerateRequest
from aigrid.engines.openvino_grammar import uses_tools
from aigrid.engines.openvino_text import Scanner

BESIDE = 8
"""Patient sequences that run beside others."""
PIECE = 32
"""Tokens of a patient prompt that are read in a step beside others: the size of a block of the prefix cache."""
ATTENTIVE_S = 5.0
"""Seconds after the last request of others in which the next one is reckoned with."""


class Job:
    """One request: its choices, the tokens made for it, and the sequences that wait until its prompt is read."""

    def __init__(self, key: Any, request: GenerateRequest, ids: list[int], grammar: Any, made: list[int]) -> None:
        self.key, self.request, self.ids, self.grammar = key, request, ids, grammar
        self.made = made  # one number, shared with the memory of what was made for which request
        self.reasoning = 0
        self.choices: list[Choice] = []
        self.alike = (request.patient, tuple(ids))  # jobs that read the same, at the same pace
        self.behind: list[tuple[Job, int]] = [(self, index) for index in range(1, request.n)]
        self.read = False
        self.pending = request.n
        self.told = False
        self.patient = request.patient
        self.warm = 0  # tokens of the prompt that are in the prefix cache, where it was read piece by piece
        self.held: list[Delta] = []  # what a patient request's client is told when all is there


class Choice:
    """One sequence of a job and what is known of its text."""

    __slots__ = ("calls", "handle", "index", "job", "logprobs", "scanner", "stream", "tokens")

    def __init__(self, job: Job, index: int, handle: Any, stream: Any, scanner: Scanner) -> None:
        self.job, self.index, self.handle, self.stream, self.scanner = job, index, handle, stream, scanner
        self.logprobs = job.request.sampling.logprobs
        self.calls = job.grammar is not None and uses_tools(job.request)  # and their end has not begun
        self.tokens: list[int] = []  # kept for constrained calls only


class Patience:
    """The patient requests: `queue` has those that wait, `aside` those that were begun and put aside."""

    def __init__(self) -> None:
        self.queue: deque[tuple[Job, int]] = deque()
        self.aside: deque[Choice] = deque()
        self._warming: tuple[tuple[Job, int], int, Any] | None = None
        self._seen = float("-inf")
        self._attentive = self._pressing = False
        self._admitted = 0

    @property
    def waits(self) -> bool:
        """Whether there is something to begin or to go on with."""
        return bool(self.queue or self.aside or self._warming)

    def look(self, running: Sequence[Choice], others: Sequence[Any], slots: int) -> None:
        """See who is there before a step, and put aside what is too much: it loses its handle."""
        now = time.monotonic()
        mine = [choice for choice in running if choice.job.patient]
        self._pressing = bool(others) or any(not choice.job.told for choice in running if not choice.job.patient)
        if others or len(mine) < len(running):
            self._seen = now
        self._attentive = now - self._seen < ATTENTIVE_S
        self._admitted = 0
        room = min(BESIDE if self._attentive else slots, slots - (len(running) - len(mine)) - len(others))
        for choice in reversed(mine[max(0, room) :]):
            if _resumable(choice):
                choice.handle = None
                self.aside.appendleft(choice)

    def next(self, running: Sequence[Choice], slots: int) -> "Choice | tuple[Job, int] | None":
        """Return what to begin or to go on with before this step; None when that is all."""
        if self._warming is not None:
            entry, upto, handle = self._warming
            if not handle.can_read():
                return None
            self._warming = None
            entry[0].warm = upto
            self.queue.appendleft(entry)
        mine = sum(choice.job.patient for choice in running)
        if self._pressing or len(running) >= slots or mine >= (BESIDE if self._attentive else slots):
            return None
        if self._attentive and self._admitted:  # each reads some tokens before it makes one
            return None
        self._admitted += 1
        if self.aside:
            return self.aside.popleft()
        return self.queue.popleft() if self.queue else None

    def piece(self, job: Job) -> int | None:
        """Return up to where the prompt is to be read next, None when the request can begin."""
        upto = job.warm + PIECE
        return upto if self._attentive and upto < len(job.ids) else None

    def warming(self, entry: tuple[Job, int], upto: int, handle: Any) -> None:
        """Wait until a piece of a prompt is read."""
        self._warming = (entry, upto, handle)

    def forget(self, job: Job) -> None:
        """Forget a request that was cancelled."""
        self.queue = deque(entry for entry in self.queue if entry[0] is not job)
        self.aside = deque(choice for choice in self.aside if choice.job is not job)
        if self._warming is not None and self._warming[0][0] is job:
            self._warming = None


def _resumable(choice: Choice) -> bool:
    """Return whether a sequence can go on from its tokens: grammars and penalties on what was made look back."""
    sampling = choice.job.request.sampling
    penalised = sampling.frequency_penalty or sampling.presence_penalty
    return choice.handle is not None and choice.job.grammar is None and not penalised
