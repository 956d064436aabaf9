"""How many questions are answered as a person's SQL answers them: the rows are compared, not the SQL."""

import json
from pathlib import Path
from typing import Any

from askdb.ask import Server, ask
from askdb.database import Database, Refused, Result


def same(found: Result, right: Result) -> bool:
    """Return whether the right rows are there, in any order; more columns than asked for do no harm."""
    wanted = sorted(map(_key, right.rows))
    if len(found.rows) != len(wanted):
        return False
    if any(len(row) < len(right.columns) for row in found.rows):
        return False
    return sorted(map(_key, found.rows)) == wanted or _columns_within(found, right)


def _columns_within(found: Result, right: Result) -> bool:
    columns = [sorted(_cell(row[at]) for row in found.rows) for at in range(len(found.columns))]
    return all(sorted(_cell(row[at]) for row in right.rows) in columns for at in range(len(right.columns)))


def _key(row: tuple[Any, ...]) -> list[str]:
    return sorted(map(_cell, row))


def _cell(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, int | float) else str(value).strip().lower()


def evaluate(file: Path, database: Database, server: Server) -> str:
    """Ask every question of a file of [question, SQL] pairs; returns what was right, line by line, and the count."""
    lines, right = [], 0
    pairs: list[list[str]] = json.loads(file.read_text())
    for question, gold in pairs:
        try:
            answer = ask(question, database, server)
            good = same(answer.result, database.ask(gold))
            shown = answer.sql
        except Refused as refused:
            good, shown = False, str(refused)
        right += good
        lines.append(f"{'right' if good else 'wrong'}  {question}\n       {shown}")
    return "\n".join([*lines, f"{right} of {len(pairs)} right"])
