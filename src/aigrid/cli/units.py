"""Reading and writing money, energy, times and counts for people. Money in the house is integer nano-dollars."""

import re
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation

from aigrid.core.clock import DAY, SECOND, day_start
from aigrid.core.errors import BadRequest
from aigrid.ledger.prices import NUSD

_SPANS = {"m": 60 * SECOND, "h": 3600 * SECOND, "d": DAY, "w": 7 * DAY}


def parse_usd(text: str) -> int:
    """Return dollars, e.g. `5` or `0.25`, as nano-dollars, exactly; raises `BadRequest` where that cannot be."""
    try:
        amount = Decimal(text.strip().removeprefix("$"))
    except InvalidOperation:
        raise BadRequest(f"`{text}` is not an amount of dollars; write it like 5 or 0.25") from None
    if not amount.is_finite() or amount < 0:
        raise BadRequest(f"an amount of dollars must be zero or more, not `{text}`")
    nusd = amount.scaleb(9)
    if nusd != nusd.to_integral_value():
        raise BadRequest(f"`{text}` has more than 9 decimals; money is counted in nano-dollars (0.000000001)")
    if nusd >= 2**53:
        raise BadRequest(f"`{text}` is more than this ledger counts (about nine million dollars)")
    return int(nusd)


def usd_short(nusd: int) -> str:
    """Return nano-dollars as dollars with about three significant digits, for tables."""
    if abs(nusd) >= NUSD or nusd == 0:
        return f"{'-' if nusd < 0 else ''}${abs(nusd) / NUSD:,.2f}"
    digits = max(2, 12 - len(str(abs(nusd))))
    return f"{'-' if nusd < 0 else ''}${abs(nusd) / NUSD:.{digits}f}"


def energy(mj: int) -> str:
    """Return millijoules with a unit that suits: `850 mJ`, `12.3 J`, `4.56 kJ`, `1.20 kWh`."""
    if mj < 1000:
        return f"{mj} mJ"
    joules = mj / 1000
    if joules < 1000:
        return f"{joules:.1f} J"
    if joules < 3_600_000:
        return f"{joules / 1000:.2f} kJ"
    return f"{joules / 3_600_000:.2f} kWh"


def seconds(ns: int) -> str:
    """Return a time as people say it: `850 ms`, `12.3 s`, `4 min 05 s`, `2 h 07 min`."""
    whole = ns // SECOND
    if ns < SECOND:
        return f"{ns / 1e6:.0f} ms"
    if whole < 60:
        return f"{ns / SECOND:.1f} s"
    return (
        f"{whole // 60} min {whole % 60:02d} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    )


def since(text: str, now: int) -> int:
    """Return the start of a period (ns since the epoch): `today` (UTC), a span back like `24h` or `7d`, or ISO 8601."""
    if text == "today":
        return day_start(now)
    if text == "all":
        return 0
    if match := re.fullmatch(r"(\d{1,6})([mhdw])", text):
        return max(0, now - int(match[1]) * _SPANS[match[2]])
    try:
        moment = datetime.fromisoformat(text)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return max(0, int(moment.timestamp()) * SECOND + moment.microsecond * 1000)
    except (ValueError, OverflowError):
        raise BadRequest(
            f"--since does not understand `{text}`; use today, all, a span like 24h or 7d, or a date like 2026-01-31"
        ) from None
