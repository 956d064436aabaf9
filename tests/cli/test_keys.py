import stat

import pytest

from aigrid.cli.factory import saved_key


def test_a_key_is_printed_once_and_only_its_digest_is_kept(aigrid, state_in_a_temporary_folder):
    made = aigrid("keys", "create", "--tenant", "lab", "--name", "robot", "--json").json
    assert made["key"].startswith("sk-aigrid-")
    assert made["key"].endswith(made["hint"])
    assert (made["tenant"], made["name"], made["scope"]) == ("lab", "robot", "inference")
    listed = aigrid("keys", "list", "--json")
    assert made["key"] not in listed.out
    assert [key["id"] for key in listed.json["keys"]] == [made["id"]]
    for file in state_in_a_temporary_folder.rglob("*"):
        if file.is_file():
            assert made["key"].encode() not in file.read_bytes(), f"the secret is in {file}"


def test_limits_are_exact(aigrid):
    made = aigrid(
        *("keys", "create", "--tenant", "lab", "--json", "--budget-usd", "0.1", "--budget-usd-day", "0.000000001"),
        *("--budget-usd-month", "12", "--rpm", "60", "--tpm", "1000", "--concurrency", "4"),
    ).json
    assert made["limits"] == {
        "total_nusd": 100_000_000,
        "day_nusd": 1,
        "month_nusd": 12_000_000_000,
        "requests_per_minute": 60,
        "tokens_per_minute": 1000,
        "concurrency": 4,
    }
    shown = aigrid("keys", "list").out
    assert "$0.10, $0.000000001/day, $12.00/month, 60 requests/min, 1,000 tokens/min, 4 at once" in shown


@pytest.mark.parametrize("amount", ["0.0000000001", "-1", "much"])
def test_a_budget_that_is_no_exact_amount_makes_no_key(aigrid, amount):
    result = aigrid("keys", "create", "--tenant", "lab", f"--budget-usd={amount}")
    assert result.code == 1
    assert amount in result.err
    assert aigrid("keys", "list", "--json").json["keys"] == []


def test_a_revoked_key_is_gone_from_the_list_but_not_from_the_books(aigrid):
    made = aigrid("keys", "create", "--tenant", "lab", "--json").json
    assert aigrid("keys", "revoke", made["id"], "--json").json["revoked"]
    assert aigrid("keys", "list", "--json").json["keys"] == []
    assert [key["id"] for key in aigrid("keys", "list", "--revoked", "--json").json["keys"]] == [made["id"]]


def test_an_unknown_key_cannot_be_revoked(aigrid):
    result = aigrid("keys", "revoke", "key_0")
    assert result.code == 1
    assert "key_0" in result.err


def test_a_tenants_limits_are_replaced_as_a_whole(aigrid):
    aigrid("tenants", "set", "lab", "--budget-usd", "5", "--rpm", "10")
    changed = aigrid("tenants", "set", "lab", "--budget-usd-day", "1", "--json").json
    assert {name: limit for name, limit in changed["limits"].items() if limit is not None} == {"day_nusd": 10**9}
    assert "$1.00/day" in aigrid("tenants", "list").out
    assert [tenant["name"] for tenant in aigrid("tenants", "list", "--json").json["tenants"]] == ["lab"]


def test_empty_lists_say_what_to_do_next(aigrid):
    assert "aigrid keys create" in aigrid("keys", "list").out
    assert "aigrid keys create" in aigrid("tenants", "list").out


def test_the_command_lines_own_key_is_private(in_factory):
    assert stat.S_IMODE((in_factory.home / "cli.key").stat().st_mode) == 0o600
    assert saved_key().startswith("sk-aigrid-")
