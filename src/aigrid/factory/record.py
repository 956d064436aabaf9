"""What was built and when: one JSON file for each build of a line, written anew whenever something changed."""

import time
from pathlib import Path
from typing import Any, Literal

import msgspec

from aigrid.core.clock import now_ns
from aigrid.core.errors import NotFound
from aigrid.factory.base import Cost, Figure, Tell
from aigrid.factory.line import Line

_TELL_S = 0.5

State = Literal["running", "done", "kept", "failed", "stopped"]
"""`kept` is a result of an earlier build that still holds."""


class Done(msgspec.Struct):
    """A stage in a build. `ns` and `cost` are those of the time when it was done; `at` says how far it is."""

    name: str
    use: str
    key: str
    digest: str = ""
    state: State = "running"
    after: list[str] = []
    figures: dict[str, Figure] = {}
    measured: dict[str, Figure] = {}
    cost: Cost = msgspec.field(default_factory=Cost)
    ns: int = 0
    error: str = ""
    at: tuple[int, int | None, str] = (0, None, "")


class Build(msgspec.Struct):
    """One build of a line."""

    line: str
    number: int
    started_ns: int
    about: str = ""
    stages: list[Done] = []
    ended_ns: int | None = None
    changed_ns: int = 0

    @property
    def ns(self) -> int:
        """What the work took, whenever it was done."""
        return sum(each.ns for each in self.stages)

    @property
    def cost(self) -> Cost:
        """What the work cost, whenever it was done."""
        sources = {each.cost.source for each in self.stages if each.cost.source}
        return Cost(
            sum(each.cost.tokens for each in self.stages),
            sum(each.cost.nusd for each in self.stages),
            sum(each.cost.mj for each in self.stages),
            sources.pop() if len(sources) == 1 else "mixed" if sources else "",
        )


class Sped(msgspec.Struct, frozen=True):
    """What speeding a stage up would give (G. Amdahl, AFIPS 1967): the line's gain if it were twice as fast, or free (0: no limit)."""

    name: str
    share: float
    twice: float
    free: float


def amdahl(build: Build) -> list[Sped]:
    """Return the gain of speeding up each stage, the greatest first."""
    total = build.ns
    shares = [(each.name, each.ns / total if total else 0.0) for each in build.stages]
    sped = [Sped(name, part, 1 / (1 - part / 2), 1 / (1 - part) if part < 1 else 0.0) for name, part in shares]
    return sorted(sped, key=lambda each: -each.share)


def told(build: Build) -> dict[str, Any]:
    """Return a build with what follows from it: work, cost, and which stage is worth speeding up."""
    speed = [msgspec.to_builtins(each) for each in amdahl(build)]
    return {**msgspec.to_builtins(build), "ns": build.ns, "cost": msgspec.to_builtins(build.cost), "speed_up": speed}


class Log:
    """Writes a build's file; a new one begins with the next number."""

    def __init__(self, folder: Path, line: Line) -> None:
        self._folder = folder / "builds"
        self._folder.mkdir(parents=True, exist_ok=True)
        last = max((int(path.stem) for path in self._folder.glob("*.json")), default=0)
        self.build = Build(line.name, last + 1, now_ns(), line.about)
        self._told = 0.0

    def write(self, done: Done) -> None:
        """Write down how a stage is."""
        stages = self.build.stages
        if not stages or stages[-1].name != done.name:
            stages.append(done)
        stages[-1] = done
        self._save()

    def telling(self, done: Done, tell: Tell) -> Tell:
        """Return what a stage tells its progress to: `tell`, and now and then the build's file."""

        def told(count: int, total: int | None, what: str) -> None:
            tell(count, total, what)
            if time.monotonic() - self._told > _TELL_S:
                self._told = time.monotonic()
                done.at = (count, total, what)
                self._save()

        return told

    def end(self) -> Build:
        """Say that the build is over."""
        self.build.ended_ns = now_ns()
        self._save()
        return self.build

    def _save(self) -> None:
        self.build.changed_ns = now_ns()
        path = self._folder / f"{self.build.number:06d}.json"
        temporary = path.with_suffix(".new")
        temporary.write_bytes(msgspec.json.encode(self.build))
        temporary.rename(path)


def lines(root: Path) -> list[str]:
    """Return the names of lines that were ever built under `root`."""
    return sorted(path.name for path in (root / "lines").glob("*") if (path / "builds").is_dir())


def builds(root: Path, line: str) -> list[Build]:
    """Return the builds of a line, the newest first; raises `NotFound` where there is none."""
    files = sorted((root / "lines" / line / "builds").glob("*.json"), reverse=True)
    if not files:
        known = ", ".join(f"`{name}`" for name in lines(root)) or "none"
        raise NotFound(f"no line `{line}` was built here; built were: {known}")
    return [msgspec.json.decode(path.read_bytes(), type=Build) for path in files]
