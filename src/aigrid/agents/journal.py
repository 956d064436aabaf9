"""The journal of one run: append-only steps, enough to go on from, and to replay without a model.

Steps are found by what they are of: (`model`, 3), (`tool`, `call_3_0`). A step is there at most once, so whatever was
recorded is never done again. `journal_sqlite` keeps a run in a file of its own, `journal_postgres` all of them in a
database; `shelf` knows which it is.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Literal, Protocol

import msgspec

from aigrid.agents.digest import canonical
from aigrid.core.clock import now_ns
from aigrid.core.errors import AigridError

Kind = Literal[
    "start", "model", "cut", "refused", "asked", "answered", "began", "tool", "recruited", "judged", "joined", "resumed",
    "paused", "end", "feedback",
]  # fmt: skip
"""What a step is: `began` stands before a tool's side effect, `tool` after it, with its outcome; `cut` is what was
spent after the last answer, as by one that was cut off; `recruited` says who was chosen for a part and why, `joined` what that run came to,
`judged` which answers were better."""
ONCE = ("start", "model", "asked", "answered", "began", "tool", "recruited", "judged", "joined", "end")
"""Kinds of which there is one step to a key."""


class Step(msgspec.Struct, frozen=True):
    """One step. `digest` is of what went in (canonical JSON, SHA-256), `body` is what came out."""

    seq: int
    at_ns: int
    kind: Kind
    key: str
    digest: str
    body: Any


class Diverged(AigridError):
    """A step that was recorded is not the one that would be taken now."""

    status = 409
    default_code = "run_diverged"


class Journal(ABC):
    """An open journal. One process works on a run at a time; any may read it.

    It is `quick` where a step that need not be durable is written in microseconds.
    """

    quick: ClassVar[bool]

    def __init__(self, run: str) -> None:
        self.run = run
        self.steps: list[Step] = []
        self._steps: dict[tuple[str, str], Step] = {}

    def find(self, kind: Kind, key: str = "", digest: str | None = None) -> Step | None:
        """Return a step, None where it was not taken; raises `Diverged` where its input was another one."""
        step = self._steps.get((kind, key))
        if step is not None and digest is not None and step.digest != digest:
            raise Diverged(
                f"step {step.seq} of this run ({kind} {key}) was taken with other input than it would be now; "
                "its agent, tools or aigrid itself have changed since; start a new run",
            )
        return step

    def add(self, kind: Kind, key: str, digest: str, body: Any, *, durable: bool = False) -> Step:
        """Append a step; it survives the end of this process at once and, with `durable`, that of the machine.

        Raises `Conflict` where it is there already.
        """
        at_ns, encoded = now_ns(), canonical(body)
        seq = self._write(at_ns, kind, key, digest, encoded, durable)
        step = Step(seq, at_ns, kind, key, digest, msgspec.json.decode(encoded))
        self._take(step)
        return step

    async def put(self, kind: Kind, key: str, digest: str, body: Any, *, durable: bool = False) -> Step:
        """Append a step as `add` does, without keeping the event loop from others. Cancelled, it is written first."""
        if self.quick and not durable:
            return self.add(kind, key, digest, body)
        writing = asyncio.ensure_future(asyncio.to_thread(self.add, kind, key, digest, body, durable=durable))
        try:
            return await asyncio.shield(writing)
        except asyncio.CancelledError:
            await asyncio.wait([writing])
            raise

    def _take(self, step: Step) -> None:
        self.steps.append(step)
        self._steps[(step.kind, step.key)] = step

    @abstractmethod
    def _write(self, at_ns: int, kind: Kind, key: str, digest: str, body: bytes, durable: bool) -> int:
        """Append a step and return its number; raises `Conflict` where it is there already."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the run."""

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Told(Journal):
    """What a journal says, without the journal: to replay, and to read."""

    quick = True

    def __init__(self, run: str, steps: list[Step]) -> None:
        super().__init__(run)
        for step in steps:
            self._take(step)

    def _write(self, at_ns: int, kind: Kind, key: str, digest: str, body: bytes, durable: bool) -> int:
        raise AssertionError("a replay writes nothing")

    def close(self) -> None:
        """There is nothing to let go of."""


async def opening(work: Callable[[], Journal]) -> Journal:
    """Return the journal that `work` opens in a thread; cancelled meanwhile, it is closed again."""
    task = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        if task.exception() is None:
            task.result().close()
        raise


class Place(Protocol):
    """Where one run's journal is."""

    @property
    def run(self) -> str:
        """The run's id."""

    def there(self) -> bool:
        """Return whether the journal is there."""

    def open(self, *, new: bool = False) -> Journal:
        """Open it to go on with; raises `Conflict` where another process works on it."""

    def read(self) -> list[Step]:
        """Return the steps, of a run that may be at work."""

    def at_work(self) -> bool:
        """Return whether a process works on the run now."""

    def changed(self) -> int:
        """Return a number that is another one when steps were added."""

    def remove(self) -> None:
        """Take away a journal that holds no step."""


class Shelf(Protocol):
    """Where all journals are."""

    def place(self, run: str) -> Place:
        """Return where a run's journal is, or would be."""

    def places(self) -> Iterator[Place]:
        """Yield all, newest first."""

    def close(self) -> None:
        """Let go of what holds them."""
