"""The tools an agent gets: the schema, and one SELECT at a time. Neither can write."""

from typing import Any

from askdb.database import Database, Refused, open_database, schema
from askdb.example import SHOP, make
from askdb.show import bars, svg, table


def database_schema(database: str = "") -> str:
    """Return the tables, columns and some values of the database. Call this before you write SQL."""
    return schema(_open(database).tables)


def run_query(sql: str, title: str = "", database: str = "") -> dict[str, Any]:
    """Run one SELECT over the database and return its rows, as a table and, where it has bars to show, as a chart."""
    try:
        result = _open(database).ask(sql)
    except Refused as refused:
        return {"error": str(refused)}
    return {"table": table(result), "chart": bars(result), "svg": svg(result, title or sql), "more_rows": result.cut}


def _open(database: str) -> Database:
    if not database and not SHOP.exists():
        make()
    return open_database(database or SHOP)
