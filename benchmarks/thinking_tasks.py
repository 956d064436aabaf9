"""Questions whose answers can be checked, made from a seed, and what the benchmarks of thinking share."""

import itertools
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

from aigrid.thinking.extract import Rule, extract, normal

RULE = Rule(kind="number")
CANDIDATES = 64
MAX_TOKENS = 24
TEMPERATURE = 0.8


def questions(seed: int = 7) -> list[tuple[list[dict[str, str]], str]]:
    """Return (messages, right answer) of the multiplication table from 2 times 2 to 9 times 9, in a random order.

    Each comes after two solved ones, so that the model knows the form. It is a task that a small model is sometimes
    right at; at sums of three digits the embedded one is right in no case of a hundred, and no vote helps there.
    """
    made = []
    for a, b in itertools.product(range(2, 10), repeat=2):
        turns = [
            "What is 7 times 3?",
            "7 times 3 = 21",
            "What is 4 times 9?",
            "4 times 9 = 36",
            f"What is {a} times {b}?",
        ]
        messages = [{"role": ("user", "assistant")[at % 2], "content": turn} for at, turn in enumerate(turns)]
        made.append((messages, str(a * b)))
    random.Random(seed).shuffle(made)
    return made


def answer_in(text: str) -> str:
    """Return the number that a text answers with."""
    return normal(extract(text, RULE), RULE)


def majority(answers: Sequence[str]) -> str:
    """Return the commonest answer that is one, of equals the first."""
    votes = Counter(each for each in answers if each)
    return votes.most_common(1)[0][0] if votes else ""


def boot(values: Sequence[float], draws: int = 2000, seed: int = 1) -> list[float]:
    """Return the 95 % interval of a mean over questions, by bootstrap (Efron 1979)."""
    luck = random.Random(seed)
    means = sorted(sum(luck.choices(values, k=len(values))) / len(values) for _ in range(draws))
    return [round(means[int(draws * 0.025)], 4), round(means[int(draws * 0.975)], 4)]


def body(model: str, messages: list[dict[str, str]], **more: Any) -> dict[str, Any]:
    """Return a chat request for a short, warm answer."""
    return {"model": model, "messages": messages, "max_tokens": MAX_TOKENS, "temperature": TEMPERATURE, **more}
