"""Synthesise: new examples from a few, each with its parents; none that repeats one, or that an evaluation holds.

Ways: `templates` (a grammar), `perturb` (typing errors, case, fillers), `paraphrase` and `from_answer` (a model
through the gateway, judged and budgeted), `own` (a blueprint's function). Only rows for training are parents.
"""

import random
from collections.abc import Iterator
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from aigrid.core.errors import ConfigError
from aigrid.factory import near, perturb, rows
from aigrid.factory.base import Job
from aigrid.factory.by_model import Asked
from aigrid.factory.curate import normal
from aigrid.factory.grammar import Grammar, draw
from aigrid.factory.rows import Row
from aigrid.factory.sources import function

CODE = (
    "aigrid.factory.near", "aigrid.factory.perturb", "aigrid.factory.by_model", "aigrid.factory.grammar",
    "aigrid.factory.rows",
)  # fmt: skip
OWN_CODE = True
Count = Annotated[int, Meta(ge=0)]


class ByModel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many questions a model is asked for, and how many tokens that may take in all. `judge` may be another model."""

    count: Count
    tokens: Annotated[int, Meta(ge=1)]
    model: str
    judge: str = ""


class Perturb(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many examples to make by small changes, and by which."""

    count: Count
    ways: tuple[str, ...] = tuple(perturb.WAYS)


class Templates(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many examples to draw from a grammar: a YAML file beside the line."""

    count: Count
    file: str


class Settings(msgspec.Struct, forbid_unknown_fields=True):
    """What a line may say about new examples.

    `own` is `file.py:function`, called with the training rows, the seed and the data files by name; it yields rows,
    each with its parents. From a Jaccard similarity of `near` on, a new input counts as a repetition (1: only equal ones do).
    """

    templates: Templates | None = None
    perturb: Perturb | None = None
    paraphrase: ByModel | None = None
    from_answer: ByModel | None = None
    own: str = ""
    near: Annotated[float, Meta(gt=0, le=1)] = 1.0
    words: Annotated[int, Meta(ge=3)] = 13


def run(job: Job, settings: Settings) -> None:
    """Write `rows.jsonl`: the rows that came, and the new ones."""
    came = rows.read(rows.newest(job.inputs))
    lessons = [row for row in came if row.split == "train"]
    made = [rows.named(row) for row in _made(job, settings, lessons)]
    kept = list(_worth_keeping(job, settings, came, made))
    rows.write(job.out / "rows.jsonl", [*came, *kept])
    job.say(came=len(lessons), made=len(made), kept=len(kept), train=len(lessons) + len(kept))


def _made(job: Job, settings: Settings, lessons: list[Row]) -> Iterator[Row]:
    rng = random.Random(job.seed)
    if settings.templates:
        path = job.folder / settings.templates.file
        for text, output, template in draw(_grammar(path), settings.templates.count, rng):
            yield Row(text, output, split="train", origin="templates", meta={"template": template})
    if settings.perturb and lessons:
        yield from _perturbed(lessons, settings.perturb, rng)
    for way in ("paraphrase", "from_answer"):
        wanted: ByModel | None = getattr(settings, way)
        if wanted is not None and lessons:
            path = job.work / f"{way}.jsonl"
            asked = Asked(job.gateway(), wanted.model, wanted.judge, wanted.tokens, path, job.cost)
            for made in asked.make(way, lessons, wanted.count, job.seed, job.tell):
                yield Row(made.input, made.output, split="train", origin=way, parents=made.parents)
    if settings.own:
        for row in function(settings.own, job.folder)(lessons, job.seed, dict(job.data)):
            yield msgspec.structs.replace(row, split="train", origin=row.origin or "own")


def _perturbed(lessons: list[Row], wanted: Perturb, rng: random.Random) -> Iterator[Row]:
    unknown = [way for way in wanted.ways if way not in perturb.WAYS]
    if unknown or not wanted.ways:
        known = ", ".join(perturb.WAYS)
        raise ConfigError(
            f"no way `{unknown[0] if unknown else ''}` to perturb; there are {known}", param="perturb.ways"
        )
    for _ in range(wanted.count):
        row, way = rng.choice(lessons), rng.choice(wanted.ways)
        if (text := perturb.perturbed(row, way, rng)) is not None:
            group = row.group or row.id
            yield Row(
                text, row.output, split="train", group=group, origin=f"perturb: {way}", parents=(row.id,), meta=row.meta
            )


def _worth_keeping(job: Job, settings: Settings, came: list[Row], made: list[Row]) -> Iterator[Row]:
    """Yield new rows that repeat none before them and share no text with an evaluation."""
    grams = near.all_ngrams((row.input for row in came if row.split == "test"), settings.words)
    seen = {row.input.casefold() for row in came}
    new = []
    for row in made:
        text = normal(row.input)
        if text and text.casefold() not in seen and not near.shared(text, grams, settings.words):
            seen.add(text.casefold())
            new.append(msgspec.structs.replace(row, input=text))
    if settings.near < 1:
        texts = [row.input for row in came] + [row.input for row in new]
        gone = {at for at, _, _ in near.near(texts, settings.near)}
        new = [row for at, row in enumerate(new, len(came)) if at not in gone]
    yield from new


def _grammar(path: Any) -> Grammar:
    import yaml

    try:
        grammar = msgspec.convert(yaml.safe_load(path.read_text()), Grammar)
    except OSError as error:
        raise ConfigError(f"cannot read the grammar {path}: {error.strerror}", param="templates.file") from None
    except (yaml.YAMLError, msgspec.ValidationError) as error:
        raise ConfigError(f"{path} is no grammar: {' '.join(str(error).split())}", param="templates.file") from None
    grammar.check(str(path))
    return grammar
