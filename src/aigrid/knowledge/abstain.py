"""Whether the documents answer a question at all: decided before anything is generated, and measured.

A few figures about the best sentences found go through a logistic regression. Its coefficients are in `abstain.json`,
written by `python -m benchmarks.honesty --fit`, which also measures them on questions that they were not fitted on.
"""

import math
import re
from functools import cache
from pathlib import Path
from typing import Literal

import msgspec

from aigrid.knowledge.evidence import Passage, Reading
from aigrid.knowledge.language import CJK_RUN, terms

Kind = Literal["when", "count", "who", "where", "other"]


OTHERS = 3
"""The best chunk is compared with the one so many places below it."""


class Model(msgspec.Struct, frozen=True):
    """Coefficients: figures are centred, scaled, weighted and summed; at `threshold` or more there is an answer."""

    names: list[str]
    centre: list[float]
    scale: list[float]
    weights: list[float]
    bias: float
    threshold: float

    def score(self, figures: dict[str, float]) -> float:
        """Return the log-odds that there is an answer."""
        total = self.bias
        for name, mid, scale, weight in zip(self.names, self.centre, self.scale, self.weights, strict=True):
            if not math.isnan(figures[name]):
                total += weight * (figures[name] - mid) / scale
        return total


class Verdict(msgspec.Struct, frozen=True):
    """Whether the documents answer, how sure that is (0 to 1; 0.5 is undecided), and which model said so."""

    known: bool
    confidence: float
    model: str


@cache
def models() -> dict[str, Model]:
    """Return the fitted models by what they read: `words`, `vectors` or `terms`."""
    return msgspec.json.decode((Path(__file__).parent / "abstain.json").read_bytes(), type=dict[str, Model])


def judge(reading: Reading) -> Verdict:
    """Say whether what was read answers the question."""
    name = model_for(reading)
    if not reading.passages():
        return Verdict(False, 1.0, name)
    model = models()[name]
    margin = model.score(figures(reading)) - model.threshold
    chance = 1 / (1 + math.exp(-max(-50.0, min(50.0, margin))))
    return Verdict(margin >= 0, chance if margin >= 0 else 1 - chance, name)


def model_for(reading: Reading) -> str:
    """Return the name of the model for a reading: by words where its embedder knows the question's script."""
    if _mostly_cjk(reading.question) or not reading.by:
        return "terms"
    return reading.by


def _mostly_cjk(text: str) -> bool:
    return 2 * sum(map(len, CJK_RUN.findall(text))) > sum(map(str.isalnum, text))


def figures(reading: Reading) -> dict[str, float]:
    """Return what the models weigh; `reading` must hold at least one passage. NaN is unknown, and weighs nothing."""
    ranked = reading.passages()
    best = ranked[0]
    whole = next(each for each in reading.chunks if each.chunk is best.chunk)
    matches = sorted({round(each.match, 2) for each in reading.chunks}, reverse=True)  # a copy is not another text
    kind = kind_of(reading.question)
    return {
        "match": best.match,
        "near": best.near,
        "chunk_match": whole.match,
        "weakest": whole.weakest,
        "coverage": best.coverage,
        "chunk_coverage": whole.coverage,
        "known": whole.known,
        "top_coverage": max(each.coverage for each in reading.chunks),
        "similarity": best.similarity,
        "top_similarity": max(passage.similarity for passage in ranked),
        "lead": matches[0] - matches[OTHERS] if len(matches) > OTHERS else math.nan,
        "terms": math.log1p(len(reading.terms)),
        "count": float(kind == "count"),
        "no_candidate": float(not holds_candidate(kind, reading.question, best)),
    }


_KINDS: tuple[tuple[Kind, re.Pattern[str]], ...] = (
    (
        "when",
        re.compile(r"\bwhen\b|\b(what|which) (year|date|day|month|decade|century|time)\b|何時|いつ|何年|哪年|什么时候"),
    ),
    (
        "count",
        re.compile(
            r"\bhow (many|much|long|old|far|large|big|tall|high|often|fast)\b|\bpercent|\bwhat (number|amount)\b"
            r"|多少|几|いくつ|いくら|何人|何%"
        ),
    ),
    ("who", re.compile(r"\b(who|whose|whom)\b|谁|誰|だれ")),
    ("where", re.compile(r"\bwhere\b|\b(what|which) (city|country|state|place|town|region)\b|哪里|どこ")),
)
_NUMBER = re.compile(
    r"\d[\d.,]*|[一二三四五六七八九十百千万億亿]+|\b(one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve"
    r"|dozen|hundred|thousand|million|billion|half|third|quarter|twice|once|zero|no|several)\b",
    re.IGNORECASE,
)
_TIME = re.compile(
    r"\b1\d\d\d\b|\b20\d\d\b|\bcentur|\bdecade|\b(january|february|march|april|may|june|july|august|september"
    r"|october|november|december)\b|\b\d+ (bc|ad)\b|\b(mon|tues|wednes|thurs|fri|satur|sun)day\b|\b\d\d+s\b"
    r"|\byears?\b|\bdays?\b|\bhours?\b|\bmorning\b|\bnight\b|\btoday\b|\d:\d\d|[年月日時时]",
    re.IGNORECASE,
)
_NAME = re.compile(r"\b[A-Z][\w'’-]+")


def kind_of(question: str) -> Kind:
    """Return what kind of thing a question asks for."""
    low = question.lower()
    return next((kind for kind, pattern in _KINDS if pattern.search(low)), "other")


def holds_candidate(kind: Kind, question: str, passage: Passage) -> bool:
    """Whether a sentence holds something of the kind asked for that the question itself does not hold."""
    if kind == "other" or (kind in ("who", "where") and not passage.text.isascii() and CJK_RUN.search(passage.text)):
        return True
    pattern = {"when": _TIME, "count": _NUMBER}.get(kind, _NAME)
    said = frozenset(terms(question))
    return any(not said.issuperset(terms(found.group())) for found in pattern.finditer(passage.text))
