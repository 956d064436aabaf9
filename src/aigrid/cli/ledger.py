"""`aigrid ledger`: what was made, what it cost, who paid, and whether the books agree."""

from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import typer

from aigrid.cli import books, output
from aigrid.cli.output import Json, emit
from aigrid.cli.units import energy, usd_short
from aigrid.cli.units import since as read_since
from aigrid.core.clock import SECOND, iso, now_ns
from aigrid.core.errors import Conflict
from aigrid.ledger.base import GroupBy, Ledger, Report, Sum
from aigrid.ledger.prices import usd

if TYPE_CHECKING:
    from rich.console import Console

HOUR = 3600 * SECOND


def ledger(
    since: Annotated[str, typer.Option(help="From when: today (UTC), all, 24h, 7d, or a date.")] = "today",
    by: Annotated[
        Literal["tenant", "key", "model", "site", "tier"] | None,
        typer.Option(help="Show one group only.", show_default="all groups"),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Derive every balance again; exit code 1 where any differs.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show tokens, joules and money.

    Totals, and by tenant, key, model, site and tier: what was made, what it cost, what it earned.
    """
    now = now_ns()
    since_ns = read_since(since, now)

    async def read(book: Ledger) -> tuple[Report, list[str] | None]:
        return await book.report(since_ns), await book.check() if check else None

    report, problems = books.with_books(read)
    groups: list[GroupBy] = [by] if by else list(get_args(GroupBy))
    value = as_dict(report, groups)
    if problems is not None:
        value["check"] = {"agrees": not problems, "problems": problems}
    emit(value, as_json, lambda console: _show(console, report, groups, problems))
    if problems:
        if not as_json:
            raise Conflict(f"the ledger does not agree with itself in {len(problems)} places; see above")
        raise typer.Exit(1)


def as_dict(report: Report, groups: list[GroupBy]) -> dict[str, Any]:
    """Return a report as `--json` prints it: integers as in the ledger, derived rates as numbers."""
    window_ns = _window(report)
    return {
        "since": iso(report.since_ns),
        "until": iso(report.until_ns),
        "totals": _sum(report.totals, window_ns),
        "groups": {
            name: [{"name": s.name, **_sum(s, window_ns)} for s in report.groups.get(name, [])] for name in groups
        },
        "idle": report.idle,
        "energy_source": report.energy_source,
        "open_holds": report.open_holds,
        "held_nusd": report.held_nusd,
    }


def _window(report: Report) -> int:
    return max(1, report.until_ns - report.since_ns)


def _sum(total: Sum, window_ns: int) -> dict[str, Any]:
    return {
        "requests": total.requests,
        "prompt_tokens": total.prompt_tokens,
        "cached_tokens": total.cached_tokens,
        "completion_tokens": total.completion_tokens,
        "reasoning_tokens": total.reasoning_tokens,
        "tokens": total.tokens,
        "revenue_nusd": total.revenue_nusd,
        "cost_nusd": total.cost_nusd,
        "upstream_nusd": total.upstream_nusd,
        "energy_nusd": total.energy_nusd,
        "hardware_nusd": total.hardware_nusd,
        "margin_nusd": total.margin_nusd,
        "energy_mj": total.energy_mj,
        "tokens_per_hour": round(total.tokens * HOUR / window_ns, 3),
        "joules_per_token": round(total.energy_mj / 1000 / total.tokens, 6) if total.tokens else None,
    }


def _show(console: "Console", report: Report, groups: list[GroupBy], problems: list[str] | None) -> None:
    totals = report.totals
    console.print(f"From {iso(report.since_ns)[:16]} to {iso(report.until_ns)[:16]} UTC\n", style="dim")
    if not totals.requests:
        console.print('Nothing was made in this time. Ask something: aigrid chat "What is a token?"\n', markup=False)
    table = output.table("", "", "")
    table.show_header = False
    table.columns[1].justify = "right"
    per_token = f"{energy(round(totals.energy_mj / totals.tokens))} per token" if totals.tokens else ""
    source = f"({report.energy_source})" if report.energy_source else ""
    rows = [
        ("requests", f"{totals.requests:,}", ""),
        ("tokens", f"{totals.tokens:,}", f"{totals.prompt_tokens:,} prompt + {totals.completion_tokens:,} completion"),
        ("tokens/hour", f"{totals.tokens * HOUR // _window(report):,}", ""),
        ("energy", energy(totals.energy_mj), " ".join(part for part in (per_token, source) if part)),
        ("revenue", usd(totals.revenue_nusd), ""),
        ("cost", usd(totals.cost_nusd), _costs(totals)),
        ("margin", usd(totals.margin_nusd), ""),
        (
            "idle",
            usd(report.idle.energy_nusd + report.idle.hardware_nusd),
            f"{energy(report.idle.energy_mj)}, paid by nobody",
        ),
        ("held", usd(report.held_nusd), f"{report.open_holds} open holds"),
    ]
    for row in rows:
        table.add_row(*row)
    console.print(table)
    for name in groups:
        if report.groups.get(name):
            console.print()
            console.print(_group(name, report.groups[name]))
    for problem in problems or []:
        console.print(f"✗ {problem}", style="red", markup=False)
    if problems == []:
        console.print("\nEvery balance agrees with the records.", style="green")


def _costs(total: Sum) -> str:
    return (
        f"{usd(total.energy_nusd)} energy + {usd(total.hardware_nusd)} hardware + {usd(total.upstream_nusd)} upstream"
    )


def _group(name: GroupBy, sums: list[Sum]) -> Any:
    headings = ("requests", "prompt", "completion", "energy", "per token", "revenue", "cost", "margin")
    table = output.table(name, *headings, right=1)
    for each in sums:
        table.add_row(
            each.name,
            f"{each.requests:,}",
            f"{each.prompt_tokens:,}",
            f"{each.completion_tokens:,}",
            energy(each.energy_mj),
            energy(round(each.energy_mj / each.tokens)) if each.tokens else "–",
            usd_short(each.revenue_nusd),
            usd_short(each.cost_nusd),
            usd_short(each.margin_nusd),
        )
    return table
