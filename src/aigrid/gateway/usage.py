"""What a key has used, for whoever holds it: its own records and nothing of what they cost the factory."""

from typing import Annotated, Any

from msgspec import Meta, Struct

from aigrid.core.clock import DAY, now_ns
from aigrid.ledger.base import Filter, Key, Ledger

MOST = 10_000
"""Records that are looked at, newest first."""


class UsageBody(Struct):
    """Over how many days to sum up."""

    days: Annotated[int, Meta(ge=1, le=366)] = 30


async def usage(ledger: Ledger, key: Key, days: int) -> dict[str, Any]:
    """Return the key's sums over the last `days`: nano-dollars it was charged, millijoules, tokens, by model.

    `complete` is false where there are more records than are looked at; then the sums are of the newest.
    """
    since_ns = now_ns() - days * DAY
    records = await ledger.records(Filter(since_ns=since_ns, key_id=key.id, limit=MOST))
    models: dict[str, dict[str, int]] = {}
    totals = _nothing()
    for record in records:
        for total in (totals, models.setdefault(record.model, _nothing())):
            total["requests"] += 1
            total["prompt_tokens"] += record.prompt_tokens
            total["completion_tokens"] += record.completion_tokens
            total["cost_nusd"] += record.revenue_nusd
            total["energy_mj"] += record.energy_mj
    return {
        "key": key.id,
        "tenant": key.tenant,
        "since_ns": since_ns,
        "complete": len(records) < MOST,
        "totals": totals,
        "models": models,
        "limits": {
            "total_nusd": key.limits.total_nusd,
            "day_nusd": key.limits.day_nusd,
            "month_nusd": key.limits.month_nusd,
        },
    }


def _nothing() -> dict[str, int]:
    return dict.fromkeys(("requests", "prompt_tokens", "completion_tokens", "cost_nusd", "energy_mj"), 0)
