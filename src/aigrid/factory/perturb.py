"""New examples from old ones by small changes that leave the answer as it is: typing errors, case, fillers, contractions.

As in EDA (J. Wei and K. Zou, arXiv:1901.11196) and in CheckList's invariance tests (M. Ribeiro et al.,
arXiv:2005.04118). Words that stand in the answer are never touched.
"""

import random
import re
from collections.abc import Callable

from aigrid.factory.rows import Row

_TOKEN = re.compile(r"\w+|\W+")
_NEAR = {
    "a": "sq", "b": "vn", "c": "xv", "d": "sf", "e": "wr", "f": "dg", "g": "fh", "h": "gj", "i": "uo", "j": "hk",
    "k": "jl", "l": "k", "m": "n", "n": "bm", "o": "ip", "p": "o", "q": "wa", "r": "et", "s": "ad", "t": "ry", "u": "yi",
    "v": "cb", "w": "qe", "x": "zc", "y": "tu", "z": "x",
}  # fmt: skip
_FILLERS = ("please", "hi,", "hello,", "well,", "ok,", "um,")
_SHORT = {
    "what is": "what's", "i am": "i'm", "i would": "i'd", "i will": "i'll", "do not": "don't",
    "it is": "it's", "that is": "that's", "we are": "we're", "who is": "who's", "where is": "where's",
}  # fmt: skip


def _typo(words: list[str], free: list[int], rng: random.Random) -> bool:
    long = [at for at in free if len(words[at]) > 3 and words[at].isascii()]
    if not long:
        return False
    at = rng.choice(long)
    word, place = words[at], rng.randrange(1, len(words[at]) - 1)
    match rng.randrange(4):
        case 0:
            changed = word[:place] + word[place + 1] + word[place] + word[place + 2 :]
        case 1:
            changed = word[:place] + word[place + 1 :]
        case 2:
            changed = word[:place] + word[place] + word[place:]
        case _:
            changed = word[:place] + rng.choice(_NEAR.get(word[place].lower(), word[place])) + word[place + 1 :]
    words[at] = changed
    return changed != word


def _case(words: list[str], free: list[int], rng: random.Random) -> bool:
    how: Callable[[str], str] = rng.choice((str.lower, str.upper, str.title))
    before = list(words)
    for at in free:
        words[at] = how(words[at])
    return words != before


def _filler(words: list[str], free: list[int], rng: random.Random) -> bool:
    if rng.random() < 0.5:
        words.insert(0, rng.choice(_FILLERS) + " ")
    else:
        words.append(" please" if words and words[-1].isalnum() else " thanks")
    return True


def _short(words: list[str], free: list[int], rng: random.Random) -> bool:
    for long, short in _SHORT.items():
        one, other = long.split()
        for at in free:
            if words[at].lower() == one and at + 2 < len(words) and words[at + 2].lower() == other and at + 2 in free:
                words[at : at + 3] = [short]
                return True
    return False


WAYS: dict[str, Callable[[list[str], list[int], random.Random], bool]] = {
    "typo": _typo,
    "case": _case,
    "filler": _filler,
    "short": _short,
}


def perturbed(row: Row, kind: str, rng: random.Random) -> str | None:
    """Return a row's input changed in one way; None where that way changes nothing."""
    words = _TOKEN.findall(row.input)
    kept = {word.casefold() for word in _TOKEN.findall(row.text)}
    free = [at for at, word in enumerate(words) if word.isalnum() and word.casefold() not in kept]
    return "".join(words) if WAYS[kind](words, free, rng) else None
