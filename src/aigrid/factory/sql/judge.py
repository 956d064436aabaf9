"""How good a clerk is, and what simpler ways of answering reach on the same questions: execution accuracy, strictly."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from aigrid.factory.sql.clerk import Clerk, Generate
from aigrid.factory.sql.database import Database, Refused, same
from aigrid.factory.sql.fit import Asked, choose, gold
from aigrid.factory.sql.lessons import neighbours
from aigrid.factory.sql.library import Reading
from aigrid.factory.sql.link import words
from aigrid.factory.sql.prompt import prompt, schema
from aigrid.factory.sql.rank import Ranker
from aigrid.factory.sql.read import Pair
from aigrid.factory.sql.similar import Similar
from aigrid.factory.sql.write import text, tokens

Write = Callable[[Pair], str | None]


@dataclass(frozen=True)
class Score:
    """Per question 1 or 0, in order; a question whose own SQL the database refuses is a 0 for everyone."""

    right: tuple[int, ...]

    @property
    def share(self) -> float:
        """The share of right answers."""
        return sum(self.right) / max(1, len(self.right))


def judge(pairs: Sequence[Pair], database: Database, write: Write) -> Score:
    """Return how often the SQL written for a question gives the rows of its own."""
    return Score(tuple(int(_right(pair, database, write(pair))) for pair in pairs))


def _right(pair: Pair, database: Database, sql: str | None) -> bool:
    wanted = gold(pair, database)
    if sql is None or wanted is None:
        return False
    try:
        return same(database.run(sql), wanted)
    except Refused:
        return False


def chosen(ranker: Ranker, questions: Sequence[Asked]) -> Score:
    """Return how often a ranker's choice is right."""
    return Score(tuple(
        int(each.right[choose(ranker, each.features, each.groups)[0]]) if len(each.right) else 0 for each in questions
    ))  # fmt: skip


def oracle(questions: Sequence[Asked]) -> Score:
    """Return how often any candidate is right."""
    return Score(tuple(int(each.right.any()) for each in questions))


def nearest_copy(known: Sequence[Pair]) -> Write:
    """Return the baseline that copies the SQL of the nearest question, values and all."""
    similar = Similar([words(pair.question) for pair in known])
    return lambda pair: text(tokens(known[int(similar.to(words(pair.question)).argmax())].sql))


def nearest_template(clerk: Clerk) -> Write:
    """Return the baseline that fills in the nearest person's template that the question's values fit."""

    def write(pair: Pair) -> str | None:
        found = clerk.candidates(pair.question)
        return max(found, key=lambda each: each.features[0]).sql if found else None

    return write


def model_alone(clerk: Clerk, generate: Generate, shown: int, with_schema: bool) -> Write:
    """Return what a model writes by itself for the likeliest reading, after `shown` neighbours."""
    tables = schema(clerk.library.database) if with_schema else ""

    def write(pair: Pair) -> str | None:
        reading = _likeliest(clerk.library.read(pair.question))
        near = neighbours(clerk.library, reading.words, shown)
        said = generate(prompt(reading.words, near, clerk.names, tables), 1)[0]
        written = clerk.names.parse(said, reading.words)
        return written.fill(reading.mentions) if written else None

    return write


def _likeliest(readings: Sequence[Reading]) -> Reading:
    return max(readings, key=lambda reading: float(reading.cosines.max()) * 3 + reading.prior)
