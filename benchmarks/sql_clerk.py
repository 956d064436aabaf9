"""sql-clerk: from a database file and questions with their SQL to a clerk, and how often its rows are the right ones.

Every way of answering is scored on the same test questions, by execution: all rows are fetched and compared as
multisets, in order where the right SQL asks for an order. A question whose own SQL the database refuses counts as wrong
for everyone. Nothing is chosen on test questions: the choice is learned in folds of the others. Then the same code, with
no change, does a second database (`benchmarks.sql_library`), and the first one split by query instead of by question.

`--database F --questions F` measures another pair of files in the same way. Stages are kept in `--work`; what is there
is not done again, and `stages_s` says how long each took when it was done.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from aigrid.core.config import Config
from aigrid.core.download import digest
from aigrid.core.models import pull, resolve
from aigrid.factory.sql import judge
from aigrid.factory.sql.build import Plan, apart, ask_all, clerk_with_model, plain_clerk, teach
from aigrid.factory.sql.clerk import Clerk
from aigrid.factory.sql.database import Database
from aigrid.factory.sql.judge import Score
from aigrid.factory.sql.model import writer
from aigrid.factory.sql.read import Pair, read
from aigrid.factory.stats import paired, share
from benchmarks import sql_library
from benchmarks.common import arguments, log, report
from benchmarks.shared_data import shared

WORK = Path.home() / ".cache" / "aigrid" / "bench" / "sql-clerk"
BASE = "smollm2-135m-instruct"
MINUTES = 30
WANTED = 0.75
PEER = {"name": "the nearest question's SQL, and each way of answering alone, on the same questions"}


class Stages:
    """A folder of work, and how long each stage took, across interruptions."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._file = folder / "seconds.json"
        self.seconds: dict[str, float] = json.loads(self._file.read_text()) if self._file.exists() else {}

    def run(self, name: str, work: Callable[[], Any]) -> Any:
        """Do a stage; the longest time that it ever took is what it takes: later runs find it done."""
        log(f"  {name}")
        began = time.monotonic()
        value = work()
        self.seconds[name] = round(max(self.seconds.get(name, 0.0), time.monotonic() - began), 1)
        self._file.write_text(json.dumps(self.seconds))
        return value


def measure(
    name: str,
    questions: Path,
    database_file: Path,
    work: Path,
    plan: Plan,
    by: str = "question-split",
    model: bool = True,
) -> dict[str, Any]:
    """Build a clerk from two files and score it beside simpler ways; returns the table and the time."""
    mark = f"{name}-{digest(questions)[:8]}-{digest(database_file)[:8]}-{by}"
    stages = Stages(work / mark)
    log(f"{name} ({by})")
    database = Database(database_file)
    pairs = stages.run("read", lambda: read(questions, by))
    known = [pair for pair in pairs if pair.split != "test"]
    tests = [pair for pair in pairs if pair.split == "test"]
    clerk: Clerk = stages.run(
        "rules, recombination, choice", lambda: plain_clerk(known, database, stages.folder, plan, log)
    )
    scores: dict[str, Score] = {
        "nearest question, copied": judge.judge(tests, database, judge.nearest_copy(known)),
        "nearest template, filled in": judge.judge(tests, database, judge.nearest_template(clerk)),
    }
    plain = ask_all(clerk, tests, None)
    scores["templates and rules, ranked"] = judge.chosen(clerk.plain, plain)
    composed, asked = "templates and rules, ranked", plain
    if model:
        composed, asked = "composed", _with_model(stages, clerk, known, tests, database, plan, scores)
    scores["oracle among its candidates"] = judge.oracle(asked)
    return _summary(name, by, known, tests, clerk, scores, composed, stages)


def _with_model(
    stages: Stages, plain: Clerk, known: Sequence[Pair], tests: Sequence[Pair], database: Database, plan: Plan,
    scores: dict[str, Score],
) -> list[Any]:  # fmt: skip
    base = pull(resolve(BASE, Config()))
    with writer(base) as generate:
        alone = judge.model_alone(plain, generate, shown=3, with_schema=True)
        scores["untuned model, schema and 3 examples"] = stages.run(
            "untuned model", lambda: _many(tests, database, alone)
        )
    tuned = stages.run("training", lambda: teach(known, database, base, stages.folder, plan, log))
    with writer(tuned) as generate:
        clerk = stages.run(
            "the weight of the model's word",
            lambda: clerk_with_model(plain, known, stages.folder, generate, plan, log),
        )
        alone = judge.model_alone(clerk, generate, shown=1, with_schema=False)
        scores["tuned model alone"] = stages.run("tuned model alone", lambda: _many(tests, database, alone))
        asked = stages.run(
            "composed on test", lambda: ask_all(clerk, tests, generate if clerk.with_model else None, plan.samples)
        )
    scores["composed"] = judge.chosen(clerk.with_model or clerk.plain, asked)
    return asked


def _many(tests: Sequence[Pair], database: Database, write: judge.Write) -> Score:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(8) as pool:
        written = list(pool.map(write, tests))
    by_id = {pair.id: sql for pair, sql in zip(tests, written, strict=True)}
    return judge.judge(tests, database, lambda pair: by_id[pair.id])


def _summary(
    name: str, by: str, known: Sequence[Pair], tests: Sequence[Pair], clerk: Clerk, scores: dict[str, Score],
    composed: str, stages: Stages,
) -> dict[str, Any]:  # fmt: skip
    nearest = scores["nearest question, copied"].right
    rows = {}
    for way, score in scores.items():
        one, against = share(score.right), paired(score.right, nearest)
        rows[way] = {"right": sum(score.right), "of": len(tests), "share": round(one.value, 4),
                     "share_95": [round(one.low, 4), round(one.high, 4)], "against_nearest_p": round(against.p, 6)}  # fmt: skip
    building = ("read", "rules, recombination, choice", "training", "the weight of the model's word")
    return {
        "name": name, "split": by, "known": len(known), "tests": len(tests), "composed": composed,
        "recombined": len(clerk.library.made), "rules": len(clerk.library.rules), "held": len(apart(known, Plan())[1]),
        "ways": rows, "stages_s": stages.seconds,
        "build_minutes": round(sum(stages.seconds.get(stage, 0.0) for stage in building) / 60, 1),
    }  # fmt: skip


def claims(found: dict[str, Any]) -> dict[str, bool]:
    """Return what must hold of one database's figures."""
    ours = found["ways"][found["composed"]]
    nearest = max(row["right"] for way, row in found["ways"].items() if way.startswith("nearest"))
    return {
        f"{found['name']}, {found['split']}: composed is at least {WANTED:.0%}": ours["share"] >= WANTED,
        f"{found['name']}, {found['split']}: composed is not below the nearest question": ours["right"] >= nearest,
        f"{found['name']}, {found['split']}: from files to the clerk in {MINUTES} minutes": found["build_minutes"]
        <= MINUTES,
    }


def main() -> None:
    """Measure and report."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--database", type=Path, help="a SQLite file (default: GeoQuery, and two checks beside it)")
    parser.add_argument("--questions", type=Path, help="its questions, as factory/sql/read.py takes them")
    parser.add_argument("--work", type=Path, default=WORK, help="where stages are kept")
    parser.add_argument("--no-model", action="store_true", help="templates and rules alone")
    parser.add_argument("--lessons", type=int, default=Plan().lessons, help="rows that teach the model")
    options = parser.parse_args()
    result = _all(options)
    report(result, options.json)


def _all(options: argparse.Namespace) -> dict[str, Any]:
    plan = Plan(lessons=options.lessons)
    if bool(options.database) != bool(options.questions):
        sys.exit("give --database and --questions together")
    if options.database:
        one = measure(options.database.stem, options.questions, options.database, options.work, plan,
                      model=not options.no_model)  # fmt: skip
        return {"databases": [one], "peer": PEER, "grid": _grid([one]), "holds": claims(one)}
    questions, database = shared("skills/geoquery.json.gz"), shared("skills/geoquery.sqlite")
    found = [measure("geoquery", questions, database, options.work, plan, model=not options.no_model)]
    found.append(measure("geoquery", questions, database, options.work, plan, "query-split", model=False))
    with tempfile.TemporaryDirectory() as folder:
        other, asked = sql_library.make(Path(folder))
        found.append(measure("books", asked, other, options.work, plan, model=False))
    holds = claims(found[0])
    for each in found[1:]:
        holds |= {claim: good for claim, good in claims(each).items() if "not below" in claim}
    return {"databases": found, "peer": PEER, "grid": _grid(found), "holds": holds}


def _grid(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    rows = [
        [f"{each['name']} ({each['split']}): {way}", f"{row['share']:.1%}",
         f"{row['share_95'][0]:.1%} to {row['share_95'][1]:.1%}", f"{row['right']} of {row['of']}"]
        for each in found for way, row in each["ways"].items()
    ]  # fmt: skip
    return {"columns": ["right rows", "95 % interval", "questions"], "rows": rows}


if __name__ == "__main__":
    main()
