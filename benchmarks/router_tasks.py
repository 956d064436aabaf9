"""Questions of several kinds with one right answer, and how often the embedded model is right at each.

`python -m benchmarks.router_tasks` asks the real engine for nine answers to each. The first is the weak one (asked
once). Of the other eight, the strong one is right where any is: best of eight by an exact check, as the scorer `program`
does it. It keeps them in `router_outcomes.jsonl` beside this file, so that a router is trained and tested on them in
seconds, and goes on where it was interrupted.
"""

import argparse
import itertools
import json
import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from aigrid.client.http import Gateway
from benchmarks import common, thinking_tasks

STORED = Path(__file__).with_name("router_outcomes.jsonl")
VOTES = 8
AT_ONCE = 6
EACH = 90
"""Questions of each kind, at most."""


def kinds() -> dict[str, list[tuple[str, str]]]:
    """Return questions with their right answers, by kind; all that there are, before some are drawn."""
    small, two, three = range(2, 13), range(11, 100), range(111, 1000, 7)
    names = ("Anna", "Ben", "Clara", "David", "Emma", "Farid")
    things = ("apples", "books", "coins", "pens")
    return {
        "tables": [(f"What is {a} times {b}?", str(a * b)) for a, b in itertools.product(small, small)],
        "sums of two digits": [(f"What is {a} plus {b}?", str(a + b)) for a, b in itertools.product(two, two)],
        "sums of three digits": [(f"What is {a} plus {b}?", str(a + b)) for a, b in itertools.product(three, three)],
        "sums of one digit": [(f"What is {a} plus {b}?", str(a + b)) for a, b in itertools.product(small, small)],
        "differences": [(f"What is {a} minus {b}?", str(a - b)) for a, b in itertools.product(two, small) if a > b],
        "stories": [
            (f"{name} has {a} {thing} and gets {b} more. How many {thing} does {name} have now?", str(a + b))
            for name, thing, a, b in itertools.product(names, things, small, small)
        ],
        "next numbers": [
            (f"Which number comes next: {a}, {a + step}, {a + 2 * step}, {a + 3 * step}?", str(a + 4 * step))
            for a, step in itertools.product(range(1, 60), (1, 2, 3, 5, 10))
        ],
    }


SHOWN = {
    "tables": [("What is 7 times 3?", "7 times 3 = 21"), ("What is 4 times 9?", "4 times 9 = 36")],
    "sums of two digits": [("What is 21 plus 34?", "21 plus 34 = 55"), ("What is 48 plus 17?", "48 plus 17 = 65")],
    "sums of three digits": [("What is 210 plus 340?", "210 plus 340 = 550"), ("What is 483 plus 172?", "483 plus 172 = 655")],
    "sums of one digit": [("What is 7 plus 3?", "7 plus 3 = 10"), ("What is 4 plus 9?", "4 plus 9 = 13")],
    "differences": [("What is 17 minus 3?", "17 minus 3 = 14"), ("What is 54 minus 9?", "54 minus 9 = 45")],
    "stories": [
        ("Greta has 7 cups and gets 3 more. How many cups does Greta have now?", "7 + 3 = 10"),
        ("Hugo has 4 keys and gets 9 more. How many keys does Hugo have now?", "4 + 9 = 13"),
    ],
    "next numbers": [
        ("Which number comes next: 2, 4, 6, 8?", "Next is 10"),
        ("Which number comes next: 30, 35, 40, 45?", "Next is 50"),
    ],
}  # fmt: skip
"""Two solved questions of each kind, which come first, so that the model knows the form."""


def questions(seed: int = 11) -> list[tuple[str, str, str]]:
    """Return (kind, question, right answer), in a random order."""
    luck = random.Random(seed)
    found = []
    for kind, every in kinds().items():
        found += [(kind, *each) for each in luck.sample(every, min(EACH, len(every)))]
    luck.shuffle(found)
    return found


def ask(gateway: Gateway, model: str, kind: str, question: str, right: str) -> dict[str, Any]:
    """Return how good one answer, and the best of eight others, were; and their costs, in answers."""
    turns = [*(turn for pair in SHOWN[kind] for turn in pair), question]
    messages = [{"role": ("user", "assistant")[at % 2], "content": turn} for at, turn in enumerate(turns)]
    body = thinking_tasks.body(model, messages, n=VOTES + 1, stop=["\n"])
    status, answer = gateway.post("/v1/chat/completions", body | {"max_tokens": 16})
    if status != 200:
        raise RuntimeError(f"the gateway answered {status}: {answer}")
    said = [thinking_tasks.answer_in(choice["message"]["content"] or "") for choice in answer["choices"]]
    return {
        "id": kind,
        "messages": messages,
        "weak": float(said[0] == right),
        "strong": float(right in said[1:]),
        "weak_cost": 1,
        "strong_cost": VOTES,
    }


def outcomes(asked: list[tuple[str, str, str]], seconds: float) -> Iterator[dict[str, Any]]:
    """Ask the embedded model in a factory of its own, until all is asked or the time is over."""
    end = time.monotonic() + seconds
    with common.factory() as factory, ThreadPoolExecutor(AT_ONCE) as pool:
        gateway = Gateway(factory.url, factory.key)
        model = gateway.models()[0]

        def one(each: tuple[str, str, str]) -> dict[str, Any] | None:
            return ask(gateway, model, *each) if time.monotonic() < end else None

        yield from (row for row in pool.map(one, asked) if row is not None)


def main() -> None:
    """Measure what is not measured yet, keep it, and say what came of each kind."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after so long")
    parser.add_argument("--again", action="store_true", help="forget what was measured before")
    chosen = parser.parse_args()
    if chosen.again:
        STORED.unlink(missing_ok=True)
    found = [json.loads(line) for line in STORED.read_text().splitlines()] if STORED.exists() else []
    done = {row["messages"][-1]["content"] for row in found}
    asked = [each for each in questions() if each[1] not in done]
    with STORED.open("a") as file:
        for at, row in enumerate(outcomes(asked, chosen.seconds) if asked else (), 1):
            found.append(row)
            file.write(json.dumps(row) + "\n")
            file.flush()
            if at % 50 == 0:
                common.log(f"{at} of {len(asked)} questions")
    for kind in kinds():
        rows = [row for row in found if row["id"] == kind]
        if rows:
            weak, strong = (sum(row[side] for row in rows) / len(rows) for side in ("weak", "strong"))
            print(f"{kind:24} {len(rows):4}  {weak:6.1%} {strong:6.1%}")


if __name__ == "__main__":
    main()
