"""Reading and administering the ledger from a command, beside whatever process owns it."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Annotated, TypeVar

import typer

from aigrid.cli import factory
from aigrid.cli.units import parse_usd
from aigrid.core.config import Config
from aigrid.ledger.base import Ledger, Limits
from aigrid.ledger.prices import usd

T = TypeVar("T")
ACTOR = "command line"

BudgetUsd = Annotated[
    str, typer.Option("--budget-usd", help="Most it may ever spend, in dollars.", metavar="USD", show_default=False)
]
BudgetDay = Annotated[
    str, typer.Option("--budget-usd-day", help="Most it may spend a UTC day.", metavar="USD", show_default=False)
]
BudgetMonth = Annotated[
    str, typer.Option("--budget-usd-month", help="Most it may spend a month.", metavar="USD", show_default=False)
]
Rpm = Annotated[int | None, typer.Option("--rpm", help="Most requests a minute.", min=0)]
Tpm = Annotated[int | None, typer.Option("--tpm", help="Most tokens a minute.", min=0)]
Concurrency = Annotated[int | None, typer.Option("--concurrency", help="Most requests at once.", min=0)]


def limits_of(total: str, day: str, month: str, rpm: int | None, tpm: int | None, concurrency: int | None) -> Limits:
    """Return limits from options; dollars are read exactly, and an empty text is no limit."""
    return Limits(
        total_nusd=parse_usd(total) if total else None,
        day_nusd=parse_usd(day) if day else None,
        month_nusd=parse_usd(month) if month else None,
        requests_per_minute=rpm,
        tokens_per_minute=tpm,
        concurrency=concurrency,
    )


def limits_text(limits: Limits) -> str:
    """Say limits in a few words; `none` where there are none."""
    parts = [
        f"{usd(nusd)}{unit}"
        for nusd, unit in ((limits.total_nusd, ""), (limits.day_nusd, "/day"), (limits.month_nusd, "/month"))
        if nusd is not None
    ]
    counts = (
        (limits.requests_per_minute, "requests/min"),
        (limits.tokens_per_minute, "tokens/min"),
        (limits.concurrency, "at once"),
    )
    parts += [f"{count:,} {unit}" for count, unit in counts if count is not None]
    return ", ".join(parts) or "none"


def limits_dict(limits: Limits) -> dict[str, int | None]:
    """Return all limits by name, null for none."""
    return {name: getattr(limits, name) for name in Limits.__struct_fields__}


@contextlib.asynccontextmanager
async def books(config: Config) -> AsyncIterator[Ledger]:
    """Open the ledger to read and administer; the gateway keeps holding and settling meanwhile."""
    from aigrid.ledger import open_ledger

    ledger = open_ledger(config, owner=False)
    await ledger.open()
    try:
        yield ledger
    finally:
        await ledger.close()


def with_books(work: Callable[[Ledger], Awaitable[T]]) -> T:
    """Do one piece of work on the ledger of the factory that runs here, else on the configured one."""
    import asyncio

    async def run() -> T:
        async with books(factory.settings()) as ledger:
            return await work(ledger)

    return asyncio.run(run())
