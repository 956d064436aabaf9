"""What a regular expression would grow to, known before XGrammar is asked; no model is loaded."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aigrid.core.errors import BadRequest
from aigrid.engines.base import GenerateRequest, Grammar
from aigrid.engines.openvino_grammar import constraint
from aigrid.engines.openvino_pattern import LARGEST_NEST, repeats

FREEZES = ["((a{100}){100}){100}", "(((a{100}){100}){100}){100}"]


@pytest.mark.parametrize(
    ("pattern", "count"),
    [
        ("abc", 0),
        ("a{7}", 7),
        ("a{,7}", 7),
        ("a{7,}", 7),
        ("a{3,7}b{2}", 9),
        ("(a{10}b){10}", 100),
        ("(?:a{10}|b{5}){2}", 30),
        ("((a{10}){10}){10}", 1000),
        ("(a{10})*", 10),
        ("a{5000}", LARGEST_NEST),
        (r"\(a{3}\){4}", 7),
        (r"[(){9}\]{8}]{2}", 2),
        (r"\u{100}{2}", 2),
        ("a{x}", 0),
        ("({[", 0),
        (")a{2}", 2),
    ],
)
def test_repeats_within_repeats_multiply_and_those_beside_add_up(pattern, count):
    assert repeats(pattern, "p") == count


@pytest.mark.parametrize(
    "pattern",
    [*FREEZES, "(a{100}){11}", "(a{100}){0,11}", "(a{100}){11,}", "(a{2000})(b(c{2000})?){2}", "(?:(a{40})+b){40}",
     "a{100}{100}", "a{100001}", "a{" + "9" * 10_000 + "}", "[](a{100}){100}]", "((a{ 100 }){100})"],
)  # fmt: skip
def test_what_would_freeze_the_engine_is_refused(pattern):
    with pytest.raises(BadRequest, match="is the most"):
        repeats(pattern, "p")


def tree(inner):
    return st.one_of(
        st.tuples(inner, inner).map(lambda pair: (pair[0][0] + pair[1][0], pair[0][1] + pair[1][1])),
        st.tuples(inner, inner).map(lambda pair: (f"(?:{pair[0][0]}|{pair[1][0]})", pair[0][1] + pair[1][1])),
        st.tuples(inner, st.integers(1, 3), st.integers(0, 2)).map(
            lambda made: (f"({made[0][0]}){{{made[1]},{made[1] + made[2]}}}", (made[1] + made[2]) * max(1, made[0][1]))
        ),
        inner.map(lambda made: (f"({made[0]})?", made[1])),
    )


@given(
    st.recursive(st.sampled_from(["a", ".", r"\d", r"\{", "[a-z{3}]", "é"]).map(lambda a: (a, 0)), tree, max_leaves=6)
)
def test_the_count_is_that_of_the_tree_the_pattern_was_made_from(made):
    pattern, count = made
    try:
        assert repeats(pattern, "p") == count
    except BadRequest:
        assert count > LARGEST_NEST


@given(st.text(alphabet="a()[]{}\\,0123456789|*+?^$.-ux", max_size=40))
def test_no_text_is_more_than_refused(pattern):
    with contextlib.suppress(BadRequest):
        assert repeats(pattern, "p") >= 0


def ask(**more):
    return GenerateRequest(id="r", model="m", max_tokens=1, messages=[{"role": "user", "content": "x"}], **more)


def asks(pattern):
    for schema in (
        {"type": "string", "pattern": pattern},
        {"anyOf": [{"properties": {"a": {"items": {"pattern": pattern}}}}]},
        {"patternProperties": {pattern: True}},
        {"propertyNames": {"pattern": pattern}},
    ):
        yield "response_format", ask(grammar=Grammar("json_schema", json.dumps(schema)))
        tool = {"type": "function", "function": {"name": "f", "parameters": schema}}
        yield "tools[0].function.parameters", ask(tools=[tool])
    yield "response_format", ask(grammar=Grammar("regex", pattern))


@pytest.mark.parametrize("pattern", FREEZES)
def test_a_pattern_is_refused_wherever_it_stands_and_the_field_is_named(pattern):
    for param, request in asks(pattern):
        with pytest.raises(BadRequest, match="multiply") as caught:
            constraint(request)
        assert caught.value.param == param


@pytest.mark.parametrize("pattern", [r"^\d{4}-\d{2}-\d{2}$", "^[a-z]{1,5000}$", r"(\d{1,3}\.){3}\d{1,3}"])
def test_everyday_patterns_pass(pattern):
    for _, request in asks(pattern):
        assert constraint(request)


def test_many_patterns_add_up_over_fields_and_tools():
    schema = {"properties": {f"p{i}": {"pattern": "[a-z]{300}"} for i in range(9)}}
    tools = [{"type": "function", "function": {"name": f"f{i}", "parameters": schema}} for i in range(2)]
    assert constraint(ask(tools=tools[:1]))
    with pytest.raises(BadRequest, match="add up to 5,100; 5,000 is the most") as caught:
        constraint(ask(tools=tools))
    assert caught.value.param == "tools[1].function.parameters"


def test_a_property_called_pattern_is_no_pattern():
    schema = {"properties": {"pattern": {"type": "string"}, "patternProperties": {"type": "object"}}}
    assert constraint(ask(grammar=Grammar("json_schema", json.dumps(schema))))
