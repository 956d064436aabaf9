"""A question as a plan that the schema allows: what a model fills in, and the SQL that comes of it.

The model never writes SQL. It fills in a form whose tables, columns, functions and comparisons are choices from the
schema, enforced while it writes; values go into the query as parameters. So the SQL is always valid, always reads,
and can name nothing that is not there. One table at a time: joins are left to a model that may write SQL of its own.
"""

from typing import Any

from askdb.database import Refused, Table, quoted

FUNCTIONS = {"count": "COUNT", "sum": "SUM", "average": "AVG", "minimum": "MIN", "maximum": "MAX"}
COMPARISONS = {"is": "=", "is not": "<>", "less than": "<", "more than": ">", "contains": "LIKE"}
_LARGEST_LIMIT = 100


def form(tables: list[Table]) -> dict[str, Any]:
    """Return the JSON schema of a plan: one alternative for each table, so that columns are always its own."""
    forms = [_form(table) for table in tables]
    return forms[0] if len(forms) == 1 else {"anyOf": forms}


def _form(table: Table) -> dict[str, Any]:
    names = [column.name for column in table.columns]
    numbers = [column.name for column in table.columns if column.kind == "number"]
    texts = [column.name for column in table.columns if column.kind == "text"]
    conditions = []
    if texts:
        conditions.append(_condition(texts, ["is", "is not", "contains"], {"type": "string", "maxLength": 60}))
    if numbers:
        conditions.append(_condition(numbers, ["is", "is not", "less than", "more than"], {"type": "number"}))
    what = [_shape({"column": {"enum": names}, "function": {"const": "none"}})]
    what.append(_shape({"column": {"const": "*"}, "function": {"const": "count"}}))
    if numbers:
        what.append(_shape({"column": {"enum": numbers}, "function": {"enum": [*FUNCTIONS]}}))
    return _shape(
        {
            "table": {"const": table.name},
            "show": {"type": "array", "items": {"anyOf": what}, "minItems": 1, "maxItems": 4},
            "where": {"type": "array", "items": {"anyOf": conditions}, "maxItems": 3},
            "for_each": {"enum": ["", *names]},
            "order": _shape({"by": {"enum": ["", "result", *names]}, "direction": {"enum": ["up", "down"]}}),
            "limit": {"enum": [1, 3, 5, 10, _LARGEST_LIMIT]},
        }
    )


def _shape(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}


def _condition(columns: list[str], comparisons: list[str], value: dict[str, Any]) -> dict[str, Any]:
    return _shape({"column": {"enum": columns}, "comparison": {"enum": comparisons}, "value": value})


def sql_of(plan: dict[str, Any], tables: list[Table], mark: str = "?") -> tuple[str, tuple[Any, ...]]:
    """Return the SELECT of a plan and its values, each a `mark` with its number; raises `Refused` for a plan that the form would not allow."""
    table = next((one for one in tables if one.name == plan.get("table")), None)
    if table is None:
        raise Refused(f"the plan names the table {plan.get('table')!r}, which is not in the schema")
    names = {column.name for column in table.columns}

    def column(name: Any) -> str:
        if name not in names:
            raise Refused(f"the plan names the column {name!r}, which {table.name} does not have")
        return quoted(name)

    try:
        shown = [_shown(one, column) for one in plan["show"]]
        group = column(plan["for_each"]) if plan["for_each"] else ""
        if group and group not in shown:
            shown.insert(0, group)
        sql = f"SELECT {', '.join(dict.fromkeys(shown))} FROM {quoted(table.name)}"
        values = []
        if plan["where"]:
            parts = []
            for one in plan["where"]:
                name, value, place = column(one["column"]), one["value"], mark.format(len(values) + 1)
                if isinstance(value, str):
                    name, place = f"LOWER({name})", f"LOWER({place})"
                parts.append(f"{name} {COMPARISONS[one['comparison']]} {place}")
                values.append(f"%{value}%" if one["comparison"] == "contains" else value)
            sql += f" WHERE {' AND '.join(parts)}"
        if group:
            sql += f" GROUP BY {group}"
        if by := plan["order"]["by"]:
            sql += f" ORDER BY {shown[-1] if by == 'result' else column(by)}"
            sql += " DESC" if plan["order"]["direction"] == "down" else ""
        return f"{sql} LIMIT {min(int(plan['limit']), _LARGEST_LIMIT)}", tuple(values)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Refused(f"the plan is incomplete: {error!r}") from error


def _shown(one: dict[str, Any], column: Any) -> str:
    if one["function"] == "none":
        return str(column(one["column"]))
    inner = "*" if one["column"] == "*" and one["function"] == "count" else column(one["column"])
    return f"{FUNCTIONS[one['function']]}({inner})"
