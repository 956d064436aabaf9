"""Whether quotes bear out what a model wrote: sentence by sentence, before any of it is shown."""

import re
from collections.abc import Sequence
from itertools import combinations

from aigrid.knowledge.base import Embedder
from aigrid.knowledge.language import CJK_RUN, STOP_WORDS, normalise, query_terms, sentence_spans, terms

COVERED = 0.75
"""The share of a sentence's terms that a quote (or the question) must hold."""
ALIKE = 0.5
"""The least similarity in meaning of a sentence and the quote it rests on, where an embedder can tell."""
MOST = 4
"""The most sentences of an answer."""

_MARKER = re.compile(r"\s*\[(\d{1,2}(?:\s*,\s*\d{1,2})*)\]")
_NUMBER = re.compile(r"\d+(?:[.,:/-]\d+)*")
_NAME = re.compile(r"(?<![\w.])[A-Z][\w'’-]*")
_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)|<[^<>]{1,200}>|https?://\S+")
_NOT = re.compile(r"\b(no|not|never|none|nobody|nothing|neither|nor|without|cannot)\b|n't\b|[不没無]|ない|ません")
_PREAMBLE = re.compile(
    r"^\s*(?:(?:short )?answer\s*:|according to (?:the )?quotes?(?: \[?\d+\]?)?,?)\s*", re.IGNORECASE
)


class Speech:
    """What has been said so far in answer to a question, each sentence resting on quotes (numbered from 1)."""

    def __init__(self, question: str, quotes: Sequence[str], embedder: Embedder | None) -> None:
        self.question = question
        self.quotes = quotes
        self.embedder = embedder
        self.said: list[str] = []
        self.numbers: set[int] = set()
        self.rest = ""
        self.ended = False

    @property
    def text(self) -> str:
        """The answer as it stands."""
        return "".join(self.said)

    def quote(self, at: int) -> str:
        """Say a quote as it is; `at` counts from 0. Returns what was said."""
        return self.say(" ".join(self.quotes[at].split()), [at + 1])

    def say(self, sentence: str, numbers: Sequence[int]) -> str:
        """Add a sentence and its markers; returns them as they are to be shown."""
        shown = f"{' ' if self.said else ''}{sentence} {''.join(f'[{number}]' for number in numbers)}"
        self.said.append(shown)
        self.numbers.update(numbers)
        return shown


def supported(speech: Speech, piece: str | None) -> list[str]:
    """Take in a piece of a model's answer (None: its end) and return the sentences that may be shown now."""
    speech.rest += piece or ""
    spans = sentence_spans(speech.rest)
    if piece is not None:  # the last sentence may go on
        spans = spans[:-1]
    shown = []
    for start, end in spans:
        sentence = speech.rest[start:end]
        if len(speech.said) < MOST and (made := _check(speech, sentence)):
            shown.append(made)
    if spans:
        speech.rest = speech.rest[spans[-1][1] :]
    return shown


def _check(speech: Speech, sentence: str) -> str | None:
    bare = _LINK.sub(lambda link: link.group(1) or "", _MARKER.sub("", _PREAMBLE.sub("", sentence))).strip(" *_#>\"'`-")
    if not bare or any(bare in said for said in speech.said):
        return None
    count = range(len(speech.quotes))
    for size in (1, 2):  # one quote, else two together
        groups = [
            group
            for group in combinations(count, size)
            if bears_out(" ".join(speech.quotes[at] for at in group), bare, speech.question)
        ]
        if groups:
            break
    group = _closest(speech, bare, groups)
    return speech.say(bare, [at + 1 for at in group]) if group else None


def _closest(speech: Speech, sentence: str, groups: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """Return the quote, or the two together, that a sentence rests on: the nearest in meaning; none if none is near."""
    if speech.embedder is None or not groups:
        return groups[0] if groups else ()
    texts = [" ".join(speech.quotes[at] for at in group) for group in groups]
    vectors = speech.embedder.embed([f"{speech.question} {sentence}", *texts])
    alike = (vectors[1:] @ vectors[0]).tolist()
    best = max(range(len(groups)), key=alike.__getitem__)
    return groups[best] if alike[best] >= ALIKE or CJK_RUN.search(sentence) else ()


def bears_out(quote: str, sentence: str, question: str) -> bool:
    """Whether a quote holds what a sentence says: its numbers and names, nearly all its words, and its negation.

    Words of the question may be repeated freely, but something besides them must come from the quote. A question says
    nothing. Of several figures in a quote a sentence may not pick: which of them belongs to what, words do not tell.
    """
    if sentence.rstrip().endswith(("?", "？")) or _picks(sentence, quote):
        return False
    there, asked = frozenset(terms(quote)), frozenset(terms(question))
    if not _all_in(_NUMBER, sentence, quote, question) or not _names_in(sentence, there | asked):
        return False
    if _negated(sentence) and not _negated(quote):
        return False
    said = frozenset(query_terms(sentence))
    held = said & there
    return bool(held - asked or held == said) and len(said & (there | asked)) >= COVERED * len(said)


def _all_in(pattern: re.Pattern[str], sentence: str, quote: str, question: str) -> bool:
    known = set(pattern.findall(normalise(quote))) | set(pattern.findall(normalise(question)))
    return known.issuperset(pattern.findall(normalise(sentence)))


def _picks(sentence: str, quote: str) -> bool:
    """Whether a sentence names some figures of a quote and not all, in words of its own."""
    quote, sentence = normalise(quote), normalise(sentence)
    said, there = set(_NUMBER.findall(sentence)), set(_NUMBER.findall(quote))
    return bool(said & there) and not there <= said and " ".join(sentence.split()) not in " ".join(quote.split())


def _names_in(sentence: str, known: frozenset[str]) -> bool:
    """Whether every capitalised word is known; the first word of a sentence only where it is not an everyday one."""
    for found in _NAME.finditer(sentence):
        if found.group().lower() not in STOP_WORDS and not known.issuperset(terms(found.group())):
            return False
    return True


def _negated(text: str) -> bool:
    return _NOT.search(normalise(text).replace("’", "'")) is not None
