"""From pairs and a database to a clerk, stage by stage in a folder: what is there already is not done again."""

import json
import os
import random
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import numpy as np

from aigrid.factory.sql.clerk import SAMPLES, Clerk, Generate
from aigrid.factory.sql.database import Database
from aigrid.factory.sql.fit import FOLDS, Asked, asked, choose, fit, fold
from aigrid.factory.sql.lessons import lessons
from aigrid.factory.sql.library import BUDGET, Library
from aigrid.factory.sql.rank import Ranker
from aigrid.factory.sql.read import Pair

Tell = Callable[[str], None]
AT_ONCE = 8
MODEL_FEATURES = 6
_PARTS = 5


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How much of each stage; the defaults keep two cores busy for less than half an hour."""

    seed: int = 0
    budget: int = BUDGET
    """Recombined questions."""
    folds: int = FOLDS
    held: int = 100
    """Pairs that the model does not see: with them the weight of its word is learned."""
    lessons: int = 1600
    epochs: int = 1
    learning_rate: float = 1.5e-3
    rank: int = 16
    samples: int = SAMPLES
    store_as: str = "auto"


def plain_clerk(pairs: Sequence[Pair], database: Database, folder: Path, plan: Plan, tell: Tell = print) -> Clerk:
    """Return a clerk that asks no model, its choice learned in folds; kept in `folder/clerk`."""
    if (folder / "clerk" / "clerk.json").exists():
        return Clerk.load(folder / "clerk", database.path)
    questions: list[Asked] = []
    for number in range(plan.folds):
        tell(f"learning to choose: fold {number + 1} of {plan.folds}")
        questions += _kept_fold(folder / f"fold{number}.npz", pairs, number, database, plan)
    tell("recombining all pairs")
    clerk = Clerk(Library.build(pairs, database, plan.seed, plan.budget), fit(questions))
    clerk.save(folder / "clerk")
    return clerk


def apart(pairs: Sequence[Pair], plan: Plan) -> tuple[list[Pair], list[Pair]]:
    """Return the pairs that teach the model and those that measure it: the dev split, filled up by lot."""
    held = [pair for pair in pairs if pair.split == "dev"][: plan.held]
    rest = [pair for pair in pairs if pair not in held]
    most = max(0, min(plan.held - len(held), len(rest) // 5))
    held += random.Random(plan.seed).sample(rest, most)
    ids = {pair.id for pair in held}
    return [pair for pair in pairs if pair.id not in ids], held


def teach(pairs: Sequence[Pair], database: Database, base: Path, folder: Path, plan: Plan, tell: Tell = print) -> Path:
    """Train a model on the lessons of pairs that are not held apart; returns its GGUF file. Needs the extra `train`."""
    target = folder / "model.gguf"
    if target.exists():
        return target
    from aigrid.factory.lora import sft
    from aigrid.factory.lora.merge import merge
    from aigrid.factory.lora.settings import Settings

    lessons_file = folder / "lessons.json"
    if not lessons_file.exists():
        taught, _ = apart(pairs, plan)
        rows = lessons(Library.build(taught, database, plan.seed, plan.budget), plan.lessons, plan.seed)
        write(lessons_file, json.dumps(rows).encode())
    rows = json.loads(lessons_file.read_bytes())
    tell(f"teaching a model with {len(rows)} lessons")
    settings = Settings(
        base=base, rank=plan.rank, epochs=plan.epochs, learning_rate=plan.learning_rate, seed=plan.seed, batch=8
    )
    done = sft.train(rows, [], settings, folder / "training", lambda line: _tell_step(line, tell))
    return merge(base, done.adapter, target, plan.store_as, rows)


def clerk_with_model(
    plain: Clerk, pairs: Sequence[Pair], folder: Path, generate: Generate, plan: Plan, tell: Tell = print
) -> Clerk:
    """Return the clerk that also asks a model, or `plain` where that is not certain to help.

    How much the model's word weighs is learned from the pairs held apart. It is asked for good only if more of these
    come out right, each judged by weights learned without it: an answer without a model costs less.
    """
    decided = folder / "model.json"
    if plain.with_model is not None or decided.exists():
        return plain
    taught, held = apart(pairs, plan)
    tell(f"asking the model {len(held)} questions that it was not taught")
    database = plain.library.database
    clerk = Clerk(Library.build(taught, database, plan.seed, plan.budget), plain.plain)
    questions = ask_all(clerk, held, generate, plan.samples)
    without = [Asked(each.id, each.features[:, : len(plain.plain.weights)], each.right, each.groups)
               for each in questions if len(each.right)]  # fmt: skip
    before = sum(_right(plain.plain, each) for each in without)
    after = sum(
        _right(weigh(plain.plain, [each for at, each in enumerate(questions) if at % _PARTS != part]), each)
        for part in range(_PARTS) for each in questions[part::_PARTS] if len(each.right)
    )  # fmt: skip
    made = Clerk(plain.library, plain.plain, weigh(plain.plain, questions)) if after > before else plain
    made.save(folder / "clerk")
    write(decided, json.dumps({"held": len(held), "without": before, "with_model": after}).encode())
    tell(f"of {len(held)}: {before} right without the model, {after} with it")
    return made


def _right(ranker: Ranker, each: Asked) -> int:
    return int(each.right[choose(ranker, each.features, each.groups)[0]])


def ask_all(clerk: Clerk, pairs: Sequence[Pair], generate: Generate | None, samples: int = SAMPLES) -> list[Asked]:
    """Return how the clerk's candidates for some questions compare with their SQL, asking the model of many at once."""
    with ThreadPoolExecutor(AT_ONCE if generate else 1) as pool:
        found = pool.map(lambda pair: clerk.candidates(pair.question, generate, samples), pairs)
        return [asked(pair, each, clerk.library.database) for pair, each in zip(pairs, found, strict=True)]


def weigh(plain: Ranker, questions: Sequence[Asked]) -> Ranker:
    """Return a ranker that adds the model's features to those of `plain`: one weight for all of these, one for each."""
    size = len(plain.weights)
    data = []
    for each in questions:
        if len(each.right):
            base = (each.features[:, :size] - plain.centre) / plain.scale @ plain.weights
            data.append((np.column_stack([base, each.features[:, size:]]).astype(np.float32), each.right))
    if not data:
        grown = Ranker.fit([(np.zeros((1, 1 + MODEL_FEATURES), np.float32), np.zeros(1, np.float32))])
    else:
        grown = Ranker.fit(data)
    share = float(grown.weights[0] / grown.scale[0]) if grown.weights.any() else 1.0
    return Ranker(
        np.concatenate([plain.weights * share, grown.weights[1:]]),
        np.concatenate([plain.centre, grown.centre[1:]]),
        np.concatenate([plain.scale, grown.scale[1:]]),
    )


def _kept_fold(path: Path, pairs: Sequence[Pair], number: int, database: Database, plan: Plan) -> list[Asked]:
    if not path.exists():
        found = fold(pairs, number, database, plan.seed, plan.budget, plan.folds)
        found = [each for each in found if len(each.right)]
        rough = path.with_name("part-" + path.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(
            rough,
            features=np.concatenate([each.features for each in found]) if found else np.zeros((0, 1), np.float32),
            right=np.concatenate([each.right for each in found]) if found else np.zeros(0, np.float32),
            groups=np.array([group for each in found for group in each.groups], np.int64),
            sizes=np.array([len(each.right) for each in found], np.int64),
            ids=np.array([each.id for each in found], np.str_),
        )
        os.replace(rough, path)
    with np.load(path) as kept:
        ends = np.cumsum(kept["sizes"])[:-1]
        parts = (np.split(kept[name], ends) for name in ("features", "right", "groups"))
        return [Asked(str(name), features, right, tuple(map(int, groups)))
                for name, features, right, groups in zip(kept["ids"], *parts, strict=False)]  # fmt: skip


def write(path: Path, data: bytes) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rough = path.with_name("part-" + path.name)
    rough.write_bytes(data)
    os.replace(rough, path)


def _tell_step(line: object, tell: Tell) -> None:
    if isinstance(line, dict) and line.get("step", 0) % 20 == 0:
        tell(f"    step {line['step']} of {line['steps']}, loss {line['loss']}, {line['seconds']} s")
