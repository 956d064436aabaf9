"""What changes in the SQL when some words of a question change: learned from pairs that differ in one place.

"what is the *largest* city" and "what is the *smallest* city" teach `max` → `min`; "the capital of *{state}*" and "the
capital of *the largest state*" teach a nested SELECT. A rule that holds in one place is tried in all others ("good
enough" recombination: Jia & Liang, ACL 2016; Andreas, ACL 2020), and dropped where the pairs themselves contradict it.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from aigrid.factory.sql.template import Template, is_slot

MAX_SPAN = 7
MAX_CONTEXT = 40
MAX_CHANGES = 4
MAX_RULES = 20_000

Words = tuple[str, ...]


@dataclass(frozen=True)
class Rule:
    """Words `old` become `new`; in the SQL each of `changes` (tokens before, tokens after) is made wherever it fits."""

    old: Words
    new: Words
    changes: tuple[tuple[Words, Words], ...]
    parents: tuple[str, str] = ("", "")
    support: int = 1
    """In how many contexts it was seen."""


def learn(templates: Sequence[Template]) -> list[Rule]:
    """Return the rules that two templates teach and no others contradict."""
    contexts: dict[tuple[Words, Words], dict[Words, list[Template]]] = defaultdict(lambda: defaultdict(list))
    for each in templates:
        size = len(each.words)
        for start in range(size + 1):
            for end in range(start, min(size, start + MAX_SPAN) + 1):
                if end - start < size:
                    contexts[each.words[:start], each.words[end:]][each.words[start:end]].append(each)
    support: Counter[tuple[Words, Words, tuple[tuple[Words, Words], ...]]] = Counter()
    parents: dict[tuple[Words, Words, tuple[tuple[Words, Words], ...]], tuple[str, str]] = {}
    for (before, after), middles in contexts.items():
        if 1 < len(middles) <= MAX_CONTEXT:
            for old in middles:
                for new in middles:
                    if old != new and _minimal(old, new, bool(before), bool(after)):
                        rule = _teach(middles[old][0], middles[new][0], len(before), old, new)
                        if rule is not None:
                            support[rule.old, rule.new, rule.changes] += 1
                            parents.setdefault((rule.old, rule.new, rule.changes), rule.parents)
    best = dict(support.most_common(MAX_RULES))
    rules = [Rule(*key, parents[key], count) for key, count in support.items() if key in best]
    known: dict[Words, Template] = {}
    for each in templates:
        known.setdefault(each.words, each)
    places = spans(templates, {rule.old for rule in rules})
    return [rule for rule in rules if _holds(rule, places[rule.old], known)]


def _minimal(old: Words, new: Words, before: bool, after: bool) -> bool:
    """Whether the spans differ at both ends, or else are one word longer than an insertion."""
    if not old or not new:
        return False
    first, last = old[0] != new[0], old[-1] != new[-1]
    inserted = min(len(old), len(new)) == 1 and before | after
    return (first and last) or (inserted and (first or last))


def _teach(one: Template, two: Template, at: int, old: Words, new: Words) -> Rule | None:
    first = _marked(one, at, at + len(old))
    second = _marked(two, at, at + len(new))
    changes: dict[Words, Words] = {}
    for tag, i, j, k, m in SequenceMatcher(None, first, second, autojunk=False).get_opcodes():
        if tag == "equal":
            continue
        if i == j or k == m:
            i, j, k, m = max(0, i - 1), min(len(first), j + 1), max(0, k - 1), min(len(second), m + 1)
        x, y = tuple(first[i:j]), tuple(second[k:m])
        if changes.get(x, y) != y or any(token[:2] in {"{P", "{S"} for token in (*x, *y)):
            return None
        changes[x] = y
    rule = Rule(old, new, tuple(changes.items()), (one.id, two.id))
    if len(changes) > MAX_CHANGES or _change(first, rule) != second:
        return None
    return rule


def _marked(each: Template, start: int, end: int) -> list[str]:
    """Return the SQL with slots named by where the question has them: before, in or after a span."""
    names: dict[str, str] = {}
    counts = {"P": 0, "A": 0, "S": 0}
    for at, word in enumerate(each.words):
        if is_slot(word):
            place = "P" if at < start else "A" if at < end else "S"
            names[f"{{{len(names)}}}"] = f"{{{place}{counts[place]}}}"
            counts[place] += 1
    return [names.get(token, token) for token in each.sql]


def _change(sql: Sequence[str], rule: Rule) -> list[str] | None:
    """Return tokens with all changes made, each at least once; None where one does not fit."""
    out: list[str] = []
    made: set[Words] = set()
    at = 0
    order = sorted(rule.changes, key=lambda change: -len(change[0]))
    while at < len(sql):
        for x, y in order:
            if x and tuple(sql[at : at + len(x)]) == x:
                out += y
                at += len(x)
                made.add(x)
                break
        else:
            out.append(sql[at])
            at += 1
    return out if len(made) == len(rule.changes) else None


def spans(templates: Sequence[Template], wanted: Collection[Words]) -> dict[Words, list[tuple[Template, int]]]:
    """Return where words stand, for those of `wanted` that stand anywhere."""
    found: dict[Words, list[tuple[Template, int]]] = defaultdict(list)
    for each in templates:
        for start in range(len(each.words)):
            for end in range(start + 1, min(len(each.words), start + MAX_SPAN) + 1):
                if each.words[start:end] in wanted:
                    found[each.words[start:end]].append((each, start))
    return found


def apply_at(rule: Rule, each: Template, start: int) -> Template | None:
    """Return what a rule makes of a template at one place; None where it does not fit."""
    end = start + len(rule.old)
    if each.words[start:end] != rule.old:
        return None
    changed = _change(_marked(each, start, end), rule)
    if changed is None:
        return None
    words = each.words[:start] + rule.new + each.words[end:]
    made = _numbered(words, changed, start, start + len(rule.new))
    if made is None:
        return None
    parents = tuple(dict.fromkeys((*(each.parents or (each.id,)), *rule.parents)))
    return Template("", words, *made, (), parents)


def _numbered(words: Words, sql: Sequence[str], start: int, end: int) -> tuple[Words, Words] | None:
    """Return SQL with numbered slots again, and their domains; None where words and SQL do not name the same ones."""
    names: dict[str, str] = {}
    slots: list[str] = []
    counts = {"P": 0, "A": 0, "S": 0}
    for at, word in enumerate(words):
        if is_slot(word):
            place = "P" if at < start else "A" if at < end else "S"
            names[f"{{{place}{counts[place]}}}"] = f"{{{len(slots)}}}"
            counts[place] += 1
            slots.append(word[1:-1])
    used = {token for token in sql if is_slot(token)}
    if used != set(names):
        return None
    return tuple(names.get(token, token) for token in sql), tuple(slots)


def _holds(rule: Rule, places: Sequence[tuple[Template, int]], known: dict[Words, Template]) -> bool:
    """Whether what the rule makes is what the pairs say, wherever they say something."""
    right = wrong = 0
    for each, start in places:
        there = known.get(each.words[:start] + rule.new + each.words[start + len(rule.old) :])
        made = apply_at(rule, each, start) if there is not None else None
        if there is not None and made is not None:
            right += there.sql == made.sql
            wrong += there.sql != made.sql
    return right > 2 * wrong
