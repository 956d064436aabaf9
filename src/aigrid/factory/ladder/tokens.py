"""Tokens of an input, what is seen of each, and values as stretches of tokens (B: begins one, I: goes on, O: none)."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from aigrid.factory.rows import Row

_TOKEN = re.compile(r"[^\W\d_]+|\d+|\S")
_EDGES = ("<<", "<", ">", ">>")


class Token(NamedTuple):
    """A run of letters, a run of digits or one mark; where it is in the input, and whether a gap is before it."""

    text: str
    start: int
    end: int
    gap: bool


def split(text: str) -> tuple[list[Token], list[str]]:
    """Return the tokens of the last line of an input, and the words of the lines before it: what it answers to."""
    cut = text.rstrip().rfind("\n") + 1
    found = [Token(each[0], each.start(), each.end(), False) for each in _TOKEN.finditer(text, cut)]
    tokens = [each._replace(gap=at == 0 or found[at - 1].end < each.start) for at, each in enumerate(found)]
    return tokens, sorted({word.lower() for word in _TOKEN.findall(text[:cut])})


def seen(tokens: list[Token], before: list[str]) -> list[list[str]]:
    """Return the features of each token: itself, its neighbours, their shapes, and what was said before."""
    low = [*_EDGES[:2], *(token.text.lower() for token in tokens), *_EDGES[2:]]
    shapes = [*_EDGES[:2], *(_shape(token) for token in tokens), *_EDGES[2:]]
    size = "one" if len(tokens) == 1 else "few" if len(tokens) < 5 else "many"
    context = [f"c:{word}" for word in before] or ["c:"]
    found = []
    for at, token in enumerate(tokens):
        i = at + 2
        word, shape = low[i], shapes[i]
        one = [
            "1", f"w:{word}", f"s:{shape}", f"g:{token.gap}{shape}", f"z:{size}{shape}",
            f"-1:{low[i - 1]}", f"+1:{low[i + 1]}", f"-2:{low[i - 2]}", f"+2:{low[i + 2]}",
            f"-1w:{low[i - 1]} {word}", f"+1w:{word} {low[i + 1]}", f"-1+1:{low[i - 1]} {low[i + 1]}",
            f"-2-1:{low[i - 2]} {low[i - 1]}", f"+1+2:{low[i + 1]} {low[i + 2]}",
            f"-1s:{low[i - 1]} {shape}", f"+1s:{shape} {low[i + 1]}", f"-2s:{low[i - 2]} {low[i - 1]} {shape}",
            f"+2s:{shape} {low[i + 1]} {low[i + 2]}", f"sss:{shapes[i - 1]} {shape} {shapes[i + 1]}",
            f"-1S:{shapes[i - 1]}", f"+1S:{shapes[i + 1]}",
        ]  # fmt: skip
        one += [f"p:{word[:size]}" for size in range(1, 5) if size < len(word)]
        one += [f"e:{word[-size:]}" for size in range(1, 5) if size < len(word)]
        for each in context:
            one += (each, f"{each} {shape}", f"{each} {word}", f"{each} {low[i - 1]}")
        found.append(one)
    return found


def tags(row: Row, tokens: list[Token]) -> list[str]:
    """Return the tag of each token of a row's input.

    Slots that have the same value share a tag (`date+time`); of values that overlap otherwise, the longest counts.
    """
    found = ["O"] * len(tokens)
    places: dict[tuple[int, int], list[str]] = {}
    for slot, start, end in _spans(row):
        places.setdefault((start, end), []).append(slot)
    for (start, end), slots in sorted(places.items(), key=lambda item: (item[0][0] - item[0][1], item[1])):
        slot = "+".join(sorted(slots))
        inside = [at for at, token in enumerate(tokens) if token.start < end and token.end > start]
        if inside and all(found[at] == "O" for at in inside):
            for at in inside:
                found[at] = f"I-{slot}"
            found[inside[0]] = f"B-{slot}"
    return found


def values(text: str, tokens: list[Token], tagged: list[str]) -> dict[str, str]:
    """Return the values that tags mark; of two in one slot the first."""
    found: dict[str, str] = {}
    at = 0
    while at < len(tokens):
        start, tag = at, tagged[at]
        at += 1
        if tag != "O":
            while at < len(tokens) and tagged[at] == f"I-{tag[2:]}":
                at += 1
            for slot in tag[2:].split("+"):
                found.setdefault(slot, text[tokens[start].start : tokens[at - 1].end])
    return found


def _spans(row: Row) -> list[tuple[str, int, int]]:
    """Return where a row's values are: where `meta.spans` says, else where they are first found as whole words."""
    told: Mapping[str, Any] = row.meta.get("spans", {})
    found = []
    for slot, value in row.output.items():
        if slot in told and row.input[slice(*told[slot])] == value:
            found.append((slot, *told[slot]))
        elif isinstance(value, str) and value:
            whole = re.search(rf"(?<!\w){re.escape(value)}(?!\w)", row.input)
            start = whole.start() if whole else row.input.find(value)
            if start >= 0:
                found.append((slot, start, start + len(value)))
    return found


def _shape(token: Token) -> str:
    text = token.text
    if text.isdigit():
        return f"9x{min(len(text), 5)}" + ("+" if len(text) < 3 and int(text) > 12 else "")
    if not text[0].isalpha():
        return text
    return "A" if len(text) == 1 and text.isupper() else "AA" if text.isupper() else "Aa" if text[0].isupper() else "a"
