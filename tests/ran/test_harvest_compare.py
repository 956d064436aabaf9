"""How a comparison counts: pairs within rounds, cycles that were left, intervals from rounds."""

import pytest

from aigrid.ran.harvest.compare import Slice, busy_ns, figures


def slices(rounds=8, late=3, added=40):
    found = []
    for at in range(rounds):
        noise = at % 3  # of the machine, the same for all of a round
        found += [
            Slice("radio", at, 5.0, 5000, late + noise, 1.0, ticks=(1,) * 64),
            Slice("ai", at, 5.0, engine_cpu=9.5, tokens=4000),
            Slice("plain", at, 5.0, 5000, late + noise + added, 1.0, 0.0, 8.0, 3600, ticks=(1,) * 64),
            Slice("harvester", at, 5.0, 5000, late + noise, 1.0, 2.0, 6.3, 2520, ticks=(1,) * 64),
        ]
    return found


def test_what_the_machine_does_by_itself_cancels_within_a_round():
    found = figures(slices(), 2)
    assert found["harvester"]["added_misses"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert found["plain"]["added_misses"]["low"] == pytest.approx(80.0)
    assert found["radio"]["on_time"]["low"] < found["radio"]["on_time"]["value"] < found["radio"]["on_time"]["high"]
    assert "on_time" not in found["ai"]


def test_cycles_that_others_took_cannot_be_harvested():
    found = figures(slices(), 2)
    assert found["plain"]["reclaimed"]["value"] == pytest.approx(8.0 / 9.0)
    assert found["harvester"]["reclaimed"]["value"] == pytest.approx(6.3 / 7.0)
    assert found["plain"]["of_idle_share"]["value"] == pytest.approx((3600 / 9.0) / (4000 / 10.0))
    assert found["harvester"]["of_idle_share"]["value"] == pytest.approx((2520 / 7.0) / (4000 / 10.0))
    assert found["harvester"]["of_alone"]["value"] == pytest.approx(0.63)


def test_the_machines_busy_time_grows():
    before = busy_ns()
    sum(range(10_000_000))
    assert busy_ns() > before
