"""Budgets: whatever draws on them in whatever order, no cap is overrun and nothing is lost."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aigrid.thinking.budget import DRAWN, Budget, BudgetSpent, Caps, Cost

amounts = st.integers(0, 50)
caps = st.builds(Caps, st.none() | amounts, st.none() | amounts, st.none() | amounts)
costs = st.builds(Cost, amounts, amounts, amounts)


def lines(node):
    parent = node._parent
    return [node] if parent is None else [node, *lines(parent)]


@settings(max_examples=300, deadline=None)
@given(
    caps, st.lists(st.tuples(st.sampled_from(["part", "spend", "end"]), st.integers(0, 7), caps, costs), max_size=40)
)
def test_no_cap_of_a_tree_is_overrun(top, steps):
    root = Budget(top).__enter__()
    open_, truth, refusals = [root], dict.fromkeys(DRAWN, 0), []
    for act, which, cap, cost in steps:
        node = open_[which % len(open_)]
        try:
            if act == "part":
                open_.append(node.part(cap, "a part").__enter__())
            elif act == "spend":
                before = node.spent
                try:
                    node.spend(cost)
                finally:
                    for kind in DRAWN:
                        truth[kind] += getattr(node.spent, kind) - getattr(before, kind)
            elif node is not root and not any(node in lines(other)[1:] for other in open_):
                node.__exit__(None, None, None)
                open_.remove(node)
        except BudgetSpent as refused:
            refusals.append(refused)
        for each in open_:
            for kind in DRAWN:
                cap = getattr(each.caps, kind)
                assert cap is None or getattr(each.spent, kind) + each._held[kind] <= cap
    while len(open_) > 1:
        leaf = next(node for node in reversed(open_) if not any(node in lines(other)[1:] for other in open_))
        leaf.__exit__(None, None, None)
        open_.remove(leaf)
    assert {kind: getattr(root.spent, kind) for kind in DRAWN} == truth
    assert all(each.value > each.limit >= 0 for each in refusals)
    assert root._held == dict.fromkeys(DRAWN, 0)


def test_what_is_left_over_is_released():
    with Budget(Caps(tokens=100)) as budget:
        with budget.part(Caps(tokens=80), "a call") as call:
            assert budget.left("tokens") == 20
            call.spend(Cost(tokens=30))
            with pytest.raises(BudgetSpent), budget.part(Caps(tokens=21), "another"):
                raise AssertionError("not reached")
        assert budget.left("tokens") == 70


def test_the_error_says_kind_value_limit_and_source():
    with Budget(Caps(nusd=1_000)) as budget, pytest.raises(BudgetSpent) as caught:
        budget.part(Caps(nusd=2_000), "the critic").__enter__()
    error = caught.value
    assert (error.kind, error.value, error.limit, error.source) == ("nusd", 2_000, 1_000, "the critic")
    assert error.message == "the critic needs $0.000002 and its budget has $0.000001 left; allow more"


def test_a_deadline_binds_the_parts_too(monkeypatch):
    now = 10**9
    monkeypatch.setattr("aigrid.thinking.budget.mono_ns", lambda: now)
    with Budget(Caps(ns=20_000_000)) as budget:
        now += 5_000_000
        with budget.part(Caps(ns=10**12), "a call") as call:
            assert call.time_left_s() == 0.015
        now += 25_000_000
        assert budget.time_left_s() == 0
        with pytest.raises(BudgetSpent) as caught:
            budget.part(Caps(), "late").__enter__()
        assert caught.value.kind == "ns"


def test_caps_cannot_be_negative():
    with pytest.raises(ValueError, match="negative"):
        Caps(tokens=-1)
