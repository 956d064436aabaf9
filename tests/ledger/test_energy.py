"""The meter loses nothing, invents nothing, and says when it may be wrong."""

import os
import time
from pathlib import Path
from types import SimpleNamespace

from hypothesis import given, settings
from hypothesis import strategies as st

from aigrid.ledger.energy import STRIKES, find_meter, guess_tdp_w
from aigrid.ledger.energy_gauges import MJ, UJ, Counter, Load, Power
from aigrid.ledger.energy_sensors import find_rapl

SECOND = 1_000_000_000


class Clock:
    def __init__(self) -> None:
        self.now = 5 * SECOND

    def __call__(self) -> int:
        return self.now

    def pass_s(self, seconds: float) -> None:
        self.now += round(seconds * SECOND)


class FakeNvml:
    """GPUs with an energy counter (mJ), or with power only (mW)."""

    def __init__(self, *gpus: dict[str, int]) -> None:
        self.gpus = list(gpus)
        self.broken = False

    def nvmlInit(self) -> None:
        pass

    def nvmlDeviceGetCount(self) -> int:
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def _read(self, handle: int, what: str) -> int:
        if self.broken or what not in self.gpus[handle]:
            raise RuntimeError("GPU is lost" if self.broken else "Not Supported")
        return self.gpus[handle][what]

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: int) -> int:
        return self._read(handle, "energy")

    def nvmlDeviceGetPowerUsage(self, handle: int) -> int:
        return self._read(handle, "power")


NO_GPU = FakeNvml()


def write(path: Path, value: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{value}\n")
    return path


def rapl(root: Path, number: int = 0, uj: int = 0, wraps_at: int = 262_143_328_850) -> Path:
    domain = root / f"sys/class/powercap/intel-rapl:{number}"
    write(domain / "name", f"package-{number}")
    write(domain / "max_energy_range_uj", wraps_at)
    write(root / f"sys/class/powercap/intel-rapl:{number}:0/name", "core")
    write(root / f"sys/class/powercap/intel-rapl:{number}:0/energy_uj", 77)
    return write(domain / "energy_uj", uj)


def stat(root: Path, busy: int, idle: int) -> Path:
    return write(root / "proc/stat", f"cpu  {busy} 0 0 {idle} 0 0 0 0 0 0\ncpu0 1 2 3 4 5 6 7 8 9 0")


# --- gauges


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2 * SECOND), st.integers(0, 500_000_000)), min_size=1, max_size=40))
def test_integrated_power_is_the_exact_trapezoid(steps):
    value = [steps[0][1]]
    gauge = Power(lambda: value[0], 0)
    now, total, expected, last = 0, 0, 0, steps[0][1]
    for elapsed, power in steps:
        now, value[0] = now + elapsed, power
        total += gauge.advance(now).energy
        expected += (last + power) * elapsed
        last = power
    assert total == expected


@settings(deadline=None)
@given(st.integers(10**6, 10**9), st.lists(st.integers(0, 10**6 - 1), max_size=60))
def test_a_wrapping_counter_loses_nothing(wraps_at, rises):
    true = [wraps_at - 1]
    gauge = Counter(lambda: true[0] % wraps_at, UJ, 0, wraps_at)
    total = 0
    for i, rise in enumerate(rises):
        true[0] += rise
        reading = gauge.advance(i * SECOND // 100)
        assert reading.reason == "" or "more than once" in reading.reason
        total += reading.energy
    assert total == sum(rises) * UJ


def test_a_reset_counter_counts_nothing_and_says_so():
    value = [10_000]
    gauge = Counter(lambda: value[0], MJ, 0)
    value[0] = 4
    assert gauge.advance(SECOND) == (0, "energy counter went backwards")
    value[0] = 6
    assert gauge.advance(2 * SECOND) == (2 * MJ, "")


def test_an_impossible_jump_is_not_billed():
    value = [262_000_000_000]
    gauge = Counter(lambda: value[0], UJ, 0, 262_143_328_850)
    value[0] = 100_000_000_000  # a reset that looks like a wrap of 100 kJ within a second
    assert gauge.advance(SECOND) == (0, "energy counter jumped")


def test_a_gap_between_power_readings_is_counted_and_flagged():
    gauge = Power(lambda: 1_000_000, 0)
    energy, reason = gauge.advance(3 * SECOND)
    assert (energy, reason) == (3000 * MJ, "")
    energy, reason = gauge.advance(7 * SECOND)
    assert energy == 4000 * MJ
    assert reason == "gap of 4.0 s between power readings"


def test_the_estimate_follows_the_cube_of_load(tmp_path):
    path = stat(tmp_path, busy=0, idle=1000)
    gauge = Load(path, 100_000_000, 0)
    assert gauge.advance(SECOND).energy == 10_000 * MJ  # nothing ticked: as idle as since boot
    stat(tmp_path, busy=100, idle=1100)
    assert gauge.advance(2 * SECOND).energy == 21_250 * MJ  # half load: 100 W·(0.1 + 0.9/8)
    stat(tmp_path, busy=200, idle=1100)
    assert gauge.advance(3 * SECOND).energy == 100_000 * MJ
    stat(tmp_path, busy=150, idle=1300)  # counters of iowait and guests may go back
    assert gauge.advance(4 * SECOND).energy == 10_000 * MJ


def test_stolen_time_heats_somebody_elses_machine(tmp_path):
    path = write(tmp_path / "stat", "cpu 0 0 0 50 0 0 0 50 0 0")
    assert Load(path, 100_000_000, 0).advance(1000).energy == 2 * 10_000_000 * 1000


def test_an_unreadable_stat_is_a_reason_not_an_error(tmp_path):
    reading = Load(tmp_path / "nothing", 10_000_000, 0).advance(SECOND)
    assert reading.energy == 1000 * MJ
    assert "cannot read" in reading.reason


# --- meters


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 10**7), st.integers(0, SECOND)), max_size=30))
def test_samples_sum_to_the_counters_to_the_millijoule(tmp_path_factory, steps):
    root, clock = tmp_path_factory.mktemp("sys"), Clock()
    files = [rapl(root, 0, 900), rapl(root, 1, 5)]
    meter = find_meter(root=root, nvml=NO_GPU, clock=clock)
    total_uj = total_mj = 0
    for uj, elapsed in steps:
        total_uj += uj
        clock.now += elapsed
        part = uj // 3
        write(files[0], int(files[0].read_text()) + part)
        write(files[1], int(files[1].read_text()) + uj - part)
        sample = meter.sample()
        assert sample.valid
        assert sample.interval_ns == elapsed
        total_mj += sample.energy_mj
    assert total_mj == total_uj // 1000


def test_gpu_and_cpu_add_up(tmp_path):
    nvml = FakeNvml({"energy": 1000, "power": 1}, {"power": 50_000})
    clock, file = Clock(), rapl(tmp_path, uj=1000)
    meter = find_meter(root=tmp_path, nvml=nvml, clock=clock)
    clock.pass_s(2)
    nvml.gpus[0]["energy"] = 1300
    write(file, 5_001_000)
    sample = meter.sample()
    assert (sample.energy_mj, sample.source, sample.valid) == (300 + 100_000 + 5_000, "nvml+rapl", True)
    assert "1 by energy counter, 1 by integrated power" in meter.describe()


def test_hwmon_follows_rapl_and_ignores_cores_batteries_and_disks(tmp_path):
    clock, folder = Clock(), tmp_path / "sys/class/hwmon"
    write(folder / "hwmon0/name", "BAT0")
    write(folder / "hwmon0/power1_input", 9_000_000)
    write(folder / "hwmon1/name", "amd_energy")
    write(folder / "hwmon1/energy1_label", "Ecore000")
    write(folder / "hwmon1/energy1_input", 0)
    write(folder / "hwmon1/energy2_label", "Esocket0")
    socket = write(folder / "hwmon1/energy2_input", 0)
    meter = find_meter(root=tmp_path, nvml=NO_GPU, clock=clock)
    clock.pass_s(1)
    write(folder / "hwmon1/energy1_input", 3_000_000)
    write(socket, 7_000_000)
    assert meter.sample().energy_mj == 7000
    assert meter.source == "hwmon"


def test_hwmon_power_is_integrated(tmp_path):
    clock, folder = Clock(), tmp_path / "sys/class/hwmon/hwmon3"
    write(folder / "name", "fam15h_power")
    power = write(folder / "power1_input", 10_000_000)
    meter = find_meter(root=tmp_path, nvml=NO_GPU, clock=clock)
    clock.pass_s(2)
    write(power, 20_000_000)
    assert meter.sample().energy_mj == 30_000


def test_forbidden_rapl_says_how_to_allow_it(tmp_path, monkeypatch):
    path = rapl(tmp_path)
    if os.geteuid() == 0:  # root may read everything: refuse it by hand
        opened = open

        def refuse(name, *args, **kwargs):
            if name == os.fspath(path):
                raise PermissionError(13, "Permission denied")
            return opened(name, *args, **kwargs)

        monkeypatch.setattr("builtins.open", refuse)
    else:
        path.chmod(0)
    stat(tmp_path, 0, 100)
    meter = find_meter(root=tmp_path, nvml=NO_GPU)
    assert meter.source == "estimate"
    assert f"sudo chmod a+r {path}" in meter.describe()


def test_a_sensor_that_dies_is_replaced_and_no_energy_of_the_rest_is_lost(tmp_path):
    clock, nvml = Clock(), FakeNvml({"energy": 0})
    path = rapl(tmp_path)
    stat(tmp_path, 0, 100)
    meter = find_meter(10.0, root=tmp_path, nvml=nvml, clock=clock)
    path.unlink()
    for _ in range(STRIKES):
        clock.pass_s(1)
        nvml.gpus[0]["energy"] += 5
        sample = meter.sample()
        assert not sample.valid
        assert "energy_uj" in sample.reason
        assert (sample.energy_mj, sample.source) == (5, "nvml+rapl")
    clock.pass_s(1)
    nvml.gpus[0]["energy"] += 5
    sample = meter.sample()
    assert (sample.energy_mj, sample.source, sample.valid) == (1005, "nvml+estimate", True)
    assert "rapl was given up" in meter.describe()


def test_a_short_failure_of_a_counter_is_made_up_for(tmp_path):
    clock, nvml = Clock(), FakeNvml({"energy": 0})
    stat(tmp_path, 0, 100)
    meter = find_meter(10.0, root=tmp_path, nvml=nvml, clock=clock)
    nvml.gpus[0]["energy"] = 100
    clock.pass_s(1)
    nvml.broken = True
    assert (meter.sample().energy_mj, meter.sample().valid) == (1000, False)
    nvml.broken = False
    sample = meter.sample()
    assert (sample.energy_mj, sample.valid) == (100, True)


def test_a_lost_gpu_stays_a_reason_for_doubt(tmp_path):
    clock, nvml = Clock(), FakeNvml({"energy": 0})
    stat(tmp_path, 0, 100)
    meter = find_meter(10.0, root=tmp_path, nvml=nvml, clock=clock)
    nvml.broken = True
    for _ in range(STRIKES + 2):
        sample = meter.sample()
    assert sample.source == "estimate"
    assert not sample.valid
    assert "GPU energy is missing" in sample.reason


def test_the_clock_on_the_wall_may_step(tmp_path, monkeypatch):
    stat(tmp_path, 0, 100)
    meter = find_meter(10.0, root=tmp_path, nvml=NO_GPU)
    monkeypatch.setattr(time, "time_ns", lambda: 0)
    monkeypatch.setattr(time, "time", lambda: 0.0)
    sample = meter.sample()
    assert sample.valid
    assert 0 <= sample.interval_ns < 60 * SECOND
    assert sample.energy_mj <= 10 * 60_000


def test_a_clock_that_stands_still_or_goes_back_makes_no_energy(tmp_path):
    clock = Clock()
    stat(tmp_path, 0, 100)
    meter = find_meter(10.0, root=tmp_path, nvml=NO_GPU, clock=clock)
    assert (meter.sample().energy_mj, meter.sample().interval_ns) == (0, 0)
    clock.pass_s(-2)
    sample = meter.sample()
    assert (sample.energy_mj, sample.interval_ns) == (0, 0)


def test_a_machine_without_sensors_still_has_a_meter_that_says_so(tmp_path):
    meter = find_meter(root=tmp_path, nvml=SimpleNamespace())
    text = meter.describe()
    assert text.startswith("Energy is taken from estimate. NVML is not used")
    assert "RAPL is not used" in text
    assert "hwmon is not used" in text
    assert "site.tdp_w" in text
    assert not meter.sample().valid  # not even /proc/stat


def test_core_domains_are_not_counted_twice(tmp_path):
    rapl(tmp_path, 0)
    rapl(tmp_path, 1)
    assert len(find_rapl(0, tmp_path).gauges) == 2


def test_the_guess_of_full_power_has_a_floor():
    assert (guess_tdp_w(1), guess_tdp_w(2), guess_tdp_w(16)) == (15, 16, 128)
