"""Questions and SQL with typed slots where they name the same values: what one question teaches about all like it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from aigrid.factory.sql.database import Database
from aigrid.factory.sql.link import Mention, Values, literal_columns, readings, words
from aigrid.factory.sql.read import Pair
from aigrid.factory.sql.write import short, text, tokens


@dataclass(frozen=True)
class Template:
    """A question's words and SQL tokens with slots (`{domain}` in the words, `{0}` in the SQL, numbered in order)."""

    id: str
    words: tuple[str, ...]
    sql: tuple[str, ...]
    slots: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    parents: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """The SQL with its slots: equal for all questions that only differ in values."""
        return text([f"{{{self.slots[int(token[1:-1])]}}}" if is_slot(token) else token for token in self.sql])

    def fill(self, mentions: Sequence[Mention]) -> str | None:
        """Return the SQL with a question's values in the slots, each in order within its domain; None where one lacks."""
        ready: dict[str, list[str]] = {}
        for mention in mentions:
            ready.setdefault(mention.domain, []).append(mention.value)
        values = []
        for domain in self.slots:
            if not ready.get(domain):
                return None
            values.append(ready[domain].pop(0))
        return text([_literal(values[int(token[1:-1])], self.slots[int(token[1:-1])]) if is_slot(token) else token
                     for token in self.sql])  # fmt: skip


def is_slot(token: str) -> bool:
    """Whether a token of a template's SQL is a slot."""
    return token[0] == "{"


def _literal(value: str, domain: str) -> str:
    return value if domain == "number" else "'" + value.replace("'", "''") + "'"


def anonymous(text_words: Sequence[str], mentions: Sequence[Mention]) -> tuple[str, ...]:
    """Return a question's words with `{domain}` for each mention."""
    out: list[str] = []
    at = 0
    for mention in sorted(mentions, key=lambda each: each.start):
        out += [*text_words[at : mention.start], f"{{{mention.domain}}}"]
        at = mention.end
    return (*out, *text_words[at:])


def template(pair: Pair, values: Values, database: Database) -> Template:
    """Return the template of a pair: a literal becomes a slot where the question names it too."""
    asked, sql = words(pair.question), tokens(short(pair.sql, database))
    columns = literal_columns(sql, database.tables)
    mentions: list[Mention] = []
    taken: set[int] = set()
    wanted = sorted(columns, key=lambda at: -len(sql[at]))
    for at in wanted:
        domain, value = values.domain(columns[at]), value_of(sql[at])
        if any(each.value == value and each.domain == domain for each in mentions):
            continue
        place = _find(asked, words(value), taken)
        if place:
            taken.update(range(*place))
            mentions.append(Mention(*place, domain, value))
    mentions.sort(key=lambda each: each.start)
    slot = {(each.domain, each.value): f"{{{at}}}" for at, each in enumerate(mentions)}
    filled = [slot.get((values.domain(columns[at]), value_of(token)), token) if at in columns else token
              for at, token in enumerate(sql)]  # fmt: skip
    where = {filled[at]: column for at, column in columns.items()}
    return Template(
        pair.id, anonymous(asked, mentions), tuple(filled), tuple(each.domain for each in mentions),
        tuple(where[f"{{{at}}}"] for at in range(len(mentions))), pair.parents,
    )  # fmt: skip


def value_of(token: str) -> str:
    """Return what a literal of SQL stands for."""
    return token[1:-1].replace("''", "'").strip("%") if token[0] == "'" else token


def _find(asked: Sequence[str], value: Sequence[str], taken: set[int]) -> tuple[int, int] | None:
    for start in range(len(asked) - len(value) + 1 if value else 0):
        if list(asked[start : start + len(value)]) == list(value) and taken.isdisjoint(
            range(start, start + len(value))
        ):
            return start, start + len(value)
    return None


def literals(pairs: Sequence[Pair], database: Database) -> list[tuple[str, str]]:
    """Return the text values that the pairs' SQL names: (`table.column`, value)."""
    found: Counter[tuple[str, str]] = Counter()
    for pair in pairs:
        sql = tokens(short(pair.sql, database))
        for at, column in literal_columns(sql, database.tables).items():
            if sql[at][0] == "'":
                found[column, value_of(sql[at])] += 1
    return list(found)


def variants(question: str, values: Values) -> list[tuple[tuple[str, ...], tuple[Mention, ...]]]:
    """Return the ways to read a question: its words with slots, and the values in them."""
    asked = words(question)
    return [(anonymous(asked, reading), reading) for reading in readings(values.mentions(asked))]
