"""Whether a statement makes sense for its columns: what is compared must be of one kind, and only numbers are summed.

SQLite runs `max(name)` and `river = city` without a word. What the pairs themselves do is always allowed.
"""

from collections.abc import Iterable, Iterator, Sequence

from aigrid.factory.sql.database import Database
from aigrid.factory.sql.link import NUMBER, Values
from aigrid.factory.sql.template import Template, is_slot

_FUNCTIONS = {"max", "min", "sum", "avg"}
_COMPARES = {"=", "<", ">", "<=", ">=", "<>", "in"}

Use = tuple[str, str]


class Sense:
    """What columns are for, by their names: their domains, and how some templates use them."""

    def __init__(self, database: Database, values: Values, templates: Iterable[Template]) -> None:
        self._domains: dict[str, set[str]] = {}
        for column in database.columns:
            self._domains.setdefault(column.name.lower(), set()).add(values.domain(column.full))
        self._seen = {use for each in templates for use in self._uses(each)}

    def makes(self, each: Template) -> bool:
        """Whether a template uses columns as their domains allow, or as the pairs do."""
        return all(use in self._seen or self._fits(use) for use in self._uses(each))

    def _fits(self, use: Use) -> bool:
        first, second = use
        wanted = {NUMBER} if first in _FUNCTIONS else self._kinds(first)
        return bool(wanted & self._kinds(second))

    def _kinds(self, name: str) -> set[str]:
        return {name[1:-1]} if is_slot(name) else self._domains.get(name, set())

    def _uses(self, each: Template) -> Iterator[Use]:
        sql = [f"{{{each.slots[int(token[1:-1])]}}}" if is_slot(token) else token for token in each.sql]
        for at, token in enumerate(sql):
            if token in _FUNCTIONS and sql[at + 1 : at + 2] == ["("]:
                column = self._column(sql, at + 2)
                if column:
                    yield token, column
            elif token in _COMPARES and at and sql[at - 1] in self._domains:
                other = self._column(sql, at + 1)
                if other:
                    yield sql[at - 1], other

    def _column(self, sql: Sequence[str], at: int) -> str:
        """Return the column or slot that stands at a place, looking into a nested SELECT; empty where it is neither."""
        while at < len(sql) and sql[at] in {"(", "select", "distinct", "not", "in", "all", *_FUNCTIONS}:
            at += 1
        if at + 2 < len(sql) and sql[at + 1] == ".":
            at += 2
        if at < len(sql) and (sql[at] in self._domains or is_slot(sql[at])):
            return sql[at]
        return ""
