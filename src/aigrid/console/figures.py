"""Numbers as people read them: three significant digits, SI prefixes, always a unit."""

from collections.abc import Sequence
from datetime import UTC, datetime

from aigrid.core.clock import SECOND
from aigrid.ledger.prices import NUSD

NBSP = "\u00a0"
"""A no-break space: between a number and its unit."""

_PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"))


def digits(value: float, significant: int = 3) -> str:
    """Return a number of at least 1 (or 0) with so many significant digits; never an exponent."""
    size = abs(value)
    decimals = significant - 1 if size < 10 else significant - 2 if size < 100 else significant - 3
    return f"{value:,.{max(0, decimals)}f}"


def si(value: float, unit: str) -> str:
    """Return `value` with an SI prefix and its unit: `1.24 M tok/h`, `830 mJ`."""
    if value == 0:
        return f"0{NBSP}{unit}"
    scale, prefix = next((pair for pair in _PREFIXES if abs(value) >= pair[0] * 0.9995), _PREFIXES[-1])
    return f"{digits(value / scale)}{NBSP}{prefix}{unit}"


def count(value: int) -> str:
    """Return a whole number: with separators below a hundred thousand, with a prefix above."""
    return f"{value:,}" if abs(value) < 100_000 else si(value, "").rstrip(NBSP)


def tokens_per_hour(value: float) -> str:
    """Return a rate of tokens, whole below 1,000."""
    return f"{round(value)}{NBSP}tok/h" if value < 1000 else si(value, f"{NBSP}tok/h")


def joules(mj: int | float | None) -> str:
    """Return millijoules as J, with a prefix; a dash where there is nothing to show."""
    return "–" if mj is None else si(mj / 1000, "J")


def joules_per_token(mj_per_token: float | None) -> str:
    """Return energy per token; a dash where there were no tokens, or where nobody measured."""
    return "–" if not mj_per_token else si(mj_per_token / 1000, "J/token")


def dollars(nusd: int | None) -> str:
    """Return nano-dollars as $: cents where it is a dollar or more, else two significant digits, exact in sign."""
    if nusd is None:
        return "–"
    if abs(nusd) >= 100_000 * NUSD:
        return f"{'−' if nusd < 0 else ''}${si(abs(nusd) / NUSD, '').rstrip(NBSP)}"
    return _fixed(nusd, _places(nusd)) if nusd else "$0"


def dollars_column(amounts: Sequence[int]) -> list[str]:
    """Return amounts to stand below each other, with equally many decimals.

    That is what the smallest needs, but at most two more than the largest.
    """
    needed = [_places(amount) for amount in amounts if amount]
    places = min(max(needed), min(needed) + 2) if needed else 2
    return [_fixed(amount, places) if amount else "$0" for amount in amounts]


def _places(nusd: int) -> int:
    """Return the decimals that show two significant digits of an amount: 2 from ten cents on, 9 at most."""
    return next((places for places in range(2, 9) if _units(nusd, places) >= 10), 9)


def _units(nusd: int, places: int) -> int:
    """Return the size of an amount in units of the last decimal, half a unit rounded up."""
    unit: int = 10 ** (9 - places)
    return (abs(nusd) + unit // 2) // unit


def _fixed(nusd: int, places: int) -> str:
    whole, part = divmod(_units(nusd, places), 10**places)
    return f"{'−' if nusd < 0 else ''}${whole:,}.{part:0{places}d}"


def percent(part: float, whole: float) -> str:
    """Return a share; a dash where there is no whole."""
    return "–" if not whole else f"{100 * part / whole:.0f}{NBSP}%"


def duration(ns: int | None) -> str:
    """Return a length of time: `830 ms`, `2.4 s`, `3 min 20 s`, `5 h 12 min`."""
    if ns is None:
        return "–"
    seconds = ns / SECOND
    if seconds < 0.9995:
        return f"{digits(seconds * 1000) if seconds < 0.1 else round(seconds * 1000)}{NBSP}ms"
    if seconds < 59.95:
        return f"{seconds:.1f}{NBSP}s"
    whole = round(seconds)
    for size, unit, rest, rest_unit in ((86_400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            return f"{whole // size}{NBSP}{unit} {whole % size // rest}{NBSP}{rest_unit}"
    return f"{whole}{NBSP}s"


def moment(ns: int, now_ns: int | None = None) -> str:
    """Return a time of day in UTC, with its date when that is not the date of `now_ns`."""
    at = datetime.fromtimestamp(ns / SECOND, UTC)
    if now_ns is not None and datetime.fromtimestamp(now_ns / SECOND, UTC).date() == at.date():
        return f"{at:%H:%M:%S}"
    return f"{at:%Y-%m-%d %H:%M}"


_SOURCES = {
    "nvml": "measured by the GPU's counter (NVML)",
    "rapl": "measured by the processor's counter (RAPL)",
    "hwmon": "measured by a power sensor (hwmon)",
    "estimate": "estimated from load",
    "upstream": "used by an upstream server, not measured here",
}


def day(ns: int) -> str:
    """Return a date in UTC."""
    return f"{datetime.fromtimestamp(ns / SECOND, UTC):%Y-%m-%d}"


def energy_source(source: str) -> str:
    """Return in words how energy was measured, from a source like `nvml+estimate`."""
    if source == "mixed":
        return "measured and estimated in turns"
    return " and ".join(_SOURCES.get(part, part) for part in source.split("+")) if source else "not measured yet"


def energy_word(source: str) -> str:
    """Return the same in one word."""
    return "estimated" if source == "mixed" or "estimate" in source else "measured" if source else ""


def per_mtok(nusd: int, tokens: int) -> str:
    """Return money per million tokens."""
    return f"{dollars(nusd * 1_000_000 // tokens)}/Mtok" if tokens else "–"
