import sqlite3

from tests.cli.waiting import until

SUMS = {
    "requests", "prompt_tokens", "cached_tokens", "completion_tokens", "reasoning_tokens", "tokens", "revenue_nusd",
    "cost_nusd", "upstream_nusd", "energy_nusd", "hardware_nusd", "margin_nusd", "energy_mj", "tokens_per_hour",
    "joules_per_token",
}  # fmt: skip


def test_the_totals_are_the_sum_of_every_group_and_of_what_clients_saw(aigrid, in_factory):
    answers = [aigrid("chat", f"word {n} [echo tokens={n}]", "--json").json for n in (1, 5, 9)]
    report = until(
        lambda: aigrid("ledger", "--since", "1h", "--check", "--json").json,
        lambda report: report["totals"]["requests"] == 3 and not report["open_holds"],
    )
    totals = report["totals"]
    assert set(totals) == SUMS
    assert totals["requests"] == 3
    assert totals["completion_tokens"] == sum(answer["completion_tokens"] for answer in answers)
    assert totals["revenue_nusd"] == sum(answer["cost_nusd"] for answer in answers)
    assert totals["margin_nusd"] == totals["revenue_nusd"] - totals["cost_nusd"]
    assert totals["cost_nusd"] == totals["upstream_nusd"] + totals["energy_nusd"] + totals["hardware_nusd"]
    assert set(report["groups"]) == {"tenant", "key", "model", "site", "tier"}
    for name, rows in report["groups"].items():
        for field in ("requests", "tokens", "revenue_nusd", "energy_mj"):
            assert sum(row[field] for row in rows) == totals[field], f"{name} {field}"
    assert report["open_holds"] == 0
    assert report["check"] == {"agrees": True, "problems": []}


def test_one_group_can_be_asked_for(aigrid, in_factory):
    assert list(aigrid("ledger", "--by", "model", "--json").json["groups"]) == ["model"]


def test_people_get_units_and_words(aigrid, in_factory):
    aigrid("chat", "a [echo tokens=3]")
    shown = until(lambda: aigrid("ledger", "--check").out, lambda shown: "echo" in shown)
    for word in ("requests", "tokens/hour", "energy", "revenue", "cost", "margin", "idle", "echo", "default", "agrees"):
        assert word in shown


def test_an_empty_ledger_says_what_to_do_next(aigrid):
    assert "aigrid chat" in aigrid("ledger").out
    assert aigrid("ledger", "--json").json["totals"]["joules_per_token"] is None


def test_a_ledger_that_was_tampered_with_is_told(aigrid, up, state_in_a_temporary_folder):
    factory = up("--engine", "echo", "--no-console", "--ask", "a [echo tokens=3]")
    factory.stop()
    assert aigrid("ledger", "--check").code == 0
    (path,) = state_in_a_temporary_folder.rglob("ledger.db")
    with sqlite3.connect(path) as database:
        database.execute("UPDATE usage_rollup SET revenue_nusd = revenue_nusd + 1")
    result = aigrid("ledger", "--check")
    assert result.code == 1
    assert "✗" in result.out
    assert "does not agree" in result.err
    checked = aigrid("ledger", "--check", "--json")
    assert checked.code == 1
    assert checked.json["check"]["agrees"] is False


def test_a_period_that_cannot_be_read_is_refused(aigrid):
    result = aigrid("ledger", "--since", "yesterday")
    assert result.code == 1
    assert "--since" in result.err
