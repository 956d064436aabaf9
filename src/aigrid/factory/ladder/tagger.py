"""Slots by a linear tagger: which words of the input are which value. What it finds are the arguments of a tool call."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta

from aigrid.factory.ladder import chain, files
from aigrid.factory.ladder.base import Answer, Candidate, Fit, Task
from aigrid.factory.ladder.needs import missing
from aigrid.factory.ladder.tokens import seen, split, tags, values

COSTLY = False


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`l2` pulls weights to zero; `rounds` bounds the steps of the fit; features seen `least` times count."""

    l2: Annotated[float, Meta(gt=0)] = 0.5
    rounds: Annotated[int, Meta(ge=1)] = 60
    least: Annotated[int, Meta(ge=1)] = 2


def unfit(task: Task, settings: Settings) -> str:
    """Return why a task is none for this rung."""
    if task.kind != "slots" or not task.names:
        return "it finds the values of slots in the input"
    return missing("scipy")


def fit(fit: Fit, folder: Path) -> None:
    """Fit a weight for each feature and tag."""
    from scipy.sparse import csr_matrix

    fit.tell(0, None, "tagger: features")
    sentences, marked = [], []
    for row in fit.rows:
        tokens, before = split(row.input)
        if tokens:
            sentences.append(seen(tokens, before))
            marked.append(tags(row, tokens))
    slots = sorted({tag[2:] for tagged in marked for tag in tagged if tag != "O"})
    names = ["O", *(f"{kind}-{slot}" for slot in slots for kind in "BI")]
    at = {name: index for index, name in enumerate(names)}
    counts = Counter(feature for sentence in sentences for token in sentence for feature in token)
    kept = sorted(feature for feature, count in counts.items() if count >= fit.settings.least)
    index = {feature: at for at, feature in enumerate(kept)}
    rows = [[index[each] for each in token if each in index] for sentence in sentences for token in sentence]
    starts = np.concatenate([[0], np.cumsum([len(row) for row in rows])])
    columns = np.array([column for row in rows for column in row], np.int32)
    matrix = csr_matrix((np.ones(len(columns)), columns, starts), (len(rows), len(kept)))
    corpus = chain.Corpus([len(tagged) for tagged in marked], [[at[tag] for tag in tagged] for tagged in marked])
    weights, begin, steps = chain.train(matrix, corpus, names, fit.settings.l2, fit.settings.rounds, fit.tell)
    (folder / "features.txt").write_text("\n".join(kept) + "\n", "utf-8")
    files.write(folder / "tags.json", names)
    files.save(folder, weights=weights.astype(np.float32), begin=begin, steps=steps)


class Tagger(Candidate):
    """The tagger at work."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        features = (folder / "features.txt").read_text("utf-8").split("\n")[:-1]
        self._index = {feature: at for at, feature in enumerate(features)}
        self._tags = files.read(folder / "tags.json", list[str])
        self._weights = files.array(folder, "weights")
        self._begin = files.array(folder, "begin")
        self._steps = files.array(folder, "steps")

    def answer(self, inputs: Sequence[str]) -> list[Answer]:
        """Return the values of the likeliest tags for each input."""
        return [self._answer(text) for text in inputs]

    def _answer(self, text: str) -> Answer:
        tokens, before = split(text)
        if not tokens:
            return Answer({}, 1.0)
        index = self._index
        rows = [[index[each] for each in token if each in index] for token in seen(tokens, before)]
        cuts = np.cumsum([0, *(len(row) for row in rows[:-1])])
        every = np.array([column for row in rows for column in row])
        emissions = np.add.reduceat(self._weights[every], cuts, axis=0).astype(np.float64)
        found, chance = chain.best(emissions, self._begin, self._steps)
        return Answer(values(text, tokens, [self._tags[tag] for tag in found]), chance)


def load(folder: Path) -> Tagger:
    """Return the tagger of a folder."""
    return Tagger(folder)
