"""A question reached from a known one: the words that differ are changed by learned rules, and the SQL with them."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher

from aigrid.factory.sql.rules import Rule, apply_at
from aigrid.factory.sql.template import Template

MAX_STEPS = 3
MAX_RULES = 4

Region = tuple[int, int, int, int]


class Derivations:
    """Rules by what they change."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules: dict[tuple[tuple[str, ...], tuple[str, ...]], list[Rule]] = defaultdict(list)
        for rule in sorted(rules, key=lambda each: -each.support):
            known = self._rules[rule.old, rule.new]
            if len(known) < MAX_RULES:
                known.append(rule)

    def reach(self, words: tuple[str, ...], start: Template) -> Iterator[tuple[Template, int, int]]:
        """Yield templates with exactly these words that rules make of another, the number of rules, the least support."""
        if start.words == words:
            yield start, 0, 99
            return
        seen = set()
        for regions in _cuts(start.words, words):
            if len(regions) <= MAX_STEPS:
                for made, support in self._walk(start, regions, words, 99):
                    if made.sql not in seen:
                        seen.add(made.sql)
                        yield made, len(regions), support

    def _walk(self, each: Template, regions: Sequence[Region], goal: tuple[str, ...], support: int
              ) -> Iterator[tuple[Template, int]]:  # fmt: skip
        if not regions:
            if each.words == goal:
                yield each, support
            return
        first, second, third, fourth = regions[-1]
        for left, right in ((0, 0), (1, 0), (0, 1), (1, 1)):
            if first - left < 0 or third - left < 0:
                continue
            old, new = each.words[first - left : second + right], goal[third - left : fourth + right]
            for rule in self._rules.get((old, new), ()):
                made = apply_at(rule, each, first - left)
                if made is not None:
                    yield from self._walk(made, regions[:-1], goal, min(support, rule.support))


def _cuts(old: Sequence[str], new: Sequence[str]) -> list[list[Region]]:
    """Return where two questions differ: in one region, and in the several of the usual comparison."""
    size = min(len(old), len(new))
    before = next((at for at in range(size) if old[at] != new[at]), size)
    after = next((at for at in range(size - before) if old[-1 - at] != new[-1 - at]), size - before)
    one = [(before, len(old) - after, before, len(new) - after)]
    several = [(i, j, k, m) for tag, i, j, k, m in SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
               if tag != "equal"]  # fmt: skip
    return [one] if several == one else [one, several]
