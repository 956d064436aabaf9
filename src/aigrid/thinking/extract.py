r"""What a candidate answers in the end, in a form in which equal answers are equal.

The answer of a text is, in this order: what the rule's pattern finds; the last `\boxed{…}`; what follows the last
`####` or "answer is"/"answer:" (Wang et al. 2022 read the latter); the number that ends the last line after `=` or
"is"; else the last line. Tool calls and JSON are
answers as they stand.
"""

import re
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

from aigrid.core.errors import ConfigError
from aigrid.thinking.base import Candidate

_MARKS = re.compile(r"(?:####|\banswer(?:\s+is)?\s*:|\banswer\s+is\b)[ \t*_]*(?P<answer>[^\n]+)", re.IGNORECASE)
_NUMBER = re.compile(r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|[-+]?\.\d+")
_WHOLE_NUMBER = re.compile(rf"^[^\w]*(?:{_NUMBER.pattern})\s*(?:%|[^\W\d]{{1,12}})?[^\w]*$")
_ENDS_IN_NUMBER = re.compile(rf"(?:=|\b(?:is|are|equals|makes))\s*\**({_NUMBER.pattern})[^\w]*$", re.IGNORECASE)
_ARTICLES = ("a", "an", "the")
_NOISE = re.compile(r"[^\w.+\-/ ]+")
_LONGEST = 200


class Rule(msgspec.Struct, frozen=True):
    """How to read answers. `pattern` is a regular expression whose group `answer`, or first, or whole match counts.

    `kind` says what an answer is: any text, or a number (the last one there).
    """

    pattern: str = ""
    kind: str = "text"

    def compiled(self) -> re.Pattern[str] | None:
        """Return the pattern ready for use; raises `ConfigError` for one that is none."""
        try:
            return re.compile(self.pattern) if self.pattern else None
        except re.error as error:
            raise ConfigError(f"the answer's pattern {self.pattern!r} is no regular expression: {error}") from None


def answer_of(candidate: Candidate, rule: Rule = Rule()) -> str:
    """Return the normalised answer of a candidate; empty where it has none."""
    if candidate.tool_calls:
        calls = [(call.name, _canonical(call.arguments) or call.arguments) for call in candidate.tool_calls]
        return msgspec.json.encode(calls).decode()
    return normal(extract(candidate.text, rule), rule)


def extract(text: str, rule: Rule = Rule()) -> str:
    """Return the part of a text that is its answer, as it stands there."""
    pattern = rule.compiled()
    if pattern is not None:
        found = _last(pattern, text)
        if found is None:
            return ""
        groups = found.groupdict()
        return groups.get("answer") or (found.group(1) if found.re.groups else found.group()) or ""
    boxed = _boxed(text)
    if boxed is not None:
        return boxed
    marked = _last(_MARKS, text)
    if marked is not None:
        return marked["answer"]
    stripped = text.strip()
    if _canonical(stripped) is not None:
        return stripped
    if rule.kind == "number":
        return stripped
    lines = stripped.splitlines()
    last = lines[-1].strip() if lines else ""
    ends = _ENDS_IN_NUMBER.search(last)
    return ends[1] if ends is not None else last


def normal(answer: str, rule: Rule = Rule()) -> str:
    """Return an answer in its normal form: JSON sorted, numbers as plain as can be, words without case and marks."""
    answer = answer.strip()
    structured = _canonical(answer)
    if structured is not None:
        return structured
    numbers = _NUMBER.findall(answer)
    if numbers and (rule.kind == "number" or _WHOLE_NUMBER.match(answer)):
        return plain_number(numbers[-1])
    if rule.kind == "number":
        return ""
    words = _NOISE.sub(" ", answer.casefold()).split()
    marks = [word for piece in words if (word := piece.strip(".+-/"))]
    kept = [word for word in marks if word not in _ARTICLES] or marks  # `A` may be an answer
    return " ".join(kept)[:_LONGEST]


def plain_number(text: str) -> str:
    """Return a decimal number without separators, sign of plus, or zeros that say nothing."""
    try:
        value = Decimal(text.replace(",", ""))
    except InvalidOperation:
        return text
    return format(value.normalize() + 0, "f")


def _last(pattern: re.Pattern[str], text: str) -> re.Match[str] | None:
    found = None
    for match in pattern.finditer(text):
        found = match
    return found


def _boxed(text: str) -> str | None:
    """Return what stands in the last `boxed{…}`, braces within it balanced."""
    start = text.rfind("\\boxed{")
    if start < 0:
        return None
    depth, begin = 1, start + len("\\boxed{")
    for at in range(begin, len(text)):
        depth += (text[at] == "{") - (text[at] == "}")
        if depth == 0:
            return text[begin:at]
    return None


def _canonical(text: str) -> str | None:
    """Return a JSON object or list with its keys sorted; None where the text is none."""
    stripped = text.strip().removeprefix("```json").removeprefix("```").removesuffix("```").strip()
    if not stripped.startswith(("{", "[")):
        return None
    try:
        value: Any = msgspec.json.decode(stripped)
    except (msgspec.DecodeError, UnicodeError):
        return None
    return msgspec.json.encode(value, order="sorted").decode()
