"""Build a clerk for your own database from questions with their SQL, then ask it.

    python blueprints/sql-clerk/run.py build --database shop.sqlite --questions pairs.json --clerk clerk/
    python blueprints/sql-clerk/run.py ask --database shop.sqlite --clerk clerk/ "which shops opened after 1990"

Questions are JSON or JSON lines of `question` and `sql`, or the format of text2sql-data. `--model` also teaches a small
language model (extra `train`): minutes to half an hour, on two cores.
"""

import argparse
import sys
from pathlib import Path

from aigrid.core.config import Config
from aigrid.core.errors import AigridError
from aigrid.core.models import pull, resolve
from aigrid.factory.sql.build import Plan, clerk_with_model, plain_clerk, teach
from aigrid.factory.sql.clerk import Answer, Clerk
from aigrid.factory.sql.database import Database
from aigrid.factory.sql.model import writer
from aigrid.factory.sql.read import read


def main() -> int:
    """Build or ask; returns 1 where it could not."""
    assert __doc__
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("do", choices=["build", "ask"])
    parser.add_argument("question", nargs="?", default="")
    parser.add_argument("--database", type=Path, required=True, metavar="FILE")
    parser.add_argument("--questions", type=Path, metavar="FILE", help="for build: questions with their SQL")
    parser.add_argument("--clerk", type=Path, required=True, metavar="FOLDER", help="where the clerk is kept")
    parser.add_argument("--model", action="store_true", help="teach a model too, and ask it")
    options = parser.parse_args()
    try:
        return _build(options) if options.do == "build" else _ask(options)
    except AigridError as error:
        print(f"sql-clerk: {error}", file=sys.stderr)
        return 1


def _build(options: argparse.Namespace) -> int:
    database, plan = Database(options.database), Plan()
    pairs = read(options.questions)
    clerk = plain_clerk(pairs, database, options.clerk, plan, _tell)
    if options.model:
        base = pull(resolve("smollm2-135m-instruct", Config()))
        tuned = teach(pairs, database, base, options.clerk, plan, _tell)
        with writer(tuned) as generate:
            clerk = clerk_with_model(clerk, pairs, options.clerk, generate, plan, _tell)
    print(f"{len(clerk.library.pairs)} pairs, {len(clerk.library.rules)} rules, {len(clerk.library.made)} recombined")
    return 0


def _ask(options: argparse.Namespace) -> int:
    clerk = Clerk.load(options.clerk / "clerk", options.database)
    if options.model and clerk.with_model:
        with writer(options.clerk / "model.gguf") as generate:
            _show(clerk.answer(options.question, generate))
    else:
        _show(clerk.answer(options.question))
    return 0


def _show(answer: Answer) -> None:
    print(answer.sql)
    print(" | ".join(answer.rows.columns))
    for row in answer.rows.rows[:20]:
        print(" | ".join(map(str, row)))
    if len(answer.rows.rows) > 20:
        print(f"… {len(answer.rows.rows)} rows")
    print(f"{answer.chance:.0%} sure: {answer.why}")


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
