"""What a question can be about, read off its words before a model sees it: the form with only the choices that fit.

The schema and the values in the database are the knowledge: a table, column or value that the question names stays,
the others go. A small model then chooses among a few; a large one loses nothing that the question speaks of, since
what no word decides stays open.
"""

import re
from typing import Any

from askdb.database import Column, Database, Table
from askdb.plan import FUNCTIONS, form

_MOST_VALUES = 5000
_SUPERLATIVES = "most|largest|highest|biggest|longest|greatest|top|best|least|smallest|lowest|shortest|fewest|cheapest"
_NUMBERS = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "ten": 10}
_FUNCTION_WORDS = {
    "average": r"\b(average|mean)\b",
    "sum": r"\b(total of|sum|how much|in total|sold|altogether|combined)\b",
    "count": r"\b(how many|number of|count)\b",
    "maximum": r"\b(largest|highest|biggest|longest|maximum|greatest)\b",
    "minimum": r"\b(smallest|lowest|shortest|minimum|fewest)\b",
}
_DOWN = r"\b(most|largest|highest|biggest|longest|greatest|top|best)\b"
_UP = r"\b(least|smallest|lowest|shortest|fewest|cheapest|worst)\b"
_MEANT = {
    "price": ("expensive", "cheap", "cheapest", "cost"),
    "quantity": ("pieces",),
    "population": ("people", "citizens", "inhabitants", "populous", "populated", "residents", "live"),
    "density": ("dense", "densest", "sparsest"),
    "length": ("long", "longest", "short", "shortest"),
    "altitude": ("high", "tall", "tallest", "highest"),
    "height": ("high", "tall", "tallest", "highest"),
    "area": ("big", "large", "size", "biggest", "largest", "smallest", "square"),
}
"""Words that speak of a column without naming it."""


def narrowed(question: str, database: Database) -> dict[str, Any]:
    """Return the form for one question: a JSON schema of the plans that its words allow."""
    lower = question.lower()
    words = {_stem(word) for word in re.findall(r"[a-z_]+", lower)}
    meant = {column for column, ways in _MEANT.items() if words & {_stem(way) for way in ways}}
    values = {table.name: _values(table, database, lower) for table in database.tables}
    points = {table.name: _points(table, words, meant, values[table.name]) for table in database.tables}
    best = max(points.values())
    forms = [form([table]) for table in database.tables if points[table.name] == best]
    kept = [table for table in database.tables if points[table.name] == best]
    for one, table in zip(forms, kept, strict=True):
        _narrow(one["properties"], table, lower, words, meant, values[table.name])
    return forms[0] if len(forms) == 1 else {"anyOf": forms}


def _narrow(
    parts: dict[str, Any], table: Table, lower: str, words: set[str], meant: set[str], values: dict[str, list[str]]
) -> None:
    named = _spoken_of(table, words, meant)
    for part in {part for column in named for part in column.name.lower().split("_")} & set(_SUPERLATIVES.split("|")):
        lower = lower.replace(part, "")  # it is a part of a column's name, not what to do with it
    numbers = [int(one) if one.isdigit() else float(one) for one in re.findall(r"\b\d+(?:\.\d+)?\b", lower)]
    down, up = re.search(_DOWN, lower), re.search(_UP, lower)
    grouped = re.search(r"\b(each|every|per)\b", lower)
    functions = [name for name, pattern in _FUNCTION_WORDS.items() if re.search(pattern, lower)]
    if "sum" in functions and "count" in functions:
        functions = ["sum" if any(column.kind == "number" for column in named) else "count"]
    of_rows = re.search(rf"\b({_SUPERLATIVES})\s+(\w+\s+)?{_stem(table.name)}", lower)
    by_number = re.search(rf"\b{_stem(table.name)}\w*\b.*\b({_SUPERLATIVES})\b", lower)
    asking = lower.startswith(("which", "who", "what are", "where"))
    ranked = bool(down or up) and (asking or bool(of_rows) or bool(by_number))
    if ranked and not grouped:
        functions = []
    parts["show"] = {"type": "array", "items": {"anyOf": _shows(table, named, functions, values, ranked)},
                     "minItems": 1, "maxItems": 1}  # fmt: skip
    where = _conditions(table, named, numbers if not ranked else [], lower, values)
    fewest = 1 if where else 0
    parts["where"] = {"type": "array", "items": {"anyOf": where or [{"type": "null"}]}, "minItems": fewest,
                      "maxItems": min(len({each for hits in values.values() for each in hits}) + bool(numbers), 3)}  # fmt: skip
    groups = [column.name for column in named if f"each {_stem(column.name)}" in _stemmed(lower)]
    parts["for_each"] = {"enum": (groups or [column.name for column in named] or [""]) if grouped else [""]}
    by = [column.name for column in named if column.kind == "number"]
    order = {"by": {"enum": by or ["result"] if ranked else [""]}, "direction": {"const": "down" if down else "up"}}
    if ranked and up and "most" not in lower:
        order["direction"] = {"const": "up"}
    parts["order"] = {"type": "object", "properties": order, "required": [*order], "additionalProperties": False}
    count = next((number for word, number in _NUMBERS.items() if re.search(rf"\b{word}\b", lower)), 1)
    parts["limit"] = {"const": count if ranked else 100}


def _shows(
    table: Table, named: list[Column], functions: list[str], values: dict[str, list[str]], ranked: bool
) -> list[dict[str, Any]]:
    def shape(columns: list[str], names: list[str]) -> dict[str, Any]:
        properties = {"column": {"enum": columns}, "function": {"enum": names}}
        return {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}

    if functions == ["count"]:
        return [shape(["*"], ["count"])]
    numbers = [column.name for column in named if column.kind == "number"]
    numbers = numbers or [column.name for column in table.columns if column.kind == "number"]
    if functions and not numbers:
        functions = []
    if functions:
        return [shape(numbers, [name for name in functions if name in FUNCTIONS])]
    asked = [column.name for column in named if column.name not in values]
    texts = [column.name for column in table.columns if column.name in ("name", "title", f"{table.name}_name")]
    plain = [name for name in asked if name not in numbers or (values and not ranked)]
    return [shape(plain or texts or [column.name for column in named] or [c.name for c in table.columns], ["none"])]


def _conditions(
    table: Table, named: list[Column], numbers: list[float], lower: str, values: dict[str, list[str]]
) -> list[dict[str, Any]]:
    def shape(column: str, comparisons: list[str], allowed: list[Any]) -> dict[str, Any]:
        properties = {"column": {"const": column}, "comparison": {"enum": comparisons}, "value": {"enum": allowed}}
        return {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}

    found = [shape(column, ["is"], hits) for column, hits in values.items()]
    if numbers:
        less = re.search(r"\b(less|under|below|fewer|before|smaller)\b", lower)
        more = re.search(r"\b(more|over|above|after|larger|greater|at least)\b", lower)
        comparison = ["less than"] if less else ["more than"] if more else ["is"]
        chosen = [column for column in named if column.kind == "number"]
        chosen = chosen or [column for column in table.columns if column.kind == "number"]
        found += [shape(column.name, comparison, numbers) for column in chosen]
    return found


def _points(table: Table, words: set[str], meant: set[str], values: dict[str, list[str]]) -> int:
    named = len(_spoken_of(table, words, meant))
    own = any(column in (table.name, f"{table.name}_name", "name") for column in values)
    return 3 * bool(_parts(table.name) & words) + 2 * named + 2 * len(values) + own


def _spoken_of(table: Table, words: set[str], meant: set[str]) -> list[Column]:
    """Return the columns that the words name, or else those that they mean."""
    named = [column for column in table.columns if _parts(column.name) <= words]
    numbers = [column for column in named if column.kind == "number"]
    return named if numbers else named + [column for column in table.columns if column.name.lower() in meant]


def _parts(name: str) -> set[str]:
    """Return the words of a name that say something."""
    parts = {_stem(part) for part in name.lower().split("_")}
    return parts - {"name", "id", "info"} or parts


def _values(table: Table, database: Database, lower: str) -> dict[str, list[str]]:
    """Return, for each text column, its values that stand in the question."""
    found: dict[str, list[str]] = {}
    for column in table.columns:
        if column.kind == "text":
            seen = database.distinct(table.name, column.name, _MOST_VALUES)
            hits = [one for one in seen if one and re.search(rf"\b{re.escape(one.lower())}\b", lower)]
            if hits:
                found[column.name] = hits
    return found


def _stemmed(text: str) -> str:
    return " ".join(_stem(word) for word in text.split())


def _stem(word: str) -> str:
    word = word.lower().rstrip("?.,")
    if word.endswith("ies"):
        return word[:-3] + "y"
    return word[:-1] if word.endswith("s") and not word.endswith("ss") else word
