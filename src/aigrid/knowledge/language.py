"""Words as the index sees them: one tokenisation for English, Chinese, Japanese and what stands between them.

Text is normalised (NFKC, so full-width forms and half-width kana are the usual ones; case folded), cut into words,
English words are stemmed, and runs of CJK characters become overlapping pairs. Every store indexes these terms and
nothing else, so that all of them agree.
"""

import re
import unicodedata
from collections.abc import Iterator

from aigrid.knowledge.stem import stem

CJK = "\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003134f"
"""Characters of scripts written without spaces between words (and Hangul, whose words carry endings)."""

CJK_RUN = re.compile(f"[{CJK}]+")
WORD = re.compile(
    rf"(?P<cjk>[{CJK}]+)"
    r"|(?P<number>\d+(?:[.,]\d+)+(?![^\W_]))"
    rf"|(?P<word>(?:(?![{CJK}])\w)+(?:['’](?:(?![{CJK}])\w)+)?)"
)
SPACED_WORD = re.compile(r"\d+(?:[.,]\d+)+(?![^\W_])|\w+(?:['’]\w+)?")
"""The same where there is no CJK, three times as quick."""
PARTS = re.compile(r"[^\W\d_]+|\d+")
ENDINGS = frozenset(("s", "t", "re", "ve", "ll", "d", "m"))

_STOP = (
    "a about above after again all also am an and any are as at be been before being below between both but by can "
    "could did do does doing down during each few for from further had has have having he her here hers him his how i "
    "if in into is it its itself just me more most my no nor not now of off on once only or other our out over own "
    "same she should so some such than that the their them then there these they this those through to too under until "
    "up us very was we were what when where which while who whom why will with would you your"
)
STOP_WORDS = frozenset(_STOP.split())
"""Words that say how a question is put, not what it is about. They are indexed; only queries leave them out."""

_known: dict[str, tuple[str, ...]] = {}
_KNOWN_LIMIT = 500_000


def normalise(text: str) -> str:
    """Return text with compatible forms unified and case folded: what is compared, never what is shown."""
    return text.lower() if text.isascii() else unicodedata.normalize("NFKC", text).casefold()


def plain_words(text: str) -> list[str]:
    """Return the words of a text that is all ASCII, in lower case; `word_terms` makes terms of each."""
    return SPACED_WORD.findall(text.lower())


def terms(text: str) -> list[str]:
    """Return the terms of a text to be indexed, in order, repetitions included."""
    plain = normalise(text)
    if not CJK_RUN.search(plain):
        words = SPACED_WORD.findall(plain)
        known = map(_known.get, words)
        return [term for word, made in zip(words, known, strict=True) for term in made or word_terms(word)]
    found: list[str] = []
    for word, is_cjk in _words(text):
        if is_cjk:
            found.extend(word)
            found.extend(word[at : at + 2] for at in range(len(word) - 1))
        else:
            found.extend(_known.get(word) or word_terms(word))
    return found


def query_terms(text: str) -> list[str]:
    """Return the terms to search for: without stop words where others remain, CJK pairs, single characters alone."""
    found: list[str] = []
    left_out: list[str] = []
    for word, is_cjk in _words(text):
        if is_cjk:
            found.extend([word] if len(word) == 1 else (word[at : at + 2] for at in range(len(word) - 1)))
        elif word in STOP_WORDS:
            left_out.extend(word_terms(word))
        else:
            found.extend(word_terms(word))
    return found or left_out


def _words(text: str) -> Iterator[tuple[str, bool]]:
    """Yield words (normalised, not stemmed) and runs of CJK characters, which are marked."""
    if text.isascii():
        for word in plain_words(text):
            yield word, False
        return
    for found in WORD.finditer(normalise(text)):
        yield found.group(), found.lastgroup == "cjk"


def word_terms(word: str) -> tuple[str, ...]:
    """Return the terms of one lower-case word: its stem; a name with parts (open_account_4821) whole and in parts."""
    made = _known.get(word)
    if made is None:
        made = tuple(_make(word.replace("’", "'")))
        if len(_known) < _KNOWN_LIMIT:
            _known[word] = made
    return made


def _make(word: str) -> list[str]:
    if "'" in word:
        whole, _, ending = word.rpartition("'")
        word = (whole if ending in ENDINGS else word).replace("'", "")
    if word[0].isdigit() and ("," in word or "." in word):
        return [word.replace(",", "")]
    if "_" in word:
        parts = PARTS.findall(word)
        return [*([word] if len(parts) > 1 else []), *(stem(part) for part in parts)]
    return [stem(word)]


_SHORT = (
    "mr mrs ms dr prof st vs etc inc ltd co corp no fig figs eq eqs ref refs sec vol pp ed eds al cf e.g i.e a.m p.m "
    "u.s u.k approx dept est jan feb mar apr jun jul aug sep sept oct nov dec"
)
ABBREVIATIONS = frozenset(_SHORT.split())
END = re.compile(
    r"[。！？｡]+[」』”’）】》〉\]\)]*"
    r"|(?<![.!?…])[.!?…]++[\"'”’)\]]*+(?=\s|$)"
    r"|\n[ \t]*\n\s*"
    r"|\n(?=[ \t]*(?:[-*•#|]|\d+[.)])\s)"
)


def sentence_spans(text: str) -> list[tuple[int, int]]:
    """Return the spans of the sentences in a text, in order, without the white space around them."""
    spans: list[tuple[int, int]] = []
    start = 0
    lower = text.islower()
    for end in END.finditer(text):
        if text[end.start()] == "." and _abbreviates(text, end.start(), end.end(), lower):
            continue
        _keep(text, start, end.end(), spans)
        start = end.end()
    _keep(text, start, len(text), spans)
    return spans


def sentences(text: str) -> list[str]:
    """Return the sentences of English, Chinese or Japanese text; a list item or paragraph ends one as well."""
    return [text[start:end] for start, end in sentence_spans(text)]


def _keep(text: str, start: int, end: int, spans: list[tuple[int, int]]) -> None:
    piece = text[start:end]
    start += len(piece) - len(piece.lstrip())
    end -= len(piece) - len(piece.rstrip())
    if end > start:
        spans.append((start, end))


def _abbreviates(text: str, dot: int, after: int, lower: bool) -> bool:
    """Whether the full stop at `dot` belongs to an abbreviation, an initial or a list number.

    `lower` says that the text has no capitals at all, so that a small letter after the stop means nothing.
    """
    at = dot
    while at > 0 and (text[at - 1].isalnum() or text[at - 1] == "."):
        at -= 1
    word = text[at:dot]
    if not word:
        return False
    while after < len(text) and text[after] in " \t":
        after += 1
    if not lower and text[after : after + 1].islower():
        return True
    if len(word) == 1 and word.isupper() and word != "I":
        return True
    while at > 0 and text[at - 1] in " \t":
        at -= 1
    if word.isdigit() and (at == 0 or text[at - 1] == "\n"):
        return True
    return word.lower() in ABBREVIATIONS


def estimate_tokens(text: str) -> int:
    """Return about how many tokens a model makes of a text: a CJK character is one, other text 4.2 letters a token."""
    wide = sum(len(run) for run in CJK_RUN.findall(text)) if not text.isascii() else 0
    return wide + int((len(text) - wide) / 4.2 + 0.999)
