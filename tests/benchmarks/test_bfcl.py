"""The judge of function calls: what is well-formed, and what is right by BFCL's rules."""

import pytest

from benchmarks.bfcl import Case, call_in, judged
from benchmarks.bfcl_check import fault_of, schema_of, tool_of, wrong

FUNCTION = {
    "name": "geo.area",
    "description": "Area",
    "parameters": {
        "type": "dict",
        "properties": {
            "base": {"type": "integer"},
            "height": {"type": "float"},
            "unit": {"type": "string", "enum": ["cm", "m"]},
            "points": {"type": "tuple", "items": {"type": "float"}},
            "more": {"type": "dict", "properties": {"deep": {"type": "boolean"}}},
        },
        "required": ["base"],
    },
}
TRUTH = {"geo.area": {"base": [10], "height": [5, 5.0], "unit": ["cm", ""], "points": [[1.0, 2.0], ""]}}
RIGHT = {"base": 10, "height": 5}


def test_a_function_becomes_a_tool_of_json_schema():
    function = tool_of(FUNCTION)["function"]
    assert function["name"] == "geo_area"
    properties = function["parameters"]["properties"]
    assert [properties[name]["type"] for name in properties] == ["integer", "number", "string", "array", "object"]
    assert properties["points"]["items"] == {"type": "number"}


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ({"base": 1, "height": 2}, ""),
        ([], "arguments is no object"),
        ({"height": 2}, "arguments lacks base"),
        ({"base": True}, "arguments.base is no integer"),
        ({"base": 1.5}, "arguments.base is no integer"),
        ({"base": 1, "depth": 2}, "arguments has depth, which is unknown"),
        ({"base": 1, "unit": "km"}, "arguments.unit is none of its choices"),
        ({"base": 1, "points": [1, "2"]}, "arguments.points[1] is no number"),
        ({"base": 1, "more": {"deep": 1}}, "arguments.more.deep is no boolean"),
    ],
)
def test_what_does_not_fit_the_schema_is_named(value, fault):
    assert fault_of(value, schema_of(FUNCTION["parameters"])) == fault


@pytest.mark.parametrize(
    ("name", "arguments", "why"),
    [
        ("geo_area", RIGHT, ""),
        ("geo_area", {**RIGHT, "unit": " CM."}, ""),
        ("geo_area", {**RIGHT, "points": [1, 2]}, ""),
        ("geo_volume", RIGHT, "function geo_volume, not geo_area"),
        ("geo_area", {"height": 5}, "lacks base"),
        ("geo_area", {"base": 10}, "lacks height"),
        ("geo_area", {"base": 11, "height": 5}, "base is 11, not among [10]"),
        ("geo_area", {**RIGHT, "colour": "red"}, "colour is unknown"),
        ("geo_area", {**RIGHT, "base": "10"}, "base is '10', not among [10]"),
    ],
)
def test_a_call_is_right_where_each_argument_is_among_the_accepted(name, arguments, why):
    assert wrong(name, arguments, [FUNCTION], TRUTH) == why


@pytest.mark.parametrize(
    "text", ['{"name": "f", "arguments": {"a": 1}}', '```json\n{"name": "f", "arguments": {"a": 1}}```']
)
def test_a_call_in_the_text_counts(text):
    assert call_in({"content": text}) == ("f", '{"a": 1}')
    assert call_in({"content": "I would call f."}) is None


def test_an_answer_is_judged_by_its_first_call():
    case = Case("simple", "x", [], [FUNCTION], TRUTH)

    def of(name, arguments):
        call = {"function": {"name": name, "arguments": arguments}}
        return judged(case, {"choices": [{"message": {"tool_calls": [call]}, "finish_reason": "length"}]})

    assert of("geo_area", '{"base": 10, "height": 5}').wrong == ""
    assert of("geo_area", '{"base": 10, "hei').fault.startswith("arguments are not JSON (length)")
    assert of("area", "{}").fault == "unknown function area"
