"""What a call to a candidate costs on this machine: time, energy and money, one call after the other."""

from collections.abc import Sequence
from itertools import cycle, islice

import msgspec
import numpy as np

from aigrid.core.clock import SECOND, mono_ns
from aigrid.core.config import load as settings
from aigrid.factory.ladder.base import Candidate
from aigrid.ledger.energy import find_meter

_WARM = 3
_LONGEST_NS = 20 * SECOND


class Measured(msgspec.Struct):
    """Nanoseconds of a call, and nano-dollars and millijoules of a thousand calls. `energy` says how it was measured.

    The money is this machine's electricity and hours at the prices of `[site]`, and what an upstream charges.
    `fit_tokens` and `fit_nusd` are what models took to fit and to score.
    """

    p50_ns: int
    p99_ns: int
    nusd_per_1000: int
    mj_per_1000: int
    calls: int
    energy: str
    fit_tokens: int = 0
    fit_nusd: int = 0


def measure(candidate: Candidate, inputs: Sequence[str], costly: bool) -> Measured:
    """Measure calls with one input each: hundreds, or a few where each runs a model."""
    site = settings().site
    calls = 20 if costly else 500
    for text in inputs[:_WARM]:
        candidate.answer([text])
    before = candidate.cost.nusd
    meter, took = find_meter(site.tdp_w), list[int]()
    began = mono_ns()
    for text in islice(cycle(inputs), calls):
        start = mono_ns()
        candidate.answer([text])
        took.append(mono_ns() - start)
        if took[-1] + start - began > _LONGEST_NS:
            break
    sample = meter.sample()
    spent = candidate.cost.nusd - before
    energy = sample.energy_mj * site.energy_usd_per_kwh / 3.6  # a kWh is 3.6e9 mJ, a dollar 1e9 nano-dollars
    hardware = sum(took) * site.hardware_usd_per_hour / 3600
    p50, p99 = (int(each) for each in np.quantile(took, (0.5, 0.99), method="higher"))
    per = 1000 / len(took)
    return Measured(
        p50, p99, round((energy + hardware + spent) * per), round(sample.energy_mj * per), len(took), sample.source
    )
