"""Questions to a database in SQL: read-only, with limits on tables, rows and time that the database itself enforces."""

import asyncio
import base64
import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from aigrid.agents.spec import SqlTool
from aigrid.agents.tools.base import Built, Call, Site, ToolError
from aigrid.core.errors import ConfigError

SCHEMA = {
    "type": "object",
    "properties": {"query": {"type": "string", "minLength": 1, "maxLength": 10_000, "description": "One SELECT."}},
    "required": ["query"],
}
_LARGEST_VALUE = 1 << 20
_MOST_BYTES = 4 << 20
_READS = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_RECURSIVE}


def build(tool: SqlTool, site: Site) -> Built:
    """Return the tool, with the tables that may be read in its description."""
    if bool(tool.database) == bool(tool.database_env):
        raise ConfigError("a tool of kind sql needs either `database` (a file) or `database_env`")
    if tool.database_env:
        url = os.environ.get(tool.database_env, "")
        if not url:
            raise ConfigError(f"the environment variable {tool.database_env} is not set; it holds the database's URL")
        if tool.tables is not None:
            raise ConfigError("`tables` is for SQLite files; give the PostgreSQL user rights on those tables alone")
        ask, about = _postgres(url, tool), "Ask the PostgreSQL database with one SELECT."
    else:
        path = site.folder / tool.database
        if not path.is_file():
            raise ConfigError(f"there is no database at {path}")
        ask, about = _sqlite(path, tool), f"Ask the SQLite database with one SELECT. Its tables:\n{_tables(path, tool)}"

    async def work(arguments: dict[str, Any], call: Call) -> Any:
        return await asyncio.to_thread(ask, arguments["query"])

    return Built(about, SCHEMA, safe_to_retry=True, idempotent=True, work=work)


def _open(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)


def _tables(path: Path, tool: SqlTool) -> str:
    database = _open(path)
    try:
        rows = database.execute("SELECT name, sql FROM sqlite_master WHERE type IN ('table', 'view') ORDER BY name")
        return "\n".join(sql for name, sql in rows if sql and (tool.tables is None or name in tool.tables))
    except sqlite3.DatabaseError as error:
        raise ConfigError(f"{path} is not a SQLite database: {error}") from None
    finally:
        database.close()


def _sqlite(path: Path, tool: SqlTool) -> Any:
    def allow(action: int, first: str | None, second: str | None, _: str | None, inside: str | None) -> int:
        if action in _READS:
            return sqlite3.SQLITE_OK
        if action == sqlite3.SQLITE_FUNCTION:
            return sqlite3.SQLITE_DENY if second in ("load_extension", "fts3_tokenizer") else sqlite3.SQLITE_OK
        if action == sqlite3.SQLITE_READ and (tool.tables is None or first in tool.tables or inside in tool.tables):
            return sqlite3.SQLITE_OK
        return sqlite3.SQLITE_DENY

    def ask(query: str) -> dict[str, Any]:
        database = _open(path)
        try:
            end = time.monotonic() + tool.timeout_s
            database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LARGEST_VALUE)
            database.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
            database.execute("PRAGMA query_only = 1")
            database.set_progress_handler(lambda: time.monotonic() > end, 10_000)
            database.set_authorizer(allow)
            cursor = database.execute(query)
            if cursor.description is None:
                raise ToolError("this is no question: write one SELECT")
            return _answer([each[0] for each in cursor.description], cursor, tool.max_rows)
        except sqlite3.Error as error:
            said = str(error)
            if said == "interrupted":
                said = f"it took longer than {tool.timeout_s:g} s; ask for less"
            raise ToolError(f"the database refused: {said}") from None
        finally:
            database.close()

    return ask


def _postgres(url: str, tool: SqlTool) -> Any:
    def ask(query: str) -> dict[str, Any]:
        import psycopg

        options = f"-c default_transaction_read_only=on -c statement_timeout={int(tool.timeout_s * 1000)}"
        try:
            with psycopg.connect(url, options=options, connect_timeout=10) as connection:
                connection.read_only = True
                # In brackets, so that it can only be a question; streams take one statement alone, row by row.
                text = f"SELECT * FROM (\n{query.strip().rstrip(';')}\n) AS answer LIMIT "
                cursor = connection.cursor()
                stream: Any = cursor.stream(f"{text}{tool.max_rows + 1}".encode())
                with closing(stream) as rows:
                    answer = _answer([], rows, tool.max_rows)
                    about = cursor.description
                if not answer["rows"]:  # then the stream does not say what its columns would have been
                    about = connection.execute(f"{text}0".encode(), prepare=True).description
                answer["columns"] = [each.name for each in about or ()]
                connection.rollback()
                return answer
        except psycopg.Error as error:
            raise ToolError(f"the database refused: {' '.join(str(error).split())}") from None

    return ask


def _answer(columns: list[str], rows: Any, most: int) -> dict[str, Any]:
    """Return columns and rows, as many as are allowed, and whether that is all."""
    found: list[list[Any]] = []
    size = 0
    for row in rows:
        size += sum(len(value) if isinstance(value, str | bytes) else 8 for value in row)
        if len(found) == most or size > _MOST_BYTES:
            return {"columns": columns, "rows": found, "more": True}
        found.append([_plain(value) for value in row])
    return {"columns": columns, "rows": found, "more": False}


def _plain(value: Any) -> Any:
    if isinstance(value, bytes | memoryview):
        return base64.b64encode(bytes(value)).decode()
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)
