"""Which values of a database a question names: longest matches over all text values, typed by what columns share.

Columns whose values largely coincide (a state's name in six tables) are one *domain*, called after its widest column.
Numbers are of the domain `number`.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from aigrid.factory.sql.database import Column, Database

NUMBER = "number"
OVERLAP = 0.6
MAX_WORDS = 10
MAX_READINGS = 24
_WORD = re.compile(r"\d+(?:\.\d+)?|[^\W_]+(?:'(?!s\b)[^\W_]+)*|'s\b|[\"“”]|\{[\w.]+\}", re.UNICODE)
_SPELT = {word: str(at) for at, word in enumerate(("zero", "one", "two", "three", "four", "five", "six", "seven"))}


def words(text: str) -> list[str]:
    """Return the words of a text as they are compared: lower-case, without punctuation and possessive s."""
    return [word for word in _WORD.findall(text.lower().replace(",000", "000")) if word not in {"'s", '"', "“", "”"}]


@dataclass(frozen=True)
class Mention:
    """A value named by the words `start` to `end` of a question: what it is in SQL, and its domain."""

    start: int
    end: int
    domain: str
    value: str


class Values:
    """The values of a database by their words. `more` are values seen in SQL: (`table.column`, value)."""

    def __init__(self, database: Database, more: Iterable[tuple[str, str]] = ()) -> None:
        texts = {column.full: set(map(str, database.values(column))) for column in database.columns
                 if column.kind == "text"}  # fmt: skip
        self.domains = _domains(
            texts, [pair for pair in database.foreign_keys() if pair[0] in texts and pair[1] in texts]
        )
        for column, value in more:
            if column in texts:
                texts[column].add(value)
        self._at: dict[tuple[str, ...], dict[str, str]] = defaultdict(dict)
        for column in sorted(texts, key=lambda name: -len(texts[name])):
            for value in sorted(texts[column]):
                self.add(column, value)
        self.numbers = {column.full for column in database.columns if column.kind == "number"}

    def add(self, column: str, value: str) -> None:
        """Know a value of a column."""
        key = tuple(words(value))
        if key and len(key) <= MAX_WORDS:
            self._at[key].setdefault(self.domains[column], value)

    def domain(self, column: str) -> str:
        """Return the domain of `table.column`; numbers are `number`."""
        return NUMBER if column in self.numbers else self.domains.get(column, column)

    def mentions(self, text: Sequence[str]) -> list[Mention]:
        """Return all values that some words of a text name; they may overlap."""
        return [
            Mention(start, start + length, domain, value)
            for start in range(len(text))
            for length in range(min(MAX_WORDS, len(text) - start), 0, -1)
            for domain, value in self._read(tuple(text[start : start + length])).items()
        ]

    def _read(self, key: tuple[str, ...]) -> dict[str, str]:
        read = dict(self._at.get(key, {}))
        last = key[-1]
        for plural, single in (("s", ""), ("es", ""), ("ies", "y")):
            if not read and last.endswith(plural) and len(last) > len(plural) + 2:
                read = dict(self._at.get((*key[:-1], last[: -len(plural)] + single), {}))
        if len(key) == 1 and (number := _SPELT.get(last, last)).replace(".", "", 1).isdigit():
            read[NUMBER] = number
        return read


def readings(mentions: Sequence[Mention], most: int = MAX_READINGS) -> list[tuple[Mention, ...]]:
    """Return the ways to read a question: sets of mentions that do not overlap, those that cover most words first."""
    found: list[tuple[Mention, ...]] = [()]
    for mention in sorted(mentions, key=lambda each: each.start):
        found += [(*reading, mention) for reading in found if not reading or reading[-1].end <= mention.start]
        found = sorted(found, key=_covered, reverse=True)[: most * 4]
    return found[:most]


def _covered(reading: Sequence[Mention]) -> tuple[int, int]:
    return sum(each.end - each.start for each in reading), -len(reading)


def _domains(texts: dict[str, set[str]], keys: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Return the domain of each text column: the widest of the columns that share most of their values."""
    head = {column: column for column in texts}

    def top(column: str) -> str:
        while head[column] != column:
            column = head[column]
        return column

    lower = {column: {value.lower() for value in values} for column, values in texts.items()}
    names = sorted(texts, key=lambda column: (-len(texts[column]), column))
    joined = set(keys) | {(b, a) for a, b in keys}
    for at, wide in enumerate(names):
        for narrow in names[at + 1 :]:
            shared = len(lower[wide] & lower[narrow])
            if (wide, narrow) in joined or shared >= max(1, OVERLAP * len(lower[narrow])):
                a, b = sorted((top(wide), top(narrow)), key=lambda column: (-len(texts[column]), column))
                head[b] = a
    return {column: top(column) for column in texts}


def literal_columns(sql: Sequence[str], tables: dict[str, list[Column]]) -> dict[int, str]:
    """Return which `table.column` each literal of a statement's tokens is compared with, by the literal's place."""
    known = {table.lower(): {column.name.lower() for column in columns} for table, columns in tables.items()}
    alias = {sql[at + 2]: sql[at] for at in range(len(sql) - 2) if sql[at + 1] == "as" and sql[at] in known}
    found: dict[int, str] = {}
    for at, token in enumerate(sql):
        if token[0] == "'" or token[0].isdigit():
            column = _compared(sql, at)
            if column is not None:
                found[at] = _resolve(sql, column, alias, known)
    return found


def _compared(sql: Sequence[str], at: int) -> int | None:
    """Return the place of the column that the literal at `at` is compared with."""
    back = at - 1
    while back > 0 and (sql[back] in {",", "(", "%", "and", "between", "in", "not"} or sql[back][0] in "'0123456789"):
        back -= 1
    if sql[back] in {"=", "<", ">", "<=", ">=", "<>", "like"}:
        back -= 1
        while back > 0 and sql[back] in {")", "("}:
            back -= 1
    if back >= 0 and re.match(r"[a-z_]", sql[back]) and sql[back] not in {"limit", "select", "where", "and", "or"}:
        return back
    if at + 2 < len(sql) and sql[at + 1] in {"=", "<", ">", "<=", ">=", "<>"} and re.match(r"[a-z_]", sql[at + 2]):
        return at + 4 if sql[at + 3 : at + 4] == ["."] else at + 2
    return None


def _resolve(sql: Sequence[str], at: int, alias: dict[str, str], known: dict[str, set[str]]) -> str:
    name = sql[at]
    if at >= 2 and sql[at - 1] == ".":
        table = alias.get(sql[at - 2], sql[at - 2])
        return f"{table}.{name}"
    for back in range(at, -1, -1):
        if sql[back] in known and name in known[sql[back]]:
            return f"{sql[back]}.{name}"
    return next((f"{table}.{name}" for table in known if name in known[table]), name)
