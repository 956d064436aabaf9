"""What a radio is given to do: files are refused where they are wrong, naming the row; the generator is as measured."""

import csv
from pathlib import Path

import numpy as np
import pytest

from aigrid.core.errors import BadRequest
from aigrid.ran.generate import BUSY_FACTOR, CELLS, DOWN_QUANTILES, UP_QUANTILES, fit, generate
from aigrid.ran.trace import read

PROFILE = Path(__file__).parents[3] / "shared/data/grid/ran_load_profile.csv"
SITES = {"ElBorn": "event", "LesCorts": "steady", "PobleSec": "town"}


@pytest.fixture
def file(tmp_path):
    def write(*rows, head="slot,direction,prb,mcs"):
        path = tmp_path / "trace.csv"
        path.write_text("\n".join([head, *rows]) + "\n")
        return path

    return write


def test_slots_are_read(file):
    trace = read(file("0,dl,10,5", "0,ul,0,0", "1,dl,51,27", "1,UL,3,9"))
    assert trace.downlink_prb.tolist() == [10, 51]
    assert trace.uplink_mcs.tolist() == [0, 9]
    assert trace.seconds == 0.001


def test_times_are_steps_of_slots_and_a_missing_direction_is_idle(file):
    trace = read(file("0.0,dl,10,5", "0.01,dl,20,6", "0.02,dl,0,0", head="time,direction,prb,mcs"))
    assert trace.step_slots == 20
    assert trace.uplink_prb.tolist() == [0, 0, 0]
    assert trace.seconds == pytest.approx(0.03)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["0,dl,1,1", "2,dl,1,1"], "row 3: slot is 2 after 0, where 1 was expected"),
        (["0,dl,1,1", "0,dl,1,1"], "row 3: slot is 0 after 0"),
        (["0,dl,-1,1"], "row 2: prb is -1; it must be from 0 to 51"),
        (["0,dl,52,1"], "row 2: prb is 52"),
        (["0,dl,99999999999999999999,1"], "row 2: prb"),
        (["0,dl,1,28"], "row 2: mcs is 28; it must be from 0 to 27"),
        (["0,dl,1.5,2"], "row 2: prb is '1.5'"),
        (["0,dl,nan,2"], "row 2: prb is 'nan'"),
        (["0,dl,,2"], "row 2: prb is ''"),
        (["0,dl,٣,2"], "row 2: prb"),
        (["-1,dl,1,2"], "row 2: slot is -1; it must not be negative"),
        (["1e400,dl,1,2"], "row 2: slot is '1e400', which is not a number"),
        (["0,up,1,2"], "row 2: direction is 'up'; it must be dl or ul"),
        (["0,dl,1"], "row 2: it has not as many fields"),
        (["0,dl,1,2,3"], "row 2: it has not as many fields"),
        (["0,dl,1,1", "1,dl,1,1", "0,ul,1,1"], "dl has 2 rows from 0, ul 1 from 0"),
        ([], "holds no rows"),
    ],
)
def test_bad_rows_are_refused_by_name(file, rows, message):
    with pytest.raises(BadRequest) as caught:
        read(file(*rows))
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["0,dl,1,1", "0.01,dl,1,1", "0.03,dl,1,1"], "row 4: time is 0.03 after 0.01, where 0.02 was expected"),
        (["0,dl,1,1", "nan,dl,1,1"], "row 3: time is nan"),
        (["0,dl,1,1", "inf,dl,1,1"], "row 3: time is inf"),
        (["0,dl,1,1", "0.0003,dl,1,1"], "not whole slots"),
    ],
)
def test_bad_times_are_refused(file, rows, message):
    with pytest.raises(BadRequest) as caught:
        read(file(*rows, head="time,direction,prb,mcs"))
    assert message in caught.value.message


def test_files_that_are_no_traces_are_refused(file, tmp_path):
    with pytest.raises(BadRequest, match="no column prb"):
        read(file("0,dl,1", head="slot,direction,mcs"))
    with pytest.raises(BadRequest, match="cannot read"):
        read(tmp_path / "missing.csv")
    binary = tmp_path / "binary.csv"
    binary.write_bytes(b"\xff\xfe\x00\x01slot")
    with pytest.raises(BadRequest, match="not a CSV text file"):
        read(binary)
    with pytest.raises(BadRequest, match="row 2: prb is 30; it must be from 0 to 24"):
        read(file("0,dl,30,1"), 24)


def test_generator_repeats_by_its_seed_and_grows_with_its_scale():
    one, again, other = (generate("town", seconds=20, seed=seed) for seed in (1, 1, 2))
    assert (one.downlink_prb == again.downlink_prb).all()
    assert (one.downlink_prb != other.downlink_prb).any()
    quiet = np.mean([generate("town", seconds=30, seed=seed).downlink_prb.mean() for seed in range(8)])
    busy = np.mean(
        [generate("town", seconds=30, seed=seed, scale=BUSY_FACTOR).downlink_prb.mean() for seed in range(8)]
    )
    assert busy > 3 * quiet
    assert generate("event", seconds=1, scale=0).downlink_prb.max() == 0
    for wrong in ({"cell": "moon"}, {"hour": 24}, {"seconds": 0}, {"scale": float("nan")}):
        with pytest.raises(BadRequest):
            generate(**wrong)


def test_generated_means_spread_as_the_fit_says():
    """Two-minute means over many seeds: the median within a fifth of the fit's."""
    means = [generate("steady", hour=20, seconds=2, seed=seed).downlink_prb.mean() / 51 for seed in range(400)]
    low, high = CELLS["steady"].quantiles(20)[0][[0, 3]]
    assert low * 0.6 < np.mean(means) < high * 1.4


@pytest.mark.skipif(not PROFILE.exists(), reason="the measured profile is not on this machine")
@pytest.mark.parametrize("site", SITES)
def test_fit_is_of_the_measured_cells(site):
    with PROFILE.open() as file:
        rows = [row for row in csv.DictReader(file) if row["site"] == site]
    cell = CELLS[SITES[site]]
    for level, kept in zip(DOWN_QUANTILES, cell.down, strict=True):
        assert fit(rows, f"rb_down_p{round(100 * level)}") == pytest.approx(kept, abs=0.002)
    for level, kept in zip(UP_QUANTILES, cell.up, strict=True):
        assert fit(rows, f"rb_up_p{round(100 * level)}") == pytest.approx(kept, abs=0.002)
    assert cell.correlation == float(rows[0]["rb_down_lag1_autocorr"])
    measured = np.array([float(row["rb_down_p50"]) for row in rows])
    fitted = np.array([cell.quantiles(int(row["hour"]))[0][1] for row in rows])
    assert np.median(np.abs(np.log(fitted / measured))) < 0.2
