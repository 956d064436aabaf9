"""The meter's total is the records' energy plus idle plus what open holds have gathered, to the last unit."""

from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aigrid.core.clock import SECOND
from aigrid.ledger.attribution import Attribution, MeterRow, NoMeter
from aigrid.ledger.energy import Sample

KWH = 3_600_000_000


def total_of(row: MeterRow) -> list[int]:
    return [row.total_mj, row.total_energy_nusd, row.total_hardware_nusd]


def idle_of(row: MeterRow) -> list[int]:
    return [row.idle_mj, row.idle_energy_nusd, row.idle_hardware_nusd]


def hold(local: bool = True, started: int = 0) -> SimpleNamespace:
    return SimpleNamespace(
        local=local, started=started, ended=0, prompt_tokens=0, completion_tokens=0, weight_mark=0, energy_mj=0,
        energy_nusd=0, hardware_nusd=0, energy_source="",
    )  # fmt: skip


def attribution(energy: int = 150_000_000, hardware: int = 20_000_000) -> Attribution:
    return Attribution(SimpleNamespace(energy_nusd_per_kwh=energy, hardware_nusd_per_hour=hardware), "local")


intervals = st.lists(
    st.tuples(
        st.integers(0, 10**7),  # energy
        st.integers(1, 10**11),  # interval
        st.integers(0, 10**11),  # idle
        st.lists(st.tuples(st.integers(0, 5), st.integers(0, 1000), st.integers(0, 5000)), max_size=4),  # counts
        st.lists(st.integers(0, 5), max_size=3),  # holds that leave
    ),
    max_size=12,
)


@settings(deadline=None)
@given(st.integers(0, 10**9), st.integers(0, 10**9), st.lists(st.booleans(), min_size=1, max_size=6), intervals)
def test_nothing_metered_is_lost_or_invented(energy_price, hardware_price, sites, steps):
    meter = attribution(energy_price, hardware_price)
    holds = {number: hold(local) for number, local in enumerate(sites)}
    total, idle, left, now, given_out = [0, 0, 0], [0, 0, 0], [0, 0, 0], 0, 0
    for energy, interval, idle_ns, counts, leaving in steps:
        for number, completion, prompt in counts:
            if number in holds:
                holds[number].completion_tokens += completion
                holds[number].prompt_tokens = prompt
        meter.share(Sample(energy, interval, "test"), idle_ns, now, now + interval, list(holds.values()))
        now += interval
        given_out += energy
        for number in leaving:
            if number in holds:
                one = holds.pop(number)
                amounts = (one.energy_mj, one.energy_nusd, one.hardware_nusd)
                meter.leave(*amounts)
                left = [a + b for a, b in zip(left, amounts, strict=True)]
        row = meter.row(now)
        total = [a + b for a, b in zip(total, total_of(row), strict=True)]
        idle = [a + b for a, b in zip(idle, idle_of(row), strict=True)]
        still = [
            sum(getattr(one, name) for one in holds.values()) for name in ("energy_mj", "energy_nusd", "hardware_nusd")
        ]
        assert [row.open_mj, row.open_energy_nusd, row.open_hardware_nusd] == still
        assert total == [a + b + c for a, b, c in zip(left, idle, still, strict=True)]
    assert total[0] == given_out
    assert 0 <= given_out * energy_price - total[1] * KWH < KWH
    assert 0 <= now * hardware_price - total[2] * 3600 * SECOND < 3600 * SECOND


def test_energy_goes_by_tokens_and_a_completion_token_weighs_ten():
    meter, busy, read, quiet = attribution(), hold(), hold(), hold()
    busy.completion_tokens, read.prompt_tokens = 30, 100
    meter.share(Sample(4000, SECOND, "rapl"), 0, 0, SECOND, [busy, read, quiet])
    assert (busy.energy_mj, read.energy_mj, quiet.energy_mj) == (3000, 1000, 0)
    assert (busy.energy_source, quiet.energy_source) == ("rapl", "")
    busy.completion_tokens += 1
    meter.share(Sample(70, SECOND, "rapl"), 0, SECOND, 2 * SECOND, [busy, read, quiet])
    assert (busy.energy_mj, read.energy_mj) == (3070, 1000)


def test_without_tokens_energy_goes_by_time():
    meter, early, late, gone = attribution(), hold(started=0), hold(started=750), hold(started=0)
    gone.ended = 250
    meter.share(Sample(1500, SECOND, "x"), 0, 0, 1000, [early, late, gone])
    assert (early.energy_mj, late.energy_mj, gone.energy_mj) == (1000, 250, 250)


def test_requests_served_here_pay_for_this_machine_before_relayed_ones():
    meter, here, relayed = attribution(), hold(), hold(local=False)
    here.completion_tokens = relayed.completion_tokens = 5
    meter.share(Sample(100, SECOND, "x"), 0, 0, SECOND, [here, relayed])
    assert (here.energy_mj, relayed.energy_mj) == (100, 0)
    meter.share(Sample(100, SECOND, "x"), 0, SECOND, 2 * SECOND, [relayed])
    assert relayed.energy_mj == 100


def test_time_in_which_nothing_was_open_is_idle():
    meter, one = attribution(), hold()
    one.completion_tokens = 1
    meter.share(Sample(1000, SECOND, "x"), SECOND * 3 // 4, 0, SECOND, [one])
    meter.share(Sample(500, SECOND, "x"), 0, SECOND, 2 * SECOND, [])
    row = meter.row(0)
    assert (one.energy_mj, row.idle_mj, row.total_mj, row.open_mj) == (250, 1250, 1500, 250)


def test_sources_that_change_are_said_to_be_mixed():
    meter, one = attribution(), hold()
    for source in ("nvml", "nvml", "estimate"):
        one.completion_tokens += 1
        meter.share(Sample(10, SECOND, source, False, "why"), 0, 0, SECOND, [one])
    assert one.energy_source == "mixed"
    assert meter.row(0).source == "mixed"


def test_doubts_about_a_sample_stand_on_the_meter_row():
    meter = attribution()
    meter.share(Sample(10, SECOND, "nvml", False, "a gap of 5 s"), 0, 0, SECOND, [])
    assert meter.row(0).note == "a gap of 5 s"


@pytest.mark.parametrize("seconds", [1, 3600])
def test_an_hour_of_hardware_costs_what_it_should_however_it_is_cut(seconds):
    meter = attribution(hardware=20_000_001)
    for _ in range(3600 // seconds):
        meter.share(Sample(0, seconds * SECOND, "x"), 0, 0, 1, [])
    assert meter.row(0).total_hardware_nusd == 20_000_001


def test_without_a_meter_time_still_passes():
    meter = NoMeter()
    assert meter.sample().energy_mj == 0
    assert meter.sample().interval_ns >= 0
