"""The auditor of what several gateways share: derives every account again from records and open holds."""

from aigrid.ledger import checks
from aigrid.ledger.base import Run

_BOTH = "LATERAL (VALUES ('tenant ' || tenant), ('key ' || key_id)) AS both_ (name)"

_ACCOUNTS = f"""
WITH spent AS (SELECT name, sum(revenue_nusd) AS spent FROM usage, {_BOTH} GROUP BY name),
held AS (SELECT name, sum(amount_nusd) AS held, count(*) AS running FROM holds, {_BOTH} GROUP BY name)
SELECT name, coalesce(spent_nusd, 0), coalesce(spent, 0), coalesce(held_nusd, 0), coalesce(held, 0),
    coalesce(accounts.running, 0), coalesce(held.running, 0)
FROM accounts FULL JOIN spent USING (name) FULL JOIN held USING (name)
WHERE coalesce(spent_nusd, 0) <> coalesce(spent, 0) OR coalesce(held_nusd, 0) <> coalesce(held, 0)
    OR coalesce(accounts.running, 0) <> coalesce(held.running, 0)
ORDER BY name
"""

_WINDOWS = f"""
WITH derived AS (
    SELECT name AS account, kind, start_ns, sum(revenue_nusd) AS spent FROM usage, {_BOTH},
        LATERAL (VALUES ('day', settled_ns - settled_ns % 86400000000000), ('month', month_start(settled_ns)))
            AS times (kind, start_ns)
    GROUP BY name, kind, start_ns
)
SELECT account, kind, start_ns, coalesce(spent_nusd, 0), coalesce(spent, 0)
FROM windows FULL JOIN derived USING (account, kind, start_ns)
WHERE coalesce(spent_nusd, 0) <> coalesce(spent, 0) ORDER BY account, kind, start_ns
"""

_TWICE = "SELECT id FROM holds JOIN usage USING (id, tenant, key_id) WHERE holds.amount_nusd > usage.held_nusd"


def check(run: Run) -> list[str]:
    """Return each disagreement as a sentence; empty is good. Reads every row: seconds per million."""
    found = checks.check(run)
    for name, spent, derived, held, derived_held, running, derived_running in run(_ACCOUNTS, ()):
        found.append(
            f"accounts: {name} has {spent} nano-dollars spent, {held} held and {running} running; "
            f"records and holds say {derived}, {derived_held} and {derived_running}"
        )
    for account, kind, start_ns, spent, derived in run(_WINDOWS, ()):
        found.append(f"windows: {account} spent {spent} in the {kind} of {start_ns}; the records say {derived}")
    found += [f"holds: {id_} has a record and holds more than that says" for (id_,) in run(_TWICE, ())]
    return found
