"""How the ledger's records look as a table."""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from aigrid.console import figures, theme

OUTCOMES = {"finished": "good", "failed": "bad", "timeout": "bad", "recovered": "warm"}
COLUMNS = (
    ("Time (UTC)", "nowrap"),
    ("Tenant and key", "title"),
    ("Model and tier", ""),
    ("Site", ""),
    ("Outcome", ""),
    ("Tokens in", "num"),
    ("Tokens out", "num"),
    ("First token", "num"),
    ("Energy", "num"),
    ("Cost", "num"),
    ("Revenue", "num"),
)


def records_table(records: Sequence[Mapping[str, Any]], names: Mapping[str, str], now_ns: int) -> Markup:
    """Return the records as a table; `names` maps key ids to what they are called."""
    costs = [record["upstream_nusd"] + record["energy_nusd"] + record["hardware_nusd"] for record in records]
    revenues = [record["revenue_nusd"] for record in records]
    money = zip(figures.dollars_column(costs), figures.dollars_column(revenues), strict=True)
    rows = (_row(record, names, now_ns) + amounts for record, amounts in zip(records, money, strict=True))
    return theme.table(COLUMNS, rows, "Settled requests, newest first")


def _row(record: Mapping[str, Any], names: Mapping[str, str], now_ns: int) -> tuple[str | Markup, ...]:
    outcome, key_id = record["outcome"], record["key_id"]
    called = names.get(key_id, key_id)
    return (
        Markup('<span title="{}">{}</span>').format(record["id"], figures.moment(record["settled_ns"], now_ns)),
        Markup('<b>{}</b><span class="sub">{}</span>').format(record["tenant"], called),
        Markup('{}<span class="sub">{}</span>').format(record["model"], record["tier"]),
        record["site"],
        Markup('<span class="tag {}" title="{}">{}</span>').format(
            OUTCOMES.get(outcome, ""), record["note"], outcome.replace("_", " ")
        ),
        f"{record['prompt_tokens']:,}",
        f"{record['completion_tokens']:,}",
        figures.duration(record["first_token_ns"] or None),
        figures.joules(record["energy_mj"]),
    )


def totals_view(totals: Mapping[str, Any]) -> Markup:
    """Return the sums over everything that the filters let through."""
    cells = (
        ("Requests", figures.count(totals["requests"]), ""),
        ("Tokens", figures.count(totals["tokens"]), f"{figures.count(totals['completion_tokens'])} out"),
        ("Energy", figures.joules(totals["energy_mj"]), figures.joules_per_token(totals["mj_per_token"])),
        ("Cost", figures.dollars(totals["cost_nusd"]), "without idle time"),
        (
            "Revenue",
            figures.dollars(totals["revenue_nusd"]),
            figures.per_mtok(totals["revenue_nusd"], totals["tokens"]),
        ),
        (
            "Margin",
            figures.dollars(totals["margin_nusd"]),
            f"{figures.percent(totals['margin_nusd'], totals['revenue_nusd'])} of revenue",
        ),
    )
    return Markup("").join(
        Markup('<div><dl><dt>{}</dt><dd class="value">{}</dd><dd class="note">{}</dd></dl></div>').format(*cell)
        for cell in cells
    )
