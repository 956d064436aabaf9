"""New questions with their SQL, made of the pairs' own parts: rules applied to templates, each result run before it counts."""

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from aigrid.factory.sql.database import Database, Refused
from aigrid.factory.sql.link import NUMBER, Values, literal_columns
from aigrid.factory.sql.read import Pair
from aigrid.factory.sql.rules import Rule, apply_at, learn, spans
from aigrid.factory.sql.sense import Sense
from aigrid.factory.sql.template import Template, is_slot, literals, template
from aigrid.factory.sql.write import text

MAX_WORDS, MAX_TOKENS = 24, 110
MAX_JOBS, MAX_PLACES = 200_000, 200
_TRIES = 3


@dataclass(frozen=True)
class Made:
    """What synthesis gave: templates (with parents), and counts of what was dropped and why."""

    templates: list[Template]
    dropped: dict[str, int]


def recombine(
    templates: Sequence[Template], rules: Sequence[Rule], values: Values, database: Database, seed: int = 0, budget: int = 4000,
    rounds: int = 2,
) -> Made:  # fmt: skip
    """Return at most `budget` new templates: each runs, gives rows, and asks what none asked before."""
    draw = random.Random(seed)
    known = {each.words for each in templates}
    sense = Sense(database, values, templates)
    heard = {pair for each in templates for pair in _pairs(each.words)}
    dropped: dict[str, int] = defaultdict(int)
    found: list[Template] = []
    fresh: Sequence[Template] = templates
    by_words: dict[tuple[str, ...], list[Rule]] = defaultdict(list)
    for rule in rules:
        by_words[rule.old].append(rule)
    for turn in range(rounds):
        share = budget * (turn + 1) // rounds
        places = spans(fresh, by_words)
        jobs = [
            (rule, *place) for old in sorted(places) for place in places[old][:MAX_PLACES] for rule in by_words[old]
        ]
        begun = len(found)
        for at in draw.sample(range(len(jobs)), min(len(jobs), MAX_JOBS)):
            if len(found) >= share:
                break
            rule, each, start = jobs[at]
            words = each.words[:start] + rule.new + each.words[start + len(rule.old) :]
            made = None if words in known else apply_at(rule, each, start)
            if made is None:
                continue
            if not sense.makes(made):
                dropped["compares what differs in kind"] += 1
                continue
            why = _why_not(made, known, heard, database, draw)
            if why:
                dropped[why] += 1
                continue
            known.add(made.words)
            found.append(replace(made, id=f"s{len(found)}", columns=_columns(made, database)))
        fresh = found[begun:]
    return Made(found, dict(dropped))


def synthesise(pairs: Sequence[Pair], database: Database, seed: int = 0, budget: int = 4000) -> list[Pair]:
    """Return new pairs with their parents: recombined templates whose slots have values of the database."""
    values = Values(database, literals(pairs, database))
    draw = random.Random(seed)
    templates = [template(pair, values, database) for pair in pairs]
    made = recombine(templates, learn(templates), values, database, seed, budget).templates
    return [pair for each in made if (pair := with_values(each, database, draw)) is not None]


def with_values(each: Template, database: Database, draw: random.Random) -> Pair | None:
    """Return a pair with values of the database in a template's slots, such that the answer is not empty."""
    columns = each.columns or _columns(each, database)
    for _ in range(_TRIES):
        values = [_value(column, database, draw) for column in columns]
        sql = text([_literal(values[int(token[1:-1])], each.slots[int(token[1:-1])]) if is_slot(token) else token
                    for token in each.sql])  # fmt: skip
        try:
            if not database.run(sql).empty:
                filled = iter(values)
                question = " ".join(next(filled) if is_slot(word) else word for word in each.words)
                return Pair(each.id, question, sql, parents=each.parents)
        except (Refused, StopIteration):
            return None
    return None


def _pairs(words: Sequence[str]) -> list[tuple[str, str]]:
    return list(zip(("^", *words), (*words, "$"), strict=True))


def _why_not(
    made: Template, known: set[tuple[str, ...]], heard: set[tuple[str, str]], database: Database, draw: random.Random
) -> str:
    if made.words in known:
        return "duplicate"
    if not heard.issuperset(_pairs(made.words)):
        return "words that do not follow each other"
    if len(made.words) > MAX_WORDS or len(made.sql) > MAX_TOKENS:
        return "long"
    return "" if with_values(made, database, draw) is not None else "does not run or is empty"


def _columns(each: Template, database: Database) -> tuple[str, ...]:
    where = literal_columns([f"'{token}'" if is_slot(token) else token for token in each.sql], database.tables)
    found = {each.sql[at]: column for at, column in where.items()}
    return tuple(found.get(f"{{{at}}}", domain) for at, domain in enumerate(each.slots))


def _value(column: str, database: Database, draw: random.Random) -> str:
    known = next((each for each in database.columns if each.full == column), None)
    values = database.values(known) if known is not None else []
    return str(draw.choice(values)) if values else "0"


def _literal(value: str, domain: str) -> str:
    return value if domain == NUMBER else "'" + value.replace("'", "''") + "'"
