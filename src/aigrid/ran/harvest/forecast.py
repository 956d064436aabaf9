"""What the radio will need in the next seconds: quantiles of its processor time, learnt while it runs.

The middle is an exponentially weighted mean. Around it each quantile is an offset that moves up a little whenever the
truth was above it and down a little whenever below, in the ratio of its level, in units of the mean error (online
descent on the pinball loss; Gibbs and Candès, Adaptive Conformal Inference, 2021): in the long run as many outcomes lie
below it as it says, whatever the load does. A daily season is left out: within seconds it moves the mean by a
thousandth.
"""

from collections import deque
from collections.abc import Iterable

STEP_S = 0.25
"""Time that one observation covers, in seconds."""
HORIZON = 4
"""Steps ahead: the mean need of the next second."""
_FOLLOW, _SCALE = 0.25, 0.05
_PACE = 0.12


def pinball(truth: float, said: float, level: float) -> float:
    """Return the loss of a quantile forecast; its mean is least where the forecast is the quantile."""
    return max(level * (truth - said), (level - 1) * (truth - said))


class Forecast:
    """Quantiles of the mean of the next `horizon` observations, for each of `levels`."""

    def __init__(self, levels: Iterable[float] = (0.05, 0.5, 0.95), horizon: int = HORIZON) -> None:
        self.levels = tuple(levels)
        self.horizon = horizon
        self._offset = dict.fromkeys(self.levels, 0.0)
        self._mean = self._error = 0.0
        self._seen = 0
        self._recent: deque[float] = deque(maxlen=horizon)
        self._said: deque[tuple[float, dict[float, float]]] = deque()
        self._inside = dict.fromkeys(self.levels, 0)
        self.judged = 0

    @property
    def ready(self) -> bool:
        """Whether it has seen enough to say anything."""
        return self.judged >= 2 * self.horizon

    def observe(self, value: float) -> None:
        """Take in the need of one step; judge what was said `horizon` steps ago."""
        self._recent.append(value)
        self._mean += (value - self._mean) * max(_FOLLOW, 1 / (self._seen + 1))
        self._seen += 1
        if len(self._said) == self.horizon:
            self._judge(*self._said.popleft(), sum(self._recent) / self.horizon)
        self._said.append((self._mean, {level: self.ahead(level) for level in self.levels}))

    def _judge(self, middle: float, said: dict[float, float], truth: float) -> None:
        error = truth - middle
        self.judged += 1
        self._error += (abs(error) - self._error) * max(_SCALE, 1 / self.judged)
        unit = max(self._error, 1e-4)
        for level in self.levels:
            self._inside[level] += truth <= said[level]
            if self.judged <= 2 * self.horizon:  # the first steps are as wide as the errors were
                self._offset[level] = unit * (3.0 if level > 0.5 else -3.0 if level < 0.5 else 0.0)
            else:
                self._offset[level] += _PACE * unit * (level - (truth <= middle + self._offset[level]))

    def ahead(self, level: float) -> float:
        """Return what the need of the next steps will not exceed with probability `level`; never below 0."""
        return max(0.0, self._mean + self._offset[level])

    def coverage(self, level: float) -> float:
        """Return the share of outcomes that were not above what was said for `level`."""
        return self._inside[level] / self.judged if self.judged else 0.0


class Naive:
    """The reference: the quantile of the last `window` observations, and nothing learnt from errors."""

    def __init__(self, window: int = 240) -> None:
        self._last: deque[float] = deque(maxlen=window)

    def observe(self, value: float) -> None:
        """Take in the need of one step."""
        self._last.append(value)

    def ahead(self, level: float) -> float:
        """Return the quantile of what was seen lately."""
        ordered = sorted(self._last)
        return ordered[min(len(ordered) - 1, int(level * len(ordered)))] if ordered else 1.0
