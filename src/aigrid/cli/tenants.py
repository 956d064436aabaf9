"""`aigrid tenants`: who pays, and up to how much."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from aigrid.cli import books, output
from aigrid.cli.books import BudgetDay, BudgetMonth, BudgetUsd, Concurrency, Rpm, Tpm
from aigrid.cli.output import Json, emit
from aigrid.core.clock import iso
from aigrid.ledger.base import Tenant

if TYPE_CHECKING:
    from rich.console import Console

app = typer.Typer(help="Who pays, and up to how much.", no_args_is_help=True, rich_markup_mode=None)


@app.command("list")
def list_(as_json: Json = False) -> None:
    """List tenants by name."""
    tenants = books.with_books(lambda ledger: ledger.tenants())

    def show(console: "Console") -> None:
        if not tenants:
            console.print("No tenants yet. The first key makes one: aigrid keys create --tenant NAME")
            return
        rows = output.table("tenant", "limits of all its keys together", "since")
        for tenant in tenants:
            rows.add_row(tenant.name, books.limits_text(tenant.limits), iso(tenant.created_ns)[:10])
        console.print(rows)

    emit({"tenants": [as_dict(tenant) for tenant in tenants]}, as_json, show)


@app.command("set")
def set_(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The tenant; a new name makes a new one.")],
    budget_usd: BudgetUsd = "",
    budget_usd_day: BudgetDay = "",
    budget_usd_month: BudgetMonth = "",
    rpm: Rpm = None,
    tpm: Tpm = None,
    concurrency: Concurrency = None,
    as_json: Json = False,
) -> None:
    """Set a tenant's limits, which hold for all its keys together; limits not named are lifted."""
    limits = books.limits_of(budget_usd, budget_usd_day, budget_usd_month, rpm, tpm, concurrency)
    tenant = books.with_books(lambda ledger: ledger.set_tenant(name, limits, actor=books.ACTOR))
    emit(
        as_dict(tenant),
        as_json,
        lambda console: console.print(f"{tenant.name}: {books.limits_text(tenant.limits)}", markup=False),
    )


def as_dict(tenant: Tenant) -> dict[str, Any]:
    """Return a tenant as `--json` prints it."""
    return {"name": tenant.name, "limits": books.limits_dict(tenant.limits), "created": iso(tenant.created_ns)}
