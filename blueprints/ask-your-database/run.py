"""Ask a SQLite database a question in words: the answer as a table and a chart, and the SQL that gave it.

    python blueprints/ask-your-database/run.py "How many orders were there in each month?"

A model fills in the query, and only what the schema allows: by default that of a factory started for this question.
`--sql` asks the database yourself, without any model; it can only be read either way.
"""

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from askdb.ask import Answer, Server, ask
from askdb.database import Database, Refused
from askdb.evaluate import evaluate
from askdb.example import DATA, SHOP, make
from askdb.factory import factory
from askdb.show import bars, svg, table


def main() -> int:
    """Ask, answer, print; returns 1 where the question was refused."""
    assert __doc__
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("question", nargs="?", default="What is the total of all orders for each city?")
    parser.add_argument("--database", type=Path, default=SHOP, help="a SQLite file (default: the example's shop)")
    parser.add_argument("--sql", action="store_true", help="the question is a SELECT: no model is asked")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="also write the chart there")
    parser.add_argument("--url", help="an OpenAI-compatible server; its key is in OPENAI_API_KEY")
    parser.add_argument("--model", default="", help="the model to ask (default: the server's own)")
    parser.add_argument("--evaluate", metavar="QUESTIONS", nargs="?", const=str(DATA / "questions.json"),
                        help="ask all questions of a file and count the right answers")  # fmt: skip
    options = parser.parse_args()
    if options.database == SHOP and not SHOP.exists():
        make()
    try:
        database = Database(options.database)
        if options.sql:
            show(Answer(options.question, (), database.ask(options.question)), options.question, options.svg)
            return 0
        with server(options.url, options.model) as chosen:
            if options.evaluate:
                print(evaluate(Path(options.evaluate), database, chosen))
            else:
                show(ask(options.question, database, chosen), options.question, options.svg)
    except Refused as refused:
        print(f"ask: {refused}", file=sys.stderr)
        return 1
    return 0


@contextlib.contextmanager
def server(url: str | None, model: str) -> Iterator[Server]:
    """Give the server named, or a factory of its own until the block ends."""
    if url:
        yield Server(url, os.environ.get("OPENAI_API_KEY", "none"), model)
    else:
        with factory(model) as own:
            yield own


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
