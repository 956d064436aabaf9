"""Find this machine's energy sensors: NVML for NVIDIA GPUs; RAPL and hwmon for processors.

Each search answers `Found`, or `Missing` with a sentence that says why and what to do about it.
"""

import importlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from aigrid.ledger.energy_gauges import MJ, UJ, Counter, Gauge, Power

CPU_CHIPS = ("amd_energy", "zenpower", "fam15h_power", "xgene", "power_meter")
"""hwmon drivers that see processors (the last: the whole machine). Others see batteries, disks and GPUs."""


class Found(NamedTuple):
    """Gauges of one kind and a sentence about them."""

    name: str
    what: str
    gauges: list[Gauge]


class Missing(NamedTuple):
    """Why there is no such sensor, and how to mend it."""

    why: str


def find_nvml(now_ns: int, nvml: Any = None) -> Found | Missing:
    """Find all NVIDIA GPUs; one without an energy counter (before Volta) has its power integrated."""
    try:
        nvml = nvml or importlib.import_module("pynvml")
        nvml.nvmlInit()
        handles = [nvml.nvmlDeviceGetHandleByIndex(i) for i in range(nvml.nvmlDeviceGetCount())]
    except Exception as error:
        return Missing(f"NVML is not used: {error}")
    if not handles:
        return Missing("NVML is not used: it sees no GPU")
    gauges: list[Gauge] = []
    blind: list[str] = []
    for i, handle in enumerate(handles):
        gauge = _gpu(nvml, handle, now_ns)
        if gauge:
            gauges.append(gauge)
        else:
            blind.append(str(i))
    if not gauges:
        return Missing("NVML is not used: its GPUs show neither energy nor power")
    counters = sum(isinstance(gauge, Counter) for gauge in gauges)
    how = f"{counters} by energy counter, {len(gauges) - counters} by integrated power"
    lost = f"; GPU {', '.join(blind)} shows neither and is not counted" if blind else ""
    return Found("nvml", f"NVML measures {len(gauges)} GPU(s): {how}{lost}", gauges)


def _gpu(nvml: Any, handle: Any, now_ns: int) -> Gauge | None:
    def energy_mj() -> int:
        return int(nvml.nvmlDeviceGetTotalEnergyConsumption(handle))

    def power_uw() -> int:
        return int(nvml.nvmlDeviceGetPowerUsage(handle)) * 1000

    try:
        return Counter(energy_mj, MJ, now_ns)
    except Exception:
        pass
    try:
        return Power(power_uw, now_ns)
    except Exception:
        return None


def find_rapl(now_ns: int, root: Path = Path("/")) -> Found | Missing:
    """Find the processors' own energy counters: package domains only, for the others are parts of them."""
    folder = root / "sys/class/powercap"
    gauges: list[Gauge] = []
    # intel-rapl:0 and intel-rapl-mmio:0 are two doors to one counter: take the first kind only
    for domain in sorted(folder.glob("intel-rapl:*")):
        try:
            if not (domain / "name").read_text().startswith("package"):
                continue
            wraps_at = int((domain / "max_energy_range_uj").read_text())
            gauges.append(Counter(_reader(domain / "energy_uj"), UJ, now_ns, wraps_at))
        except PermissionError:
            path = domain / "energy_uj"
            return Missing(f"RAPL is not used: {path} may only be read by root; `sudo chmod a+r {path}` allows it")
        except (OSError, ValueError) as error:
            return Missing(f"RAPL is not used: {domain} cannot be read: {error}")
    if not gauges:
        return Missing(
            f"RAPL is not used: {folder} has no package domain (usual in virtual machines and containers; "
            "on bare metal try `sudo modprobe intel_rapl_msr`)"
        )
    return Found("rapl", f"RAPL measures {len(gauges)} processor package(s)", gauges)


def find_hwmon(now_ns: int, root: Path = Path("/")) -> Found | Missing:
    """Find a hardware monitor of the processors: its energy counters, else its power."""
    folder = root / "sys/class/hwmon"
    chips: dict[str, list[Path]] = {}
    for chip in sorted(folder.glob("hwmon*")):
        try:
            chips.setdefault((chip / "name").read_text().strip(), []).append(chip)
        except OSError:
            continue
    for name in CPU_CHIPS:
        gauges: list[Gauge] = []
        for chip in chips.get(name, []):
            gauges += _energies(chip, now_ns) or _powers(chip, now_ns)
        if gauges:
            return Found("hwmon", f"hwmon measures the processors by {name}", gauges)
    seen = f" (only {', '.join(sorted(chips))})" if chips else ""
    return Missing(f"hwmon is not used: {folder} has no processor sensor that can be read{seen}")


def _energies(chip: Path, now_ns: int) -> list[Gauge]:
    inputs = sorted(chip.glob("energy*_input"))
    sockets = [path for path in inputs if "socket" in _label(path)]  # cores are parts of sockets
    return _made(sockets or inputs, lambda path: Counter(_reader(path), UJ, now_ns))


def _powers(chip: Path, now_ns: int) -> list[Gauge]:
    inputs = sorted(chip.glob("power*_input")) or sorted(chip.glob("power*_average"))
    return _made(inputs, lambda path: Power(_reader(path), now_ns))


def _made(paths: list[Path], make: Callable[[Path], Gauge]) -> list[Gauge]:
    gauges = []
    for path in paths:
        try:
            gauges.append(make(path))
        except (OSError, ValueError):
            continue
    return gauges


def _label(path: Path) -> str:
    try:
        return path.with_name(path.name.replace("_input", "_label")).read_text().lower()
    except OSError:
        return ""


def _reader(path: Path) -> Callable[[], int]:
    """Return a function that reads a number from a sysfs file."""
    name = os.fspath(path)

    def read() -> int:
        with open(name, "rb", buffering=0) as file:
            return int(file.read(64))

    return read
