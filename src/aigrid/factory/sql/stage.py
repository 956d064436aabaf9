"""The stage `sql` of a line: a database file and questions with their SQL become a clerk, with or without a model.

What it writes: `candidate/`, the clerk as the stage `pack` takes it (with `model.gguf` where a taught model helps), and
`evidence.json`: execution accuracy on the questions of the test split, against baselines on the same questions. So a
line says `- train: {use: sql, …}`, and goes on with `pack` and `gate`.
"""

import shutil

import msgspec

from aigrid.core.config import Config
from aigrid.core.download import digest
from aigrid.core.models import pull, resolve
from aigrid.factory.base import Job
from aigrid.factory.evaluate import Against, Evidence
from aigrid.factory.ladder.base import Task
from aigrid.factory.ladder.open import About, describe
from aigrid.factory.ladder.sql import MODEL, keep
from aigrid.factory.sql import judge
from aigrid.factory.sql.build import Plan, ask_all, clerk_with_model, plain_clerk, teach
from aigrid.factory.sql.database import Database
from aigrid.factory.sql.model import writer
from aigrid.factory.sql.read import read
from aigrid.factory.stats import paired, share


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to build.

    `database` and `questions` are data files of the line by name. `split` is the field of text2sql-data that says which
    questions are for training, development and test. `budget` is how many questions are recombined, `folds` in how many
    parts the choice is learned. `base` is the model that is taught `lessons` rows for `epochs`; empty teaches none.
    """

    database: str = "database"
    questions: str = "questions"
    split: str = "question-split"
    base: str = "smollm2-135m-instruct"
    budget: int = Plan().budget
    folds: int = Plan().folds
    lessons: int = Plan().lessons
    epochs: int = Plan().epochs


def run(job: Job, settings: Settings) -> None:
    """Build the clerk in `job.work`, measure it, and write what serves it."""
    plan = Plan(seed=job.seed, budget=settings.budget, folds=settings.folds, lessons=settings.lessons,
                epochs=settings.epochs)  # fmt: skip
    database = Database(job.file(settings.database))
    pairs = read(job.file(settings.questions), settings.split)
    known = [pair for pair in pairs if pair.split != "test"]
    tests = [pair for pair in pairs if pair.split == "test"]

    def tell(line: str) -> None:
        job.tell(0, None, line)

    candidate = job.out / "candidate"
    clerk = plain_clerk(known, database, job.work, plan, tell)
    if settings.base:
        base = pull(resolve(settings.base, Config()))
        tuned = teach(known, database, base, job.work, plan, tell)
        with writer(tuned, seed=job.seed) as generate:
            clerk = clerk_with_model(clerk, known, job.work, generate, plan, tell)
            asked = ask_all(clerk, tests, generate if clerk.with_model else None, plan.samples)
        if clerk.with_model:
            candidate.mkdir()
            shutil.copyfile(tuned, candidate / MODEL)
    else:
        asked = ask_all(clerk, tests, None)
    scores = {
        "nearest": judge.judge(tests, database, judge.nearest_copy(known)),
        "template": judge.judge(tests, database, judge.nearest_template(clerk)),
        "composed": judge.chosen(clerk.with_model or clerk.plain, asked),
        "oracle": judge.oracle(asked),
    }
    clerk.save(candidate)
    describe(candidate, About("sql", Task("text")))
    keep(job.file(settings.database), digest(job.file(settings.database)))
    _prove(job, scores)
    _say(job, scores, len(known), len(clerk.library.made), len(clerk.library.rules))


def _prove(job: Job, scores: dict[str, judge.Score]) -> None:
    """Write the evidence, in the shape of the stage `evaluate`."""
    ours = scores["composed"].right
    against = {
        name: Against(share(scores[name].right), paired(ours, scores[name].right, job.seed))
        for name in ("nearest", "template")
    }
    proof = Evidence("execution accuracy", share(ours), share([]), against, [], [])
    (job.out / "evidence.json").write_bytes(msgspec.json.format(msgspec.json.encode(proof), indent=2))


def _say(job: Job, scores: dict[str, judge.Score], known: int, made: int, rules: int) -> None:
    against = paired(scores["composed"].right, scores["nearest"].right)
    job.say(pairs=known, recombined=made, rules=rules, tests=len(scores["composed"].right), p_against_nearest=against.p)
    for name, score in scores.items():
        found = share(score.right)
        job.say(**{name: found.value, f"{name}_low": found.low, f"{name}_high": found.high})
