"""`aigrid keys`: make, list and revoke the keys that clients show."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from aigrid.cli import books, output
from aigrid.cli.books import BudgetDay, BudgetMonth, BudgetUsd, Concurrency, Rpm, Tpm
from aigrid.cli.output import Json, emit
from aigrid.core.clock import iso
from aigrid.ledger.base import Key

if TYPE_CHECKING:
    from rich.console import Console

app = typer.Typer(help="Make, list and revoke the keys that clients show.", no_args_is_help=True, rich_markup_mode=None)


@app.command("create")
def create(
    tenant: Annotated[str, typer.Option(help="Who pays. A new name makes a new tenant.")],
    name: Annotated[str, typer.Option(help="What the key is for, so that people know it again.")] = "",
    scope: Annotated[
        Literal["inference", "admin"], typer.Option(help="Make tokens, or administer the factory.")
    ] = "inference",
    budget_usd: BudgetUsd = "",
    budget_usd_day: BudgetDay = "",
    budget_usd_month: BudgetMonth = "",
    rpm: Rpm = None,
    tpm: Tpm = None,
    concurrency: Concurrency = None,
    as_json: Json = False,
) -> None:
    """Make a key; it is printed this once and only its SHA-256 is kept."""
    limits = books.limits_of(budget_usd, budget_usd_day, budget_usd_month, rpm, tpm, concurrency)

    key, secret = books.with_books(
        lambda ledger: ledger.create_key(tenant, name=name, scope=scope, limits=limits, actor=books.ACTOR)
    )

    def show(console: "Console") -> None:
        console.print(secret, markup=False)
        kind = "an admin" if scope == "admin" else "a"
        console.print(
            f"This is {kind} key of tenant {tenant} (id {key.id}; limits: {books.limits_text(limits)}). "
            "It is not shown again.",
            style="dim",
            markup=False,
        )

    emit({**as_dict(key), "key": secret}, as_json, show)


@app.command("list")
def list_(
    revoked: Annotated[bool, typer.Option("--revoked", help="List revoked keys as well.")] = False,
    as_json: Json = False,
) -> None:
    """List keys, oldest first."""
    keys = books.with_books(lambda ledger: ledger.keys(include_revoked=revoked))

    def show(console: "Console") -> None:
        if not keys:
            console.print("No keys yet. Make one: aigrid keys create --tenant NAME")
            return
        rows = output.table("id", "tenant", "name", "scope", "ends in", "limits", "made")
        for key in keys:
            style = "strike dim" if key.revoked_ns else None
            limits, made = books.limits_text(key.limits), iso(key.created_ns)[:10]
            rows.add_row(key.id, key.tenant, key.name, key.scope, f"…{key.hint}", limits, made, style=style)
        console.print(rows)

    emit({"keys": [as_dict(key) for key in keys]}, as_json, show)


@app.command("revoke")
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the key, from `aigrid keys list`.")],
    as_json: Json = False,
) -> None:
    """Revoke a key at once and for good; requests it has open still settle."""
    key = books.with_books(lambda ledger: ledger.revoke_key(key_id, actor=books.ACTOR))
    emit(
        as_dict(key),
        as_json,
        lambda console: console.print(f"Revoked {key.id} of tenant {key.tenant}.", markup=False),
    )


def as_dict(key: Key) -> dict[str, Any]:
    """Return a key as `--json` prints it."""
    return {
        "id": key.id,
        "tenant": key.tenant,
        "name": key.name,
        "scope": key.scope,
        "hint": key.hint,
        "limits": books.limits_dict(key.limits),
        "created": iso(key.created_ns),
        "revoked": iso(key.revoked_ns) if key.revoked_ns else None,
    }
