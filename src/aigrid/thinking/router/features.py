"""What a router sees of a request: hashed pieces of its last question, and its shape.

Words, pairs of words and runs of three to five bytes are hashed into `2**BITS` places (Weinberger et al. 2009,
arXiv:0902.2206). Each of the two kinds is scaled to length one, so that a long question weighs as much as a short one.
"""

import re
from collections.abc import Sequence
from math import log1p, sqrt
from typing import Any
from zlib import crc32

import msgspec
import numpy as np
from numpy.typing import NDArray

BITS = 14
HEAD, TAIL = 1024, 512
"""Characters of a question that are looked at: its first and its last ones."""
SHAPE = (
    "characters", "words", "lines", "numbers", "longest number", "share of digits", "share of capitals", "code",
    "question marks", "beyond ASCII", "messages", "characters before",
)  # fmt: skip
WIDTH = (1 << BITS) + len(SHAPE)
"""Weights of a router, its bias not counted."""
_WORD = re.compile(r"\w+|[^\w\s]")
_NUMBER = re.compile(r"\d+")
_CAPITAL = re.compile(r"[A-Z]")
_CODE = re.compile(r"```|[{};]\s*$|\b(?:def|return|import|SELECT|function)\b|==|=>|->", re.MULTILINE)
_MASK = (1 << BITS) - 1


class Question(msgspec.Struct, frozen=True):
    """The last thing that a user said, how many messages there are, and the characters of those before it."""

    text: str
    messages: int = 1
    before: int = 0


class Row(msgspec.Struct):
    """One question as numbers: the places of its pieces with the weight of each, and its shape."""

    places: NDArray[np.int64]
    values: NDArray[np.float64]


def question(messages: Sequence[dict[str, Any]] | None, prompt: str | list[int] | None = None) -> Question:
    """Return the question of a chat, or of a completion; token ids have no text to look at."""
    if messages is None:
        return Question(prompt if isinstance(prompt, str) else "")
    texts = [_text(message.get("content")) for message in messages]
    asked = [at for at, message in enumerate(messages) if message.get("role") == "user"]
    last = asked[-1] if asked else len(texts) - 1
    text = texts[last] if texts else ""
    return Question(text, len(messages), sum(map(len, texts)) - len(text))


def row(asked: Question) -> Row:
    """Return the numbers of a question; quick, whatever its length."""
    text = asked.text if len(asked.text) <= HEAD + TAIL else f"{asked.text[:HEAD]} {asked.text[-TAIL:]}"
    words = _WORD.findall(text.lower())
    spoken = _spoken(words)
    written = _written(text.lower())
    places = np.concatenate((spoken, written, _SHAPE_PLACES))
    values = np.empty(len(places))
    values[: len(spoken)] = 1 / sqrt(max(1, len(spoken)))
    values[len(spoken) : -len(SHAPE)] = 1 / sqrt(max(1, len(written)))
    values[-len(SHAPE) :] = _shape(asked, text, words)
    return Row(places, values)


def _spoken(words: Sequence[str]) -> NDArray[np.int64]:
    """Return the places of words and of their pairs; numbers also as what they look like."""
    hashes = [crc32(word.encode()) for word in words]
    looks = [crc32(b"#" + _NUMBER.sub("0" * len(word), word).encode()) for word in words if word[0].isdigit()]
    single = np.array(hashes, np.uint64)
    pairs = single[:-1] * np.uint64(0x9E3779B1) + single[1:]
    return _places(np.concatenate((single, pairs, np.array(looks, np.uint64))))


def _written(text: str) -> NDArray[np.int64]:
    """Return the places of all runs of three to five bytes."""
    data = np.frombuffer(f" {text} ".encode("utf-8", "replace"), np.uint8).astype(np.uint64)
    found = []
    run = data[:-1] * np.uint64(257) + data[1:]
    for size in (3, 4, 5):
        if len(data) < size:
            break
        run = run[:-1] * np.uint64(257) + data[size - 1 :]
        found.append(run + np.uint64(size << 48))
    return _places(np.concatenate(found)) if found else np.empty(0, np.int64)


def _places(hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
    mixed = hashes * np.uint64(0x9E3779B97F4A7C15)  # wraps; the high bits depend on all low ones
    return (mixed >> np.uint64(64 - BITS)).astype(np.int64) & _MASK


def _shape(asked: Question, text: str, words: Sequence[str]) -> list[float]:
    length = max(1, len(text))
    numbers = [len(number) for number in _NUMBER.findall(text)]
    return [
        log1p(len(asked.text)) / 8,
        log1p(len(words)) / 6,
        log1p(text.count("\n")) / 4,
        log1p(len(numbers)) / 3,
        max(numbers, default=0) / 5,
        sum(numbers) / length,
        len(_CAPITAL.findall(text)) / length,
        float(_CODE.search(text) is not None),
        min(text.count("?"), 3) / 3,
        (len(text.encode("utf-8", "replace")) - len(text)) / length,
        log1p(asked.messages) / 3,
        log1p(asked.before) / 10,
    ]


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return "\n".join(part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str))


_SHAPE_PLACES = np.arange(1 << BITS, WIDTH, dtype=np.int64)
