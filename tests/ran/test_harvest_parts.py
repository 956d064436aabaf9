"""The harvester's parts: the forecast is calibrated, decisions err on the radio's side, promises are careful."""

import csv
from pathlib import Path

import numpy as np
import pytest

from aigrid.ran.generate import generate
from aigrid.ran.harvest.decide import View, decide
from aigrid.ran.harvest.forecast import STEP_S, Forecast, Naive, pinball
from aigrid.ran.harvest.promise import WINDOW, Promise
from aigrid.ran.trace import SLOT_S

BOTH = frozenset({0, 1})
PROFILE = Path(__file__).resolve().parents[3] / "shared" / "data" / "grid" / "ran_load_profile.csv"


def steps(trace):
    """A trace's load by forecast steps, as the share of a processor that its blocks take here."""
    blocks = (trace.downlink_prb.astype(float) + trace.uplink_prb) / trace.cell_prb
    size = round(STEP_S / SLOT_S)
    return 0.05 + 0.12 * blocks[: len(blocks) // size * size].reshape(-1, size).mean(axis=1)


def walk(kind):
    """Loads that no generator of ours made."""
    random = np.random.default_rng(5)
    at = np.arange(4000)
    if kind == "steps":
        return np.repeat(random.uniform(0.05, 0.8, 40), 100) + random.normal(0, 0.01, 4000)
    if kind == "heavy tail":
        return 0.1 + 0.02 * random.pareto(2.5, 4000)
    return 0.3 + 0.2 * np.sin(at / 60) + random.normal(0, 0.03, 4000)


def judged(values):
    """Coverage of the 95 % and 5 % quantiles, and both losses at 95 %."""
    ours, naive = Forecast(), Naive()
    loss = [0.0, 0.0]
    for at, value in enumerate(values):
        ours.observe(float(value))
        naive.observe(float(value))
        if 40 <= at < len(values) - 4:
            truth = float(np.mean(values[at + 1 : at + 5]))
            for who, forecast in enumerate((ours, naive)):
                loss[who] += pinball(truth, forecast.ahead(0.95), 0.95)
    return ours.coverage(0.95), ours.coverage(0.05), loss


@pytest.mark.parametrize("cell", ["town", "event", "steady"])
@pytest.mark.parametrize("scale", [1.0, 8.0])
def test_the_forecast_covers_what_it_says_on_generated_cells(cell, scale):
    high, low, loss = judged(steps(generate(cell, seconds=900, scale=scale, seed=3)))
    assert abs(high - 0.95) <= 0.025
    assert abs(low - 0.05) <= 0.025
    assert loss[0] <= 1.02 * loss[1]


@pytest.mark.parametrize("kind", ["steps", "heavy tail", "waves"])
def test_the_forecast_covers_what_it_says_on_loads_of_other_kinds(kind):
    high, low, loss = judged(walk(kind))
    assert abs(high - 0.95) <= 0.025
    assert abs(low - 0.05) <= 0.025
    assert loss[0] <= 1.02 * loss[1]


@pytest.mark.skipif(not PROFILE.exists(), reason="../shared/data/grid/ran_load_profile.csv is not there")
def test_the_forecast_follows_measured_days():
    """Hour after hour of three measured cells, at the quantile that a walk reaches."""
    with PROFILE.open() as file:
        rows = list(csv.DictReader(file))
    random = np.random.default_rng(2)
    levels = np.repeat([float(rows[at % len(rows)]["rb_down_p90"]) for at in range(72)], 60)
    high, _, _ = judged(0.05 + levels * random.lognormal(0, 0.2, len(levels)))
    assert abs(high - 0.95) <= 0.025


def test_the_forecast_says_nothing_before_it_has_seen_anything():
    forecast = Forecast()
    assert not forecast.ready
    for _ in range(20):
        forecast.observe(0.2)
    assert forecast.ready
    assert forecast.ahead(0.95) >= forecast.ahead(0.05) >= 0


def view(**more):
    return View(**{"phase": "running", "real_time": True, "cpu": 1, "processors": BOTH, "need": 0.2, **more})


def test_ai_has_all_processors_beside_a_radio_that_is_first_in_line():
    assert decide(view()).processors == BOTH


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"phase": "silent"}, "says nothing"),
        ({"phase": "gone"}, "died"),
        ({"settling": True}, "suspended"),
        ({"real_time": False, "governed": False}, "cannot be kept away"),
        ({"real_time": False, "processors": frozenset({1})}, "one processor"),
        ({"need": None, "processors": frozenset({1})}, "not known"),
    ],
)
def test_in_doubt_ai_stands_still(more, words):
    decision = decide(view(**more))
    assert decision.pause
    assert words in decision.reason


@pytest.mark.parametrize("more", [{"need": None}, {"phase": "starting"}, {"need": 0.8}, {"real_time": False}])
def test_ai_keeps_off_the_radios_processor(more):
    assert decide(view(**more)).processors == {0}


def test_a_processor_that_was_left_is_taken_back_later_than_it_was_left():
    assert decide(view(need=0.6)).processors == BOTH
    assert decide(view(need=0.6, ceded=True)).processors == {0}
    assert decide(view(need=0.5, ceded=True)).processors == BOTH


def test_a_radio_that_ended_leaves_everything():
    assert decide(view(phase="none", need=None)).processors == BOTH


def run(promise, rates, idle=1.8, wanted=True):
    for rate in rates:
        promise.second(int(rate * idle), idle, wanted, promise.rate(idle), idle)


def test_a_promise_is_kept_in_nineteen_windows_of_twenty():
    random = np.random.default_rng(0)
    promise = Promise()
    run(promise, 400 + 60 * np.sin(np.arange(3000) / 7) + random.normal(0, 30, 3000))
    assert promise.kept + promise.broken > 250
    assert promise.share_kept >= 0.95
    assert promise.rate(1.8) > 0.75 * 400 * 1.8, "careful is good, timid is not"


def test_a_promise_comes_down_when_the_machine_becomes_slower():
    promise = Promise()
    run(promise, [400] * 300)
    before = promise.rate(1.8)
    run(promise, [200] * 120)
    assert promise.rate(1.8) < 0.55 * before
    assert promise.broken <= 5


def test_nothing_is_promised_before_anything_was_measured():
    promise = Promise()
    assert promise.rate(2.0) == 0.0
    assert promise.share_kept is None


def test_windows_without_enough_to_do_count_neither_way():
    promise = Promise()
    run(promise, [400] * 5)
    run(promise, [0] * 100, wanted=False)
    assert promise.kept + promise.broken == 0
    assert promise.per_idle_s == pytest.approx(400, rel=0.01)
    run(promise, [400] * WINDOW)
    assert promise.kept == 1
