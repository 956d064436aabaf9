"""The front desk of a shop: answers from its handbook, fills in forms, and calls a person where one is needed.

    python blueprints/front-desk/run.py "How long is the warranty on the frame?"

By default a factory with the embedded model is started for this; `--no-model` asks none and loads nothing.
"""

import argparse
import contextlib
import json
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from frontdesk.books import Books, Refused
from frontdesk.desk import Conversation, FrontDesk, Reply
from frontdesk.evaluate import evaluate
from frontdesk.handbook import Handbook
from frontdesk.tools import DATA, STATE

from aigrid.agents.desk import Desk
from aigrid.client.model import add_options, chosen
from aigrid.core.errors import AigridError

EXAMPLE = [
    "How much does delivery of a bicycle cost?",
    "I want to return the rain jacket from LC-2041, it is too small.",
]


def main() -> int:
    """Serve one customer, decide about a return, or evaluate; returns 1 where that is not possible."""
    options = _options()
    try:
        if options.waiting or options.approve or options.deny:
            return _decide(options)
        with contextlib.ExitStack() as stack:
            model = None if options.no_model else stack.enter_context(chosen(options))
            handbook = Handbook(options.handbook, None if options.no_model else _embedder())
            stack.callback(handbook.close)
            if options.evaluate:
                found = evaluate(Path(options.evaluate), options.orders, handbook, model)
                print(json.dumps(found, indent=2) if options.json else _scores(found))
                return 0
            desk = stack.enter_context(_desk(options, handbook, model))
            talk = Conversation(uuid.uuid4().hex)
            if options.chat:
                while said := _read():
                    _show(desk.turn(talk, said), False)
            for said in [] if options.chat else options.said or EXAMPLE:
                reply = desk.turn(talk, said)
                if not options.json:
                    print(f"> {said}")
                _show(reply, options.json)
    except (AigridError, Refused, FileNotFoundError) as error:
        print(f"front-desk: {error}", file=sys.stderr)
        return 1
    return 0


def _options() -> argparse.Namespace:
    assert __doc__
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("said", nargs="*", help="what the customer says, turn by turn (default: two examples)")
    parser.add_argument("--chat", action="store_true", help="read the customer's words from standard input")
    parser.add_argument("--no-model", action="store_true", help="answer in quotes; search by words; load no model")
    add_options(parser)
    parser.add_argument("--handbook", type=Path, default=DATA / "handbook", help="a folder of Markdown pages")
    parser.add_argument(
        "--orders", type=Path, default=DATA / "orders.json", help="the orders, as data/orders.json has them"
    )
    parser.add_argument("--state", type=Path, default=STATE, help="the folder of the books and approvals")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--evaluate", metavar="CASES", nargs="?", const=str(DATA / "cases.json"),
                        help="play all cases of a file and count what is right")  # fmt: skip
    parser.add_argument("--waiting", action="store_true", help="list the returns that wait for approval")
    parser.add_argument("--approve", metavar="ID", help="approve a return that waits")
    parser.add_argument("--deny", metavar="ID", help="deny a return that waits")
    parser.add_argument("--by", default="", help="who approves or denies")
    parser.add_argument("--reason", default="", help="why")
    return parser.parse_args()


def _embedder():
    from aigrid.core.config import load
    from aigrid.knowledge.embed import open_embedder

    return open_embedder(load())


@contextlib.contextmanager
def _desk(options: argparse.Namespace, handbook: Handbook | None, model) -> Iterator[FrontDesk]:
    options.state.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(Desk(options.state / "approvals.db")) as approvals:
        books = Books(options.state / "books.sqlite", options.orders)
        yield FrontDesk(handbook, books, approvals, model)


def _decide(options: argparse.Namespace) -> int:
    options.state.mkdir(parents=True, exist_ok=True)
    if options.waiting:
        with contextlib.closing(Desk(options.state / "approvals.db")) as approvals:
            for one in approvals.all("waiting"):
                print(f"{one.id}  {one.call}: {one.arguments['reason']}, {one.arguments['refund_eur']:.2f} euros")
        return 0
    if not options.by:
        raise Refused("--by NAME is needed: an approval says who gave it")
    with _desk(options, None, None) as desk:
        _show(
            desk.decide(options.approve or options.deny, bool(options.approve), options.by, options.reason),
            options.json,
        )
    return 0


def _read() -> str:
    try:
        return input("> " if sys.stdin.isatty() else "").strip()
    except EOFError:
        return ""


def _show(reply: Reply, as_json: bool) -> None:
    if as_json:
        cited = [{"page": each.path, "line": each.line, "quote": each.quote} for each in reply.citations]
        print(json.dumps({**vars(reply), "citations": cited}))
        return
    print(reply.text)
    for each in reply.citations:
        print(f"  [{each.number}] {each.path}, {' › '.join(each.heading)}: “{' '.join(each.quote.split())}”")


def _scores(found: dict) -> str:
    lines = [
        f"wrong: {' / '.join(each['said'])}\n       {each['why']}\n       {each['answer']}" for each in found["wrong"]
    ]
    lines += [f"{kind}: {right} of {total}" for kind, (right, total) in found["scores"].items()]
    lines += [f"baseline, {what}: {right} of {total}" for what, (right, total) in found["baseline"].items()]
    return "\n".join(
        [*lines, f"citations that stand in their page: {found['citations'][0]} of {found['citations'][1]}"]
    )


if __name__ == "__main__":
    sys.exit(main())
