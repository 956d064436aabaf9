"""Ask a SQLite or PostgreSQL database a question in words: the answer as a table and a chart, and the SQL that gave it.

    python blueprints/ask-your-database/run.py "How many orders were there in each month?"

A model fills in the query, and only what the schema allows: by default that of a factory started for this question.
`--sql` asks the database yourself, without any model; it can only be read either way.
"""

import argparse
import json
import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from askdb.ask import Answer, ask
from askdb.database import Refused, open_database
from askdb.evaluate import evaluate, without_a_model
from askdb.example import DATA, SHOP, make
from askdb.show import bars, svg, table

from aigrid.client.model import add_options, chosen
from aigrid.core.errors import AigridError


def main() -> int:
    """Ask, answer, print; returns 1 where the question was refused."""
    assert __doc__
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("question", nargs="?", default="What is the total of all orders for each city?")
    parser.add_argument("--database", default=str(SHOP), metavar="FILE|URL",
                        help="a SQLite file or postgresql:// URL (default: the example's shop)")  # fmt: skip
    parser.add_argument("--sql", action="store_true", help="the question is a SELECT: no model is asked")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="also write the chart there")
    add_options(parser)
    parser.add_argument("--evaluate", metavar="QUESTIONS", nargs="?", const=str(DATA / "questions.json"),
                        help="ask all questions of a file and count the right answers")  # fmt: skip
    options = parser.parse_args()
    if options.database == str(SHOP) and not SHOP.exists():
        make()
    try:
        database = open_database(options.database)
        if options.sql:
            show(Answer(options.question, (), database.ask(options.question)), options.question, options.svg)
            return 0
        with chosen(options) as model:
            if options.evaluate:
                pairs = json.loads(Path(options.evaluate).read_text())
                judged = evaluate(pairs, database, partial(ask, database=database, model=model))
                for one in judged:
                    print(f"{'right' if one.right else 'wrong'}  {one.question}\n       {one.shown}")
                plain = evaluate(pairs, database, partial(without_a_model, database=database))
                print(f"{sum(one.right for one in judged)} of {len(pairs)} right")
                print(f"baseline, the first choice that the form leaves: {sum(one.right for one in plain)}")
            else:
                show(ask(options.question, database, model), options.question, options.svg)
    except (Refused, AigridError) as refused:
        print(f"ask: {refused}", file=sys.stderr)
        return 1
    return 0


def show(answer: Answer, title: str, chart: Path | None) -> None:
    """Print an answer for people."""
    print(table(answer.result))
    if drawn := bars(answer.result):
        print(f"\n{drawn}")
    print(f"\n{answer.sql}" + (f"  {list(answer.values)}" if answer.values else ""))
    if chart is not None:
        picture = svg(answer.result, title)
        if picture:
            chart.write_text(picture)
        print(f"chart: {chart}" if picture else "no chart: it needs from 2 to 20 rows, a label and a number")


if __name__ == "__main__":
    sys.exit(main())
