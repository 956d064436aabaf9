"""What the engine may use, from what is known of the radio. In doubt it is nothing.

SCHED_FIFO takes a processor from an engine in SCHED_IDLE within microseconds, so beside a radio of that class the
engine may stand on all processors. It leaves the radio's when the radio will need most of it: what the engine could
still get there is little, and the radio has its caches to itself. Beside a radio without that class it never is there.
"""

from dataclasses import dataclass

CEDE, TAKE_BACK = 0.7, 0.55
"""Share of its processor, 95 % quantile, above which the radio has it for itself, and below which no more."""


@dataclass(frozen=True)
class View:
    """What is known before a decision. `need` is the radio's processor time ahead, of one processor; None: unknown."""

    phase: str
    """none (no radio, or one that ended), starting, running, silent, gone."""
    real_time: bool
    cpu: int
    """The processor on which the radio stays, -1 for any."""
    processors: frozenset[int]
    need: float | None
    settling: bool = False
    """Time has jumped a moment ago: the machine was suspended, or this program stood still."""
    governed: bool = True
    """Whether the engine can be kept from processors."""
    ceded: bool = False
    """Whether the engine has left the radio's processor."""


@dataclass(frozen=True)
class Decision:
    """What the engine may use, and why, as a sentence for people."""

    processors: frozenset[int]
    reason: str

    @property
    def pause(self) -> bool:
        """Whether the engine is to stand still."""
        return not self.processors


NOTHING: frozenset[int] = frozenset()


def decide(view: View) -> Decision:
    """Return what the engine may use."""
    if view.phase == "none":
        return Decision(view.processors, "no radio runs: AI has the machine")
    if view.phase == "silent":
        return Decision(NOTHING, "the radio says nothing: AI waits until it speaks")
    if view.phase == "gone":
        return Decision(NOTHING, "the radio has died: AI waits for it to come back")
    if view.settling:
        return Decision(NOTHING, "the machine stood still or was suspended: AI waits while the radio finds its feet")
    rest = view.processors - {view.cpu if view.cpu in view.processors else max(view.processors)}
    if not view.real_time:
        if not view.governed:
            return Decision(
                NOTHING, "the radio is not first in line and the engine cannot be kept away from it: AI waits"
            )
        if not rest:
            return Decision(NOTHING, "the radio is not first in line and there is one processor: AI waits")
        return Decision(rest, "the radio is not first in line: AI keeps off one processor")
    if view.phase == "starting" or view.need is None:
        return Decision(rest, "the radio's need is not known yet: AI keeps off one processor")
    if view.need > (TAKE_BACK if view.ceded else CEDE) and view.governed:
        return Decision(rest, "the radio will need most of its processor: AI keeps off it")
    return Decision(view.processors, "AI has what the radio leaves")
