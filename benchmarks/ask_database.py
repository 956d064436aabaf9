"""ask-your-database on GeoQuery's test questions: asked by people, answered by the blueprint, compared row by row.

A question is right if its rows are those of a person's SQL. The baseline fills in the same form without a model, with
the first choice that the question's words leave open. A plan reads one table, so that questions which need a join are
out of its reach: these are counted apart, by the person's SQL. The questions come in an order drawn with a fixed seed; as many are asked as `--minutes` allow.
Questions whose own SQL the database refuses are left out. `--split dev` are the questions to develop with.
"""

import argparse
import contextlib
import gzip
import json
import random
import re
import sys
import time
from functools import partial
from typing import Any

from benchmarks.common import ROOT, arguments, interval, log, report
from benchmarks.shared_data import shared

sys.path.insert(0, str(ROOT / "blueprints" / "ask-your-database"))

from askdb.ask import ask
from askdb.database import Database, Refused, open_database
from askdb.evaluate import Judged, evaluate, without_a_model

from aigrid.client.model import add_options, chosen

DATABASE = "skills/geoquery.sqlite"
SEED = 7
AT_ONCE = 8


def questions(split: str) -> list[tuple[str, str]]:
    """Return the questions of a split, each with its SQL; names stand where the data has placeholders."""
    with gzip.open(shared("skills/geoquery.json.gz")) as file:
        groups = json.load(file)
    return [
        (_named(sentence["text"], sentence), _named(group["sql"][0], sentence))
        for group in groups
        for sentence in group["sentences"]
        if sentence["question-split"] == split
    ]


def _named(text: str, sentence: dict[str, Any]) -> str:
    for name, value in sentence["variables"].items():
        text = text.replace(name, value)
    return text


def one_table(sql: str) -> bool:
    """Whether a SELECT reads one table, once."""
    froms = re.findall(r"\bFROM\b([^()]*?)(?:\bWHERE\b|\bGROUP\b|\bORDER\b|[;()]|$)", sql, re.IGNORECASE)
    return len(froms) == 1 and "," not in froms[0] and " JOIN " not in froms[0].upper()


def runs(sql: str, database: Database) -> bool:
    """Whether the database takes a person's SQL."""
    with contextlib.suppress(Refused):
        return bool(database.ask(sql).columns)
    return False


def share(judged: list[Judged]) -> dict[str, Any]:
    right = sum(one.right for one in judged)
    return {"right": right, "of": len(judged), "share": round(right / max(len(judged), 1), 4),
            "share_95": interval(right, len(judged))}  # fmt: skip


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Ask all questions, with the model and without."""
    database = open_database(shared(DATABASE))
    pairs = [pair for pair in questions(options.split) if runs(pair[1], database)]
    random.Random(SEED).shuffle(pairs)
    pairs, judged = pairs[: options.limit or None], []
    plain = evaluate(pairs, database, partial(without_a_model, database=database))
    if options.no_model:
        judged = plain
    else:
        with chosen(options) as model:
            began = time.monotonic()
            while len(judged) < len(pairs) and time.monotonic() - began < 60 * options.minutes:
                some = pairs[len(judged) : len(judged) + AT_ONCE * 2]
                judged += evaluate(some, database, partial(ask, database=database, model=model), AT_ONCE)
                log(f"    {len(judged)} of {len(pairs)}")
    pairs, plain = pairs[: len(judged)], plain[: len(judged)]
    simple = [one_table(sql) for _, sql in pairs]
    for one, needs_one in zip(judged, simple, strict=True):
        if options.show:
            log(
                f"{'right' if one.right else 'wrong'} {'one' if needs_one else 'join'}  {one.question}\n      {one.shown}"
            )

    def within(rows: list[Judged], one: bool) -> dict[str, Any]:
        return share([row for row, needs_one in zip(rows, simple, strict=True) if needs_one is one])

    return {
        "split": options.split,
        "model": {"all": share(judged), "one_table": within(judged, True), "joins": within(judged, False)},
        "without_a_model": {"all": share(plain), "one_table": within(plain, True), "joins": within(plain, False)},
    }


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--split", default="test", choices=("test", "dev", "train"), help="GeoQuery's question split")
    parser.add_argument("--limit", type=int, default=0, help="the first so many questions alone")
    parser.add_argument("--minutes", type=float, default=4.0, help="ask no more after so long (4)")
    parser.add_argument("--no-model", action="store_true", help="the baseline alone")
    parser.add_argument("--show", action="store_true", help="print each question and its SQL, on stderr")
    add_options(parser)
    options = parser.parse_args()
    figures = measure(options)
    with_model, plain = figures["model"], figures["without_a_model"]
    table = [
        {"what": f"GeoQuery {name} ({with_model[key]['of']} questions), right",
         "ours": with_model[key]["share"], "peer": plain[key]["share"]}
        for name, key in (("all", "all"), ("one table", "one_table"), ("joins", "joins"))
    ]  # fmt: skip
    better = with_model["all"]["right"] >= plain["all"]["right"]
    report({"figures": figures, "peer": {"name": "the same form without a model, its first choices"}, "table": table,
            "holds": {"the model answers no fewer questions than the form alone": better}}, options.json)  # fmt: skip


if __name__ == "__main__":
    main()
