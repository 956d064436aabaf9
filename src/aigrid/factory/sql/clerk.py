"""A clerk for one database: a question in words becomes SQL that has run, its rows, and the pairs that it goes back to."""

import json
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from aigrid.core.download import digest
from aigrid.core.errors import AigridError, BadRequest
from aigrid.factory.sql.database import Database, Result
from aigrid.factory.sql.fit import choose
from aigrid.factory.sql.lessons import neighbours
from aigrid.factory.sql.library import Candidate, Library, Reading
from aigrid.factory.sql.prompt import prompt, slot_names
from aigrid.factory.sql.rank import Ranker
from aigrid.factory.sql.read import Pair
from aigrid.factory.sql.rules import Rule
from aigrid.factory.sql.template import Template

Generate = Callable[[str, int], Sequence[str]]
"""Asks a model: a prompt and how many answers are wanted (the first is the likeliest), each up to a line's end."""

SAMPLES = 4
READINGS = 2


class NoAnswer(AigridError):
    """No statement that runs was found for a question."""

    default_code = "no_answer"


@dataclass(frozen=True)
class Answer:
    """The SQL that was chosen, its rows, the chance that they are right, the other candidates, and why this one."""

    sql: str
    rows: Result
    chance: float
    candidates: tuple[tuple[str, float], ...]
    why: str
    cited: tuple[Pair, ...]


class Clerk:
    """Answers with a library and what was learned about choosing: `plain` without a model, `with_model` with one."""

    def __init__(self, library: Library, plain: Ranker, with_model: Ranker | None = None) -> None:
        self.library, self.plain, self.with_model = library, plain, with_model
        self.names = slot_names(library.templates)
        self._pairs = {pair.id: pair for pair in library.pairs}

    def candidates(self, question: str, generate: Generate | None = None, samples: int = SAMPLES) -> list[Candidate]:
        """Return what may answer a question, with features; those about the model only where one is asked."""
        readings = self.library.read(question)
        rows = [row for reading in readings for row in self.library.propose(reading)]
        if generate is None:
            return self.library.run(rows)
        likely = sorted(readings, key=lambda reading: -_hope(reading))[:READINGS]
        said: Counter[str] = Counter()
        firsts: set[str] = set()
        for reading in likely:
            near = neighbours(self.library, reading.words)
            for at, line in enumerate(generate(prompt(reading.words, near, self.names), samples)):
                written = self.names.parse(line, reading.words)
                row = self.library.weigh(reading, written.key, written) if written else None
                if row is not None:
                    said[row[1].sql] += 1
                    if at == 0 and reading is likely[0]:
                        firsts.add(row[1].sql)
                    rows.append((row[0] + 5, row[1]))
        found = self.library.run(rows)
        weigh_model(found, said, firsts, samples * len(likely))
        return found

    def answer(self, question: str, generate: Generate | None = None) -> Answer:
        """Return the chosen SQL with its rows and what it goes back to; raises `NoAnswer`."""
        found = self.candidates(question, generate if self.with_model else None)
        if not found:
            raise NoAnswer(
                f"nothing in {self.library.database.path.name} answers `{question}`: no known question is like it"
            )
        ranker = self.with_model if generate and self.with_model else self.plain
        features = np.array([each.features for each in found], np.float32)
        keys: dict[object, int] = {}
        groups = [keys.setdefault(each.result.key, len(keys)) for each in found]
        at, chance = choose(ranker, features, groups)
        chances = ranker.chances(features)
        cited = self._cited(found[at].source)
        agree = sum(group == groups[at] for group in groups)
        like = f"written after {', '.join(f'`{pair.question}`' for pair in cited)}" if cited else "written by the model"
        return Answer(
            found[at].sql, found[at].result, chance,
            tuple((each.sql, float(share)) for each, share in
                  sorted(zip(found, chances, strict=True), key=lambda row: -row[1])[:10]),
            f"{like}; {agree} of {len(found)} candidates give these rows", cited,
        )  # fmt: skip

    def _cited(self, source: str) -> tuple[Pair, ...]:
        if source in self._pairs:
            return (self._pairs[source],)
        parents = next((each.parents for each in self.library.made if each.id == source), ())
        return tuple(self._pairs[parent] for parent in parents if parent in self._pairs)

    def save(self, folder: Path) -> None:
        """Write everything but the database and the model into a folder of plain files."""
        folder.mkdir(parents=True, exist_ok=True)
        library = self.library
        rankers = {"plain": _ranker(self.plain)}
        if self.with_model:
            rankers["with_model"] = _ranker(self.with_model)
        files = {
            "pairs.json": [asdict(pair) for pair in library.pairs],
            "made.json": [asdict(each) for each in library.made],
            "rules.json": [asdict(each) for each in library.rules],
            "rankers.json": rankers,
            "clerk.json": {"seed": library.seed, "database": library.database.path.name,
                           "sha256": digest(library.database.path)},
        }  # fmt: skip
        for name, value in files.items():
            (folder / name).write_text(json.dumps(value, ensure_ascii=False))
        np.savez_compressed(folder / "weights.npz", **library.weights)  # type: ignore[arg-type]

    @classmethod
    def load(cls, folder: Path, database: Path | None = None) -> "Clerk":
        """Return the clerk in a folder; its database is `database`, or lies beside it under its own name.

        Raises `BadRequest` where the database is another than the clerk was made for.
        """
        about = _read(folder / "clerk.json")
        path = database or folder / about["database"]
        if not path.exists() or digest(path) != about["sha256"]:
            raise BadRequest(
                f"{path} is not the database that this clerk was made for ({about['database']}, "
                f"sha256 {about['sha256'][:12]}…): give it that file, or build the clerk again"
            )
        with np.load(folder / "weights.npz") as arrays:
            weights = {name: arrays[name] for name in arrays.files}
        library = Library(
            [Pair(**{**row, "parents": tuple(row["parents"])}) for row in _read(folder / "pairs.json")],
            [_template(row)
             for row in _read(folder / "made.json")],
            [_rule(row) for row in _read(folder / "rules.json")],
            Database(path), about["seed"], weights,
        )  # fmt: skip
        rankers = {name: Ranker(*(np.array(row, np.float32) for row in rows))
                   for name, rows in _read(folder / "rankers.json").items()}  # fmt: skip
        return cls(library, rankers["plain"], rankers.get("with_model"))


def weigh_model(found: Sequence[Candidate], said: Counter[str], firsts: set[str], asked: int) -> None:
    """Add what the model says to candidates' features: how often it wrote them, or others with the same rows."""
    rows: Counter[object] = Counter()
    for each in found:
        rows[each.result.key] += said[each.sql]
    first = {each.result.key for each in found if each.sql in firsts}
    total = max(1, sum(rows.values()))
    for each in found:
        same_rows = rows[each.result.key]
        each.features += [
            said[each.sql] / asked,
            same_rows / asked,
            same_rows / total,
            float(each.sql in firsts),
            float(each.result.key in first),
            math.log1p(same_rows),
        ]


def _hope(reading: Reading) -> float:
    return float(reading.cosines.max()) * 3 + reading.prior


def _ranker(ranker: Ranker) -> list[list[float]]:
    return [ranker.weights.tolist(), ranker.centre.tolist(), ranker.scale.tolist()]


def _template(row: dict[str, Any]) -> Template:
    lists = {name: tuple(row[name]) for name in ("words", "sql", "slots", "columns", "parents")}
    return Template(id=row["id"], **lists)


def _rule(row: dict[str, Any]) -> Rule:
    changes = tuple((tuple(old), tuple(new)) for old, new in row["changes"])
    return Rule(tuple(row["old"]), tuple(row["new"]), changes, tuple(row["parents"]), row["support"])


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise BadRequest(f"{path} cannot be read as part of a clerk: {error}") from error
