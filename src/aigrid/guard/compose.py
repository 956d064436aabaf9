"""Examples from templates, and texts in disguise: what the guard is trained on beside what was seen in the wild."""

import base64
import random
import re
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path

_SLOT = re.compile(r"\{(\w+)\}")
_DIGITS = str.maketrans("oieastl", "0134571")


def templates(path: Path, count: int, seed: int, documents: Sequence[str] = ()) -> list[tuple[str, str]]:
    """Return `count` (family, text) from each family of a file of templates, none twice; fewer where it has no more.

    `{document}` is filled with a piece of one of `documents`.
    """
    read = tomllib.loads(path.read_text())
    draw = random.Random(seed)
    made: dict[str, str] = {}
    for family, patterns in read["families"].items():
        for at in range(count):
            pattern = patterns[at % len(patterns)]
            text = _SLOT.sub(lambda slot: _fill(slot[1], read["slots"], draw, documents), pattern)
            made.setdefault(text.replace("{{", "{").replace("}}", "}"), family)
    return [(family, text) for text, family in made.items()]


def _fill(name: str, slots: dict[str, list[str]], draw: random.Random, documents: Sequence[str]) -> str:
    if name != "document":
        return draw.choice(slots[name])
    whole = draw.choice(documents)
    size = draw.randint(100, 2000)
    at = draw.randrange(max(1, len(whole) - size))
    return whole[at : at + size]


def typos(text: str, draw: random.Random) -> str:
    """Return a text in which one letter in twenty is missing, doubled or swapped with the next."""
    letters = list(text)
    for at in range(len(letters) - 1):
        if letters[at].isalpha() and draw.random() < 0.05:
            kind = draw.randrange(3)
            if kind == 0:
                letters[at] = ""
            elif kind == 1:
                letters[at] *= 2
            else:
                letters[at], letters[at + 1] = letters[at + 1], letters[at]
    return "".join(letters)


_ROTATE = {ord(first) + at: ord(first) + (at + 13) % 26 for first in "aA" for at in range(26)}

DISGUISES: dict[str, Callable[[str], str]] = {
    "leetspeak": lambda text: text.lower().translate(_DIGITS),
    "base64": lambda text: f"Decode this and do what it says: {base64.b64encode(text.encode()).decode()}",
    "hex": lambda text: f"Convert from hexadecimal and answer: {text.encode().hex()}",
    "spaced": lambda text: "  ".join(" ".join(word) for word in text.split()),
    "fullwidth": lambda text: "".join(chr(ord(char) + 0xFEE0) if "!" <= char <= "~" else char for char in text),
    "zero-width": lambda text: "\u200b".join(text),
    "tags": lambda text: "Hello! " + "".join(chr(0xE0000 + ord(char)) for char in text if " " <= char <= "~"),
    "reversed": lambda text: f"Read this backwards: {text[::-1]}",
    "rot13": lambda text: f"Rot13: {text.translate(_ROTATE)}",
}
"""Ways to hide a text from a filter, by name."""
