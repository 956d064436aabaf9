"""What a sentence of a paper states, judged by where it stands and how it is put. No model is asked.

Cues are words that authors use when they claim, describe what was done, or say what limits it; the section counts as
a cue, too. A sentence is what it scores highest for, if that is enough; most sentences of a paper are nothing of these.
"""

import re
from dataclasses import dataclass
from typing import Literal

from insights.read import Paper, Sentence

Kind = Literal["claim", "method", "limit", "figure"]
ENOUGH = 2.0

_SECTIONS: dict[str, dict[Kind, float]] = {
    r"abstract|summary": {"claim": 0.5, "method": 0.5},
    r"introduction|background|related": {"claim": -2.0, "method": -2.0},
    r"method|material|design|data|set-?up|experiment": {"method": 1.6, "claim": -1.5},
    r"result|finding|evaluation": {"claim": 1.0, "method": -0.5},
    r"discussion": {"claim": 0.5, "limit": 0.5},
    r"conclusion": {"claim": 1.4},
    r"limit": {"limit": 2.0},
}
_CUES: list[tuple[Kind, float, str]] = [
    ("claim", 1.5, r"\b(we|i) (find|found|show|showed|conclude|observed?|demonstrate|argue)\b|\b(results?|data|findings) (show|suggest|indicate)"),
    ("claim", 1.2, r"\b(lower|higher|more|less|fewer|larger|largest|smaller|cooler|warmer|cheaper|faster|slower|better|worse|than|difference|differed)\b"),
    ("claim", 1.2, r"\b(lower(s|ed)|raise[sd]?|rose|fell|increase[sd]?|decrease[sd]?|reduce[sd]?|improve[sd]?|became|had no|did not|does not)\b"),
    ("claim", 0.8, r"\d\s*(%|°C|points|percent)|\bp\s*[<=]"),
    ("claim", 0.6, r"\b(therefore|thus|hence|overall|on average|significant\w*)\b"),
    ("method", 1.6, r"\b(was|were|is|are) (measured|recorded|compared|collected|chosen|selected|assigned|derived|tested|divided|coated|sampled|estimated|rated|excluded|left out|planted|taken|trained)\b"),
    ("method", 1.6, r"\b(we|i) (measured|used|compared|collected|recorded|followed|applied|estimated|trained|sampled|fitted|tested|coated|surveyed)\b"),
    ("method", 0.8, r"\b(sensors?|thermometers?|camera|questionnaire|sample|model|test|albedo|interval|at random|by lot|randomi[sz]ed|took part|every \d+|include)\b"),
    ("limit", 2.2, r"\b(limited to|limitations?|(did|could|were|was|can) ?not (be )?(measured?|examined?|ask\w*|tested?|say)|remains? (unknown|unclear|open)|not measured|cannot say)\b"),
    ("limit", 1.8, r"\b(sample\b.{0,60}\bsmall|only\b.{0,40}\b(examined|tested|studied|measured)|caution|further (work|research|study)|will fall|was new)\b"),
]  # fmt: skip
_COMPILED = [(kind, weight, re.compile(cue, re.IGNORECASE)) for kind, weight, cue in _CUES]
_OTHERS = re.compile(r"\[\d+(,\s*\d+)*\]|\b(19|20)\d\d\)|\bet al\b|\bearlier work\b|\bpaper asks\b")
"""A sentence about the work of others, or about what is to come, is no claim of this paper."""


@dataclass(frozen=True)
class Statement:
    """A sentence of a paper that states something, how surely it does, and where it stands."""

    paper: str
    kind: Kind
    quote: str
    page: int
    heading: str
    score: float


def statements(paper: Paper) -> list[Statement]:
    """Return what a paper states, in its order."""
    found = []
    for sentence in paper.sentences:
        kind, score = judge(sentence)
        if kind is not None:
            found.append(Statement(paper.label, kind, sentence.text, sentence.page, sentence.heading, score))
    return found


def judge(sentence: Sentence) -> tuple[Kind | None, float]:
    """Return what a sentence states, None where nothing, and its score."""
    if sentence.is_caption:
        return "figure", ENOUGH
    scores: dict[Kind, float] = {"claim": 0.0, "method": 0.0, "limit": 0.0}
    for section, weights in _SECTIONS.items():
        if re.search(section, sentence.heading, re.IGNORECASE):
            for kind, weight in weights.items():
                scores[kind] += weight
    for kind, weight, cue in _COMPILED:
        if cue.search(sentence.text):
            scores[kind] += weight
    if _OTHERS.search(sentence.text):
        scores["claim"] -= 2.0
    best = max(scores, key=lambda kind: scores[kind])
    return (best, round(scores[best], 2)) if scores[best] >= ENOUGH else (None, scores[best])
