"""All that is known about one database's questions: templates, people's and recombined, and how a new one is matched."""

import math
import random
import re
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from aigrid.factory.sql.database import Database, Refused, Result
from aigrid.factory.sql.derive import Derivations
from aigrid.factory.sql.edits import Edits
from aigrid.factory.sql.fragments import Fragments, pieces
from aigrid.factory.sql.link import Mention, Values, words
from aigrid.factory.sql.read import Pair
from aigrid.factory.sql.rules import Rule, learn
from aigrid.factory.sql.sense import Sense
from aigrid.factory.sql.similar import Floats, Similar, stem
from aigrid.factory.sql.synthesise import recombine
from aigrid.factory.sql.template import Template, literals, template, variants

BUDGET = 4000
SHOWN = 50
_BY_LIKENESS, _BY_PIECES = 40, 25
_ANCHORS, _PEOPLE = 1400, 2000
_PATIENCE_S = 10.0
"""How long candidates may run together, where a database is slow; the most promising run first."""
_WORTH = (0.1, 0, 0.3, 0, 0.1, 1, -0.1, 1, 0, 0.4, 0, 0.1, 0, 0.4, -0.3, 0.1, 0.4, 0.3, 0.3, 0.2, 0.4, 0.4)
"""What the first features are worth before anything is learned: only who is heard at all depends on it."""
_STARTS = 150


@dataclass
class Candidate:
    """A statement that may answer a question, what speaks for it, and its rows."""

    sql: str
    result: Result
    features: list[float]
    source: str = ""
    """The id of the pair (or recombined row) that it was written after."""


@dataclass
class Derived:
    """A template that rules make of known questions: how many ways lead to it, each worth 1 / (1 + its rules)."""

    template: Template
    ways: float = 0.0
    fewest: int = 9
    support: int = 0


@dataclass
class Reading:
    """One way to read a question: words with slots, mentions, and how far all templates are from it."""

    words: tuple[str, ...]
    mentions: tuple[Mention, ...]
    prior: float
    cosines: Floats
    wanted: tuple[Floats, float]
    best: int = 0
    near: Counter[str] = field(default_factory=Counter)
    derived: dict[str, "Derived"] = field(default_factory=dict)


class Library:
    """Templates of `pairs` and recombined ones (`made`), the rules between them, and all that is learned from both.

    `weights` are those of an earlier library of the same templates: nothing is learned then.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        made: Sequence[Template],
        rules: Sequence[Rule],
        database: Database,
        seed: int = 0,
        weights: Mapping[str, Floats] | None = None,
    ) -> None:
        self.database, self.seed = database, seed
        self.pairs, self.made, self.rules = list(pairs), list(made), list(rules)
        self.values = Values(database, literals(pairs, database))
        own = [template(pair, self.values, database) for pair in pairs]
        self.derivations = Derivations(rules)
        self.sense = Sense(database, self.values, own)
        self.templates = [*own, *made]
        self.own = len(own)
        self.similar = Similar([each.words for each in self.templates])
        self.rows: dict[str, list[int]] = defaultdict(list)
        for at, each in enumerate(self.templates):
            self.rows[each.key].append(at)
        self.keys = list(self.rows)
        self.tokens = {key: _tokens(key) for key in self.keys}
        draw = random.Random(seed)
        people = range(self.own) if self.own <= _PEOPLE else draw.sample(range(self.own), _PEOPLE)
        some = sorted({*people, *draw.sample(range(len(self.templates)), min(_ANCHORS, len(self.templates)))})
        of = [self.templates[at] for at in some]
        fewer = Similar([each.words for each in of])
        self.fragments = Fragments(fewer, [each.words for each in of], [self.tokens[each.key] for each in of], weights)
        self.edits = Edits(
            self.similar, [each.words for each in self.templates], [each.key for each in self.templates], some, weights
        )
        self._pieces = np.zeros((len(self.keys), len(self.fragments.index)), np.float32)
        for at, key in enumerate(self.keys):
            known = [self.fragments.index[piece] for piece in pieces(self.tokens[key]) if piece in self.fragments.index]
            self._pieces[at, known] = 1
        self._linked(pairs, own)
        names = {part for column in database.columns for part in re.split(r"[\W_]+", column.full) if len(part) > 2}
        self._schema = {stem(name) for name in names}

    @classmethod
    def build(cls, pairs: Sequence[Pair], database: Database, seed: int = 0, budget: int = BUDGET) -> "Library":
        """Return the library of pairs, with at most `budget` recombined templates."""
        values = Values(database, literals(pairs, database))
        own = [template(pair, values, database) for pair in pairs]
        rules = learn(own)
        made = recombine(own, rules, values, database, seed, budget).templates if budget else []
        return cls(pairs, made, rules, database, seed)

    @property
    def weights(self) -> dict[str, Floats]:
        """All that was learned, as arrays."""
        return {**self.fragments.learned, **self.edits.learned}

    def read(self, question: str) -> list[Reading]:
        """Return the ways to read a question."""
        asked = words(question)
        chances = {mention: self.chance(mention, asked) for mention in self.values.mentions(asked)}
        none = sum(math.log(1 - chance) for chance in chances.values())
        found = []
        for with_slots, mentions in variants(question, self.values):
            prior = none + sum(math.log(chances[each] / (1 - chances[each])) for each in mentions)
            cosines = self.similar.to(with_slots)
            reading = Reading(with_slots, mentions, prior, cosines, self.fragments.wanted(with_slots))
            order = np.argsort(-cosines)[:10]
            reading.best, reading.near = int(order[0]), Counter(self.templates[at].key for at in order)
            reading.derived = self._derive(reading, np.argsort(-cosines)[:_STARTS].tolist())
            found.append(reading)
        return found

    def _derive(self, reading: Reading, starts: Sequence[int]) -> dict[str, Derived]:
        found: dict[str, Derived] = {}
        for at in starts:
            for made, steps, support in self.derivations.reach(reading.words, self.templates[at]):
                if steps and not self.sense.makes(made):
                    continue
                known = found.setdefault(made.key, Derived(made))
                known.ways += (1 if at < self.own else 0.5) / (1 + steps)
                known.fewest = min(known.fewest, steps + (at >= self.own))
                known.support = max(known.support, support)
        return found

    def candidates(self, question: str, most: int = SHOWN) -> list[Candidate]:
        """Return statements of the library that may answer a question, most promising first; all of them run."""
        return self.run([row for reading in self.read(question) for row in self.propose(reading)], most)

    def propose(self, reading: Reading) -> list[tuple[float, Candidate]]:
        """Return what the library would say to a question read in one way, each with 0 (what to add to its worth)."""
        have = Counter(mention.domain for mention in reading.mentions)
        fit = [at for at, key in enumerate(self.keys) if not Counter(self.templates[self.rows[key][0]].slots) - have]
        keys = dict.fromkeys(reading.derived)
        if fit:
            top = np.array([reading.cosines[self.rows[self.keys[at]]].max() for at in fit])
            likely = self._pieces[fit] @ reading.wanted[0]
            for at in (*np.argsort(-top)[:_BY_LIKENESS].tolist(), *np.argsort(-likely)[:_BY_PIECES].tolist()):
                keys[self.keys[fit[at]]] = None
        return [row for key in keys if (row := self.weigh(reading, key)) is not None]

    def run(self, rows: Sequence[tuple[float, Candidate]], most: int = SHOWN) -> list[Candidate]:
        """Return the most promising of some candidates, each once and with its rows; those that do not run are left out."""
        best: dict[str, tuple[float, Candidate]] = {}
        for (_, candidate), hope in zip(rows, _hopes(rows), strict=True):
            if candidate.sql not in best or best[candidate.sql][0] < hope:
                best[candidate.sql] = hope, candidate
        out: list[Candidate] = []
        end = time.monotonic() + _PATIENCE_S
        for _, candidate in sorted(best.values(), key=lambda row: -row[0])[: 2 * most]:
            try:
                candidate.result = self.database.run(candidate.sql)
            except Refused:
                continue
            rows_ = candidate.result
            candidate.features += [float(rows_.empty), math.log1p(len(rows_.rows)), float(len(rows_.rows) == 1)]
            out.append(candidate)
            if len(out) == most or time.monotonic() > end:
                break
        return out

    def weigh(self, reading: Reading, key: str, written: Template | None = None) -> tuple[float, Candidate] | None:
        """Return a statement with its features (but those of its rows), and 0 (what to add to its worth).

        `written` is what the key stands for where the library may not know it.
        """
        rows = np.array(self.rows.get(key, ()), np.int64)
        derived = reading.derived.get(key)
        cosines = reading.cosines[rows]
        order = rows[np.argsort(-cosines)]
        first = self.templates[order[0]] if len(rows) else derived.template if derived else written
        sql = first.fill(reading.mentions) if first else None
        if first is None or sql is None:
            return None
        tokens = self.tokens.get(key) or _tokens(key)
        own, made = rows[rows < self.own], rows[rows >= self.own]
        likely, unknown = self.fragments.score(reading.wanted, tokens)
        odds = self.edits.odds(reading.words, reading.cosines, order[:6].tolist())
        exact = [at for at in order[:6] if self.templates[at].words == reading.words]
        unused = len(reading.mentions) - len(first.slots)
        most = max((each.ways for each in reading.derived.values()), default=0.0)
        features = [
            float(reading.cosines[own].max()) if len(own) else 0.0,
            float(reading.cosines[made].max()) if len(made) else 0.0,
            float(cosines.max()) if len(rows) else 0.0,
            float(np.sort(cosines)[-3:].mean()) if len(rows) else 0.0,
            reading.near[key] / 10,
            likely,
            float(unknown),
            max(odds, default=-12.0),
            float(unused),
            reading.prior,
            math.log(len(tokens)),
            float(any(at < self.own for at in exact)),
            float(bool(exact)),
            math.log1p(len(own)),
            float(not len(own)),
            float(self.templates[reading.best].key == key),
            *self._named(reading.words, tokens),
            float(derived is not None),
            math.log1p(derived.ways) if derived else 0.0,
            derived.ways / most if derived else 0.0,
            1 / (1 + derived.fewest) if derived else 0.0,
            math.log1p(derived.support) if derived else 0.0,
        ]
        return 0.0, Candidate(sql, Result((), ()), features, first.id)

    def _named(self, asked: Sequence[str], sql: Sequence[str]) -> tuple[float, float]:
        """Return the shares of the schema's words in a question that SQL uses, and in SQL that the question has."""
        spoken = {stem(word) for word in asked} & self._schema
        used = {stem(part) for token in sql for part in re.split(r"[\W_]+", token)} & self._schema
        return len(spoken & used) / max(1, len(spoken)), len(spoken & used) / max(1, len(used))

    def chance(self, mention: Mention, asked: Sequence[str]) -> float:
        """Return how often words that name this value are meant as one of its domain."""
        kind, said = ("", mention.domain), (" ".join(asked[mention.start : mention.end]), mention.domain)
        usual = (self._meant[kind] + 0.5) / (self._seen[kind] + 1)
        return min(0.99, max(0.01, (self._meant[said] + 2 * usual) / (self._seen[said] + 2)))

    def _linked(self, pairs: Sequence[Pair], own: Sequence[Template]) -> None:
        self._meant: Counter[tuple[str, str]] = Counter()
        self._seen: Counter[tuple[str, str]] = Counter()
        for pair, each in zip(pairs, own, strict=True):
            asked = words(pair.question)
            meant = dict(variants(pair.question, self.values)).get(each.words)
            if meant is None:
                continue
            for mention in self.values.mentions(asked):
                for name in (("", mention.domain), (" ".join(asked[mention.start : mention.end]), mention.domain)):
                    self._seen[name] += 1
                    self._meant[name] += mention in meant


def _hopes(rows: Sequence[tuple[float, Candidate]]) -> list[float]:
    """Return a first guess of what candidates are worth beside each other, before any is run."""
    if not rows:
        return []
    features = np.array([candidate.features[: len(_WORTH)] for _, candidate in rows], np.float32)
    spread = (features - features.mean(0)) / (features.std(0) + 0.1)
    extra = np.array([more for more, _ in rows], np.float32)
    return [float(worth) for worth in spread @ np.array(_WORTH, np.float32) + extra]


def _tokens(key: str) -> list[str]:
    return re.findall(r"\{[^}]*\}|'(?:[^']|'')*'|[\w.]+|[^\s\w]", key)
