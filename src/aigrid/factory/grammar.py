"""New examples from templates: `book a table for {people} at {time}`, with lists of what the slots may be.

A value may hold slots itself; each example is one path through the grammar (N. Chomsky, IRE Trans. 1956: type 2,
without recursion deeper than `DEEPEST`), drawn by a seed. The answer is a template, or an object whose values are.
"""

import random
import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from aigrid.core.errors import ConfigError

DEEPEST = 8
_SLOT = re.compile(r"\{(\w+)\}")


class Template(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is asked, and what should be answered; `{name}` stands for the same value in both."""

    input: str
    output: Any


class Grammar(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Templates, and the values of their slots."""

    templates: list[Template]
    slots: dict[str, list[str]] = {}

    def check(self, where: str) -> None:
        """Raise `ConfigError` for a slot that has no values, or an answer with a slot that its question lacks."""
        for template in self.templates:
            asked = set(_SLOT.findall(template.input))
            missing = asked - self.slots.keys()
            lost = {name for text in _texts(template.output) for name in _SLOT.findall(text)} - asked
            if missing or lost:
                what = f"no values for `{min(missing)}`" if missing else f"`{min(lost)}` is answered but not asked"
                raise ConfigError(f"{where}: {what} in the template `{template.input}`")


def draw(grammar: Grammar, count: int, rng: random.Random) -> Iterator[tuple[str, Any, str]]:
    """Yield so many (question, answer, template) as there are different ones, at most `count`; templates in turn."""
    seen: set[str] = set()
    misses = 0
    while len(seen) < count and misses < 20 * len(grammar.templates):
        template = grammar.templates[(len(seen) + misses) % len(grammar.templates)]
        values = {
            name: _fill(rng.choice(grammar.slots[name]), grammar, rng, 1) for name in _SLOT.findall(template.input)
        }
        text = _put(template.input, values)
        if text in seen:
            misses += 1
            continue
        seen.add(text)
        yield text, _answer(template.output, values), template.input


def _fill(text: str, grammar: Grammar, rng: random.Random, depth: int) -> str:
    if depth > DEEPEST:
        raise ConfigError(f"the grammar's slots hold each other more than {DEEPEST} deep, at `{text}`")
    return _SLOT.sub(lambda found: _fill(rng.choice(_values(found[1], grammar)), grammar, rng, depth + 1), text)


def _values(name: str, grammar: Grammar) -> list[str]:
    if not grammar.slots.get(name):
        raise ConfigError(f"the grammar has no values for `{name}`")
    return grammar.slots[name]


def _put(text: str, values: Mapping[str, str]) -> str:
    return _SLOT.sub(lambda found: values[found[1]], text)


def _answer(output: Any, values: Mapping[str, str]) -> Any:
    if isinstance(output, str):
        return _put(output, values)
    if isinstance(output, dict):
        return {key: _answer(value, values) for key, value in output.items()}
    return [_answer(each, values) for each in output] if isinstance(output, list) else output


def _texts(output: Any) -> Iterator[str]:
    if isinstance(output, str):
        yield output
    elif isinstance(output, dict | list):
        for each in output.values() if isinstance(output, dict) else output:
            yield from _texts(each)
