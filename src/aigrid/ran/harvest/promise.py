"""The rate of tokens that can be relied on beside a radio, and whether it was kept.

What an idle processor-second yields is measured while there is enough to do. Times the idle share that the forecast
expects at the least, it is a guess of the next ten seconds; the promise is that guess times a ratio that creeps up while
outcomes stay above it and falls twenty times as fast when one comes near. A promise counts as kept or broken only over ten seconds in which there was enough to do all
along: nobody can make tokens that nobody wants.
"""

from collections import deque
from dataclasses import dataclass

WINDOW = 10
"""Seconds over which a promise is to be kept."""
_FIRST_RATIO = 0.6
_FOLLOW = 0.03
_UP, _DOWN, _NEAR = 0.001, 0.02, 1.05


@dataclass
class Second:
    """One second: the rate promised when it began, what was guessed, and what came of it."""

    promised: float
    guess: float
    tokens: int
    wanted: bool


class Promise:
    """Learns what an idle processor-second yields and how far to rely on it."""

    def __init__(self) -> None:
        self.per_idle_s = 0.0
        self.ratio = _FIRST_RATIO
        self.kept = self.broken = 0
        self._measured = 0
        self._ahead = 0
        self._window: deque[Second] = deque(maxlen=WINDOW)

    @property
    def known(self) -> bool:
        """Whether enough was measured to promise anything."""
        return self._measured >= 5

    @property
    def share_kept(self) -> float | None:
        """The share of ten-second windows in which the promise was kept; None before the first."""
        count = self.kept + self.broken
        return self.kept / count if count else None

    def rate(self, idle: float) -> float:
        """Return what to promise for `idle` processors, in tokens a second; 0 before anything is known."""
        return self.per_idle_s * idle * self.ratio if self.known else 0.0

    def second(self, tokens: int, idle_s: float, wanted: bool, promised: float, least_idle: float) -> None:
        """Take in a second: tokens made, processor time that was idle for AI, whether there was enough to do.

        `promised` was the rate when it began, `least_idle` the idle processors then expected at the least.
        """
        if wanted and idle_s > 0.05:
            seen = tokens / idle_s
            self._measured += 1
            self.per_idle_s += (seen - self.per_idle_s) * max(_FOLLOW, 1 / self._measured)
        self._window.append(Second(promised, self.per_idle_s * least_idle, tokens, wanted))
        if len(self._window) == WINDOW:
            self._judge()

    def _judge(self) -> None:
        """Judge the last ten seconds by what was promised when they began."""
        if not all(second.wanted for second in self._window) or not self._window[0].promised:
            return
        made = sum(second.tokens for second in self._window)
        self._ahead += 1
        if self._ahead % WINDOW == 1:  # windows that do not overlap are what is reported
            kept = made >= self._window[0].promised * WINDOW
            self.kept += kept
            self.broken += not kept
        outcome = made / max(1e-9, self._window[0].guess * WINDOW)
        self.ratio += _UP if outcome > self.ratio * _NEAR else -_DOWN
        self.ratio = min(0.95, max(0.1, self.ratio))

    def forget(self) -> None:
        """Drop the window under way: time has jumped, or the engine is another."""
        self._window.clear()
