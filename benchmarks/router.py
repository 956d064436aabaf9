"""A router trained on real outcomes of the embedded model, and what one decision takes.

The outcomes are those of `router_tasks.py`: seven kinds of sums, asked once, or eight times with an exact check of each
answer. The router learns which questions are worth the eightfold cost. It is judged twice: as its file is, on the fifth
of the questions that its file keeps for that; and, for a narrower interval, on all of them by cross-validation in five
folds, where each question's score is from a regression that has not seen it (the penalty is 1, fixed beforehand). A
decision is timed on GSM8K's questions, where they are there, and on texts of given lengths: features, score, comparison.
"""

import gzip
import json
import time
import zlib
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from aigrid.thinking.router import curve, data, logistic
from aigrid.thinking.router.base import ModelRouter, RouterFile, Target
from aigrid.thinking.router.curve import Figures
from aigrid.thinking.router.draw import draw
from aigrid.thinking.router.features import Question, question, row
from aigrid.thinking.router.train import train
from benchmarks import common, router_tasks, shared_data

MODEL = "smollm2-135m-instruct"
WEAK, STRONG = Target(MODEL), Target(MODEL, "best_of_n", router_tasks.VOTES)
PICTURE = common.ROOT / "docs" / "images" / "router-curve.svg"
ROUNDS = 5
FOLDS, PENALTY = 5, 1.0
LIMIT_US = 1000.0


def trained(examples: Sequence[data.Example]) -> RouterFile:
    """Return the router that learns from the stored outcomes, its threshold for 90 % of the quality."""
    return train(examples, WEAK, STRONG, quality=0.9, name=router_tasks.STORED.name, tell=common.log)


def crossed(examples: Sequence[data.Example]) -> Figures:
    """Return the figures over all questions, each scored by what was learnt from the other four fifths."""
    rows = [row(each.asked) for each in examples]
    targets = np.array([(1 + each.gain) / 2 for each in examples])
    folds = np.array([zlib.crc32(each.asked.text.encode()) % FOLDS for each in examples])
    scores = np.empty(len(rows))
    for fold in range(FOLDS):
        seen, unseen = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        weights = logistic.fit(logistic.Rows([rows[at] for at in seen]), targets[seen], PENALTY)
        scores[unseen] = logistic.sigmoid(logistic.Rows([rows[at] for at in unseen]).times(weights))
    weak, strong = np.array([each.weak for each in examples]), np.array([each.strong for each in examples])
    return curve.measure(scores, weak, strong, float(np.median(scores)))


def timed(router: ModelRouter, asked: list[Question]) -> dict[str, float]:
    """Return the microseconds of processor time of a decision, over many."""
    took = []
    for _ in range(ROUNDS):
        for each in asked:
            begin = time.thread_time_ns()
            router.decide(each)
            took.append((time.thread_time_ns() - begin) / 1000)
    return common.spread(took)


def problems() -> list[Question]:
    """Return a thousand grade-school problems as chats, those of GSM8K; none where the file is not there."""
    try:
        path = shared_data.shared("skills/gsm8k.train.jsonl.gz")
    except shared_data.NoData:
        return []
    with gzip.open(path, "rt") as file:
        lines = [json.loads(line)["question"] for _, line in zip(range(1000), file, strict=False)]
    return [question([{"role": "user", "content": text}]) for text in lines]


def measure() -> dict[str, Any]:
    """Train, measure, time; return the benchmark's one JSON object."""
    examples = data.read(router_tasks.STORED.read_bytes().splitlines(), router_tasks.STORED.name)
    file, over_all = trained(examples), crossed(examples)
    figures = file.test
    assert figures is not None
    router = ModelRouter(file)
    text = " ".join(each.asked.text for each in examples)
    lengths = {"20 characters": 20, "3,000 characters": 3000, "100,000 characters": 100_000}
    decisions = {name: timed(router, [Question((text * 20)[:size])] * 200) for name, size in lengths.items()}
    real = problems()
    if real:
        decisions["a GSM8K problem"] = timed(router, real)
    PICTURE.write_text(draw(file, over_all))
    chosen = figures.chosen

    def line(what: str, figure: Any, guess: float | None, best: float | None) -> list[Any]:
        return [what, figure.value, f"{figure.low:.3g} to {figure.high:.3g}", guess, best]

    assert chosen.cost is not None
    times = [
        [f"µs of a decision (processor time): {name}", took["median"], f"p95 {took['p95']:.3g}", None, None]
        for name, took in decisions.items()
    ]
    return {
        "weak": {"target": str(WEAK), "right": figures.weak, "cost": figures.weak_cost},
        "strong": {"target": str(STRONG), "right": figures.strong, "cost": figures.strong_cost},
        "questions": {"train": file.data.train, "calibration": file.data.calibration, "test": file.data.test},
        "sha256": file.data.sha256,
        "cross_validated": msgspec.to_builtins(over_all),
        "test": msgspec.to_builtins(figures),
        "decision_us": decisions,
        "holds": {
            "on questions not learnt from, it is better than guessing (cross-validated; 95 % interval of APGR above 0.5)": (
                over_all.better_than_random
            ),
            "half of the gap takes fewer questions for the strong one than guessing does (cross-validated, interval)": (
                over_all.cpt_50.high < 0.5
            ),
            "80 % of the gap takes fewer than guessing does (cross-validated, interval)": over_all.cpt_80.high < 0.8,
            "the router in the file may be used: its own test questions suffice to tell it from guessing": (
                figures.better_than_random
            ),
            "a decision takes less than a millisecond of processor time (95th percentile, whatever the length)": all(
                took["p95"] < LIMIT_US for took in decisions.values()
            ),
        },
        "grid": {
            "columns": ["measured", "95 % interval", "guessing", "oracle"],
            "rows": [
                *(
                    each
                    for name, of in (("cross-validated", over_all), ("its own test", figures))
                    for each in (
                        line(f"APGR, {name} ({of.rows})", of.apgr, 0.5, of.oracle_apgr),
                        line(f"CPT(50 %), {name}", of.cpt_50, 0.5, None),
                        line(f"CPT(80 %), {name}", of.cpt_80, 0.8, None),
                    )
                ),
                line("at the threshold: share for the strong one", chosen.share, None, None),
                line("at the threshold: right", chosen.quality, None, None),
                line("at the threshold: gap recovered", chosen.recovered, chosen.share.value, None),
                line("at the threshold: answers made for a question", chosen.cost, None, None),
                ["always the weak one: right", over_all.weak, None, None, None],
                ["always the strong one: right", over_all.strong, None, None, None],
                *times,
            ],
        },
    }  # fmt: skip


def main() -> None:
    """Measure and print."""
    chosen = common.arguments(__doc__ or "").parse_args()
    common.report(measure(), chosen.json)


if __name__ == "__main__":
    main()
