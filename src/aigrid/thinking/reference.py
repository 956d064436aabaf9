"""Each strategy as its paper has it, on texts that are there already: what tests compare the real ones with.

`ask(messages)` returns one text; nothing here is concurrent, capped or early.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

Messages = list[dict[str, Any]]
Ask = Callable[[Messages], str]


def best_of_n(texts: Sequence[str], score: Callable[[str], float]) -> str:
    """Return the text with the highest score (Cobbe et al. 2021)."""
    return max(texts, key=score)


def majority(answers: Sequence[str]) -> str:
    """Return the commonest answer, of equals the first (Wang et al. 2022)."""
    return Counter(answers).most_common(1)[0][0]


def adaptive(answers: Sequence[str], first: int = 4, agreement: float = 0.75) -> tuple[str, int]:
    """Return the majority's answer and how many answers a doubling vote looks at (Aggarwal et al. 2023)."""
    goal, most = min(first, len(answers)), len(answers)
    while True:
        for seen in range(1, goal + 1):
            votes = [count for _, count in Counter(answers[:seen]).most_common(2)] + [0]
            if votes[0] >= agreement * goal or votes[0] > votes[1] + most - seen:
                return majority(answers[:seen]), seen
        if goal == most:
            return majority(answers), most
        goal = min(2 * goal, most)


def weighted_vote(answers: Sequence[str], weights: Sequence[float]) -> str:
    """Return the answer with the largest sum of weights (Li et al. 2023)."""
    sums: dict[str, float] = {}
    for answer, weight in zip(answers, weights, strict=True):
        sums[answer] = sums.get(answer, 0.0) + weight
    return max(sums, key=lambda answer: sums[answer])


def refine(question: str, ask: Ask, grade: Callable[[str], tuple[float, str]], rounds: int) -> str:
    """Return the best-graded of a draft and its revisions, of equals the latest (Madaan et al. 2023)."""
    messages: Messages = [{"role": "user", "content": question}]
    versions: list[tuple[float, str]] = []
    for _ in range(rounds + 1):
        text = ask(messages)
        score, critique = grade(text)
        versions.append((score, text))
        if score >= 0.9:
            break
        messages = [*messages[:1], {"role": "assistant", "content": text}, {"role": "user", "content": critique}]
    return max(reversed(versions), key=lambda version: version[0])[1]


def beam_search(
    steps: Callable[[str], Sequence[str]], score: Callable[[str], float], ended: Callable[[str], bool],
    width: int, depth: int,
) -> str:  # fmt: skip
    """Return the best chain of steps that has ended, else the best there is (Yao et al. 2023)."""
    beams = [""]
    for _ in range(depth):
        grown = [f"{beam}\n{step}" if beam else step for beam in beams for step in dict.fromkeys(steps(beam))]
        grown.sort(key=lambda chain: -score(chain))
        for chain in grown:
            if ended(chain):
                return chain
        beams = grown[:width]
    return beams[0]


def debate(question: str, debaters: Sequence[Ask], judge: Callable[[Sequence[str]], int], rounds: int) -> str:
    """Return what all say, else the judge's choice after the last round (Du et al. 2023)."""
    said: list[str] = []
    for _ in range(rounds):
        heard = [[*said[:at], *said[at + 1 :]] for at in range(len(debaters))]
        said = [
            debater([{"role": "user", "content": "\n".join([question, *others])}])
            for debater, others in zip(debaters, heard, strict=True)
        ]
        if len(set(said)) == 1:
            return said[0]
    return said[judge(said)]
