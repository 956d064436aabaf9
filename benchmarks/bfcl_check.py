"""Is a function call well-formed, and is it one of the accepted answers: BFCL's rules for its Python categories.

The rules are those of the Berkeley Function Calling Leaderboard's AST checker: the one function by name; required
arguments there; no argument that the function lacks; each value of the declared type (an integer will do for a
float, a list for a tuple) and among the accepted ones, strings compared without case, spaces and some punctuation;
an argument left out only where "" is accepted.
"""

import re
from typing import Any

TYPES = {"dict": "object", "float": "number", "tuple": "array", "any": "string"}
_PYTHON: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
}


def tool_of(function: dict[str, Any]) -> dict[str, Any]:
    """Return a BFCL function as an OpenAI tool: JSON schema types, and no dots in the name."""
    return {
        "type": "function",
        "function": {
            "name": api_name(function["name"]),
            "description": function["description"],
            "parameters": schema_of(function["parameters"]),
        },
    }


def api_name(name: str) -> str:
    """Return a name that OpenAI's API accepts, as BFCL itself makes it."""
    return name.replace(".", "_")


def schema_of(parameter: dict[str, Any]) -> dict[str, Any]:
    """Return a BFCL parameter as JSON schema."""
    schema = {key: value for key, value in parameter.items() if key != "optional"}
    schema["type"] = TYPES.get(schema["type"], schema["type"])
    if "properties" in schema:
        schema["properties"] = {name: schema_of(value) for name, value in schema["properties"].items()}
    if isinstance(schema.get("items"), dict):
        schema["items"] = schema_of(schema["items"])
    return schema


def fault_of(value: Any, schema: dict[str, Any], at: str = "arguments") -> str:
    """Return what is wrong with a value by its schema: type, enum, required, unknown; "" where nothing is."""
    wanted = schema.get("type")
    if wanted and (not isinstance(value, _PYTHON[wanted]) or (isinstance(value, bool) and wanted != "boolean")):
        return f"{at} is no {wanted}"
    if "enum" in schema and value not in schema["enum"]:
        return f"{at} is none of its choices"
    if isinstance(value, dict) and "properties" in schema:
        for name in schema.get("required") or []:
            if name not in value:
                return f"{at} lacks {name}"
        for name, item in value.items():
            if name not in schema["properties"]:
                return f"{at} has {name}, which is unknown"
            if fault := fault_of(item, schema["properties"][name], f"{at}.{name}"):
                return fault
    if isinstance(value, list) and isinstance(schema.get("items"), dict):
        for place, item in enumerate(value):
            if fault := fault_of(item, schema["items"], f"{at}[{place}]"):
                return fault
    return ""


def wrong(name: str, arguments: dict[str, Any], functions: list[dict[str, Any]], truth: dict[str, Any]) -> str:
    """Return why a call is not the accepted one, or ""."""
    ((right, accepted),) = truth.items()
    if name != api_name(right):
        return f"function {name}, not {api_name(right)}"
    function = next(one for one in functions if one["name"] == right)
    properties = function["parameters"]["properties"]
    for required in function["parameters"].get("required") or []:
        if required not in arguments:
            return f"lacks {required}"
    for key, value in arguments.items():
        if key not in properties or key not in accepted:
            return f"{key} is unknown"
        if not _matches(value, properties[key], accepted[key]):
            return f"{key} is {value!r}, not among {accepted[key]!r}"
    for key, values in accepted.items():
        if key not in arguments and "" not in values:
            return f"lacks {key}"
    return ""


def _matches(value: Any, parameter: dict[str, Any], accepted: list[Any]) -> bool:
    kind = TYPES.get(parameter["type"], parameter["type"])
    if isinstance(value, bool) != (kind == "boolean") or not isinstance(value, _PYTHON[kind]):
        # BFCL also takes what has the type of an accepted answer: the name of a variable instead of a number.
        return any(type(value) is type(one) and value == one and one != "" for one in accepted)
    if kind == "object":
        return any(_same_object(value, one) for one in accepted if isinstance(one, dict))
    if kind == "array" and value and all(isinstance(item, dict) for item in value):
        return any(
            isinstance(one, list)
            and len(one) == len(value)
            and all(
                isinstance(right, dict) and _same_object(item, right) for item, right in zip(value, one, strict=True)
            )
            for one in accepted
        )
    return any(_same(value, one) for one in accepted)


def _same_object(value: dict[str, Any], accepted: dict[str, list[Any]]) -> bool:
    """Compare an object; the accepted one has a list of accepted values under each key."""
    if any(key not in accepted for key in value):
        return False
    return all(
        any(_same(value[key], one) for one in values) if key in value else "" in values
        for key, values in accepted.items()
    )


def _same(value: Any, accepted: Any) -> bool:
    return bool(_plain(value) == _plain(accepted))


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return re.sub(r"[ ,./\-_*^]", "", value).lower().replace("'", '"')
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
