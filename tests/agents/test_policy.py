"""What may be called with what: rules hold outside the model, whatever it says."""

from pathlib import Path

import msgspec
import pytest

from aigrid.agents.policy import Policy, Refused, blanked
from aigrid.agents.spec import Guard, Rule
from aigrid.core.errors import ConfigError

SCHEMA = {
    "type": "object",
    "properties": {
        "text": {"type": "string"},
        "n": {"type": "integer", "default": 1000},
        "path": {"type": "string"},
        "url": {"type": "string"},
        "lines": {"type": "array", "items": {"type": "object", "properties": {"price": {"type": "integer"}}}},
    },
}

NO_GUARD = Guard()


def policy(guard=NO_GUARD, folder=Path("/srv/agent"), **rules):
    return Policy("t", SCHEMA, {at: msgspec.convert(rule, Rule) for at, rule in rules.items()}, {}, guard, folder)


@pytest.mark.parametrize(
    ("rule", "good", "bad"),
    [
        ({"enum": ["a", "b"]}, ["a"], ["c", "A", ""]),
        ({"pattern": "[a-z]+"}, ["abc"], ["abc1", "abc\n", "1abc", ""]),
        ({"prefix": "ab"}, ["ab", "abc"], ["a", "xab"]),
        ({"max_length": 3}, ["abc"], ["abcd"]),
        ({"inside": "public"}, ["public/a", "/srv/agent/public/a"], ["a", "../x", "public/../a", "/etc/passwd", "public\x00", "public2/a"]),
        ({"hosts": ["a.com"]}, ["https://a.com/x", "https://a.com:443"], ["http://a.com", "https://a.com.b.com", "https://b@a.com", "https://a.com:1", "https://[", "https://a.com\\@b.com"]),
    ],
)  # fmt: skip
def test_a_rule_lets_through_what_it_states_and_nothing_else(rule, good, bad):
    guarded = policy(text=rule)
    for value in good:
        assert guarded.check({"text": value}) == {"text": value}
    for value in bad:
        with pytest.raises(Refused):
            guarded.check({"text": value})


def test_an_argument_with_a_rule_must_be_given_so_that_no_default_passes_by_it():
    guarded = policy(n={"maximum": 10})
    assert guarded.schema["required"] == ["n"]
    for arguments in ({}, {"n": 1000}, {"n": True}, {"n": float("nan")}, {"n": "5"}):
        with pytest.raises(Refused):
            guarded.check(arguments)
    assert guarded.check({"n": 10}) == {"n": 10}


def test_what_is_fixed_is_neither_seen_nor_chosen_by_the_model():
    guarded = policy(text={"fixed": "acme"})
    assert "text" not in guarded.schema["properties"]
    assert guarded.check({}) == {"text": "acme"}
    with pytest.raises(Refused):
        guarded.check({"text": "globex"})


def test_nested_arguments_and_every_item_of_a_list_obey():
    guarded = policy(**{"lines.*.price": {"maximum": 5}})
    assert guarded.check({"lines": [{"price": 5}, {}]})
    with pytest.raises(Refused, match=r"lines\.1\.price"):
        guarded.check({"lines": [{"price": 5}, {"price": 6}]})


@pytest.mark.parametrize("arguments", [{"other": 1}, [], "x", None, {"text": 1}, {"lines": "x"}])
def test_what_the_schema_does_not_know_is_refused(arguments):
    with pytest.raises(Refused):
        policy().check(arguments)


def test_what_may_never_leave_is_found_in_any_argument_and_blanked_in_answers():
    guard = Guard(never_send=["sk-[0-9]+"])
    guarded = policy(guard)
    for arguments in ({"text": "key sk-12"}, {"lines": [{"sk-12": 1}]}, {"text": "sk-", "path": "12"}):
        with pytest.raises(Refused, match="may not leave"):
            guarded.check(arguments)
    assert blanked("the key is sk-12.", guard) == "the key is [withheld]."


def test_a_rule_for_no_argument_is_a_mistake_that_is_named():
    with pytest.raises(ConfigError, match="its arguments are: text"):
        policy(txt={"enum": ["a"]})
    with pytest.raises(ConfigError, match="regular expression"):
        policy(text={"pattern": "["})
