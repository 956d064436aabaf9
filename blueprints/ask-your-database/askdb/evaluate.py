"""How many questions are answered as a person's SQL answers them: the rows are compared, not the SQL."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from aigrid.core.errors import AigridError
from askdb.ask import Answer, answer_of, form_of
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


@dataclass(frozen=True)
class Judged:
    """A question, whether it was answered rightly, and the SQL (or why there was none)."""

    question: str
    right: bool
    shown: str


def evaluate(
    pairs: Sequence[Sequence[str]], database: Database, answered: Callable[[str], Answer], at_once: int = 8
) -> list[Judged]:
    """Answer every question of [question, SQL] pairs, some at once, and compare the rows."""

    def judge(pair: Sequence[str]) -> Judged:
        question, gold = pair
        try:
            answer = answered(question)
            return Judged(question, same(answer.result, database.ask(gold)), answer.sql)
        except (Refused, AigridError) as error:
            return Judged(question, False, str(error))

    with ThreadPoolExecutor(at_once) as pool:
        return list(pool.map(judge, pairs))


def without_a_model(question: str, database: Database) -> Answer:
    """Answer with the first choice that the form leaves open, everywhere: the baseline."""
    plan: dict[str, Any] = _first(form_of(question, database)["properties"]["plan"])
    return answer_of(plan, database)


def _first(form: dict[str, Any]) -> Any:
    if "const" in form:
        return form["const"]
    if "enum" in form:
        return form["enum"][0]
    if "anyOf" in form:
        return _first(form["anyOf"][0])
    if form.get("type") == "array":
        return [_first(form["items"])] * form.get("minItems", 0)
    if form.get("type") == "object":
        return {name: _first(each) for name, each in form["properties"].items()}
    return 0 if form.get("type") == "number" else ""
