"""SQL in one short form: lower-case, strings in single quotes, no alias where none is needed.

The form is what a small model learns to write and what statements are compared in. It is checked by running both
(`short`): where the rows differ, the statement stays as it was, only spaced alike.
"""

import re
from dataclasses import dataclass, field

from aigrid.factory.sql.database import Database, Refused, same

_TOKEN = re.compile(
    r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|`[^`]*`|\d+\.\d+|\.\d+|\d+|[A-Za-z_][A-Za-z0-9_]*|<>|!=|>=|<=|\|\||[^\sA-Za-z0-9_]"""
)
_ENDS = {"where", "group", "order", "having", "limit", "union", "intersect", "except"}
_JOINS = {"join", "inner", "left", "right", "outer", "cross", "natural", "on", "using"}
_COMPARES = {"=", "<", ">", "<=", ">=", "<>", "!=", "like", "(", ",", "in", "between", "and"}


def tokens(sql: str) -> list[str]:
    """Return the tokens of a statement: words lower-case, strings in single quotes as they are, no `;` at the end."""
    found = _TOKEN.findall(sql)
    while found and found[-1] == ";":
        found.pop()
    words: list[str] = []
    for at, token in enumerate(found):
        before, after = (words[-1] if words else ""), (found[at + 1] if at + 1 < len(found) else "")
        if token[0] == "'":
            words.append(token)
        elif token[0] == '"' and before in _COMPARES and after != ".":
            words.append("'" + token[1:-1].replace('""', '"').replace("'", "''") + "'")
        elif token[0] in '"`':
            words.append(token[1:-1].lower() if re.fullmatch(r"\w+", token[1:-1]) else token)
        else:
            words.append({"!=": "<>"}.get(token, token.lower()))
    return _without_all(words)


def _without_all(words: list[str]) -> list[str]:
    """Write `x > all (select y …)`, which SQLite lacks, as `x > (select max(y) …)`."""
    out = list(words)
    while "all" in out:
        at = out.index("all")
        if (
            out[at + 1 : at + 3] != ["(", "select"]
            or out[at - 1] not in {"<", "<=", ">", ">="}
            or "from" not in out[at:]
        ):
            return out
        best, end = ("max" if out[at - 1] in {">", ">="} else "min"), out.index("from", at)
        out[at:end] = ["(", "select", best, "(", *out[at + 3 : end], ")"]
    return out


def text(words: list[str]) -> str:
    """Return tokens as a statement, spaced in one way."""
    out = ""
    for at, word in enumerate(words):
        before = words[at - 1] if at else ""
        called = word == "(" and before in {
            "count",
            "max",
            "min",
            "sum",
            "avg",
            "abs",
            "round",
            "lower",
            "upper",
            "year",
        }
        tight = not out or word in {")", ",", "."} or before in {"(", "."} or called
        out += word if tight else " " + word
    return out


def short(sql: str, database: Database | None = None) -> str:
    """Return a statement in the short form; where a database is given, it stays as it was if the rows would differ."""
    plain = tokens(sql)
    brief = text(_brief(plain))
    if database is None or brief == text(plain):
        return brief
    try:
        return brief if same(database.run(brief), database.run(text(plain))) else text(plain)
    except Refused:
        return text(plain)


@dataclass
class _Scope:
    start: int
    parent: "_Scope | None"
    aliases: dict[str, tuple[str, int, int]] = field(default_factory=dict)
    """Alias to its table (empty: a subquery) and the places of `as alias`."""
    items: int = 0
    used: list[tuple[int, str]] = field(default_factory=list)


def _brief(words: list[str]) -> list[str]:
    scopes = _scopes(words)
    counts: dict[str, int] = {}
    drop: set[int] = set()
    rename: dict[int, str] = {}
    for scope in scopes:
        for table, _, _ in scope.aliases.values():
            counts[table] = counts.get(table, 0) + 1
    seen: dict[str, int] = {}
    alone = {id(scope): scope.items == 1 and len(scope.aliases) == 1 for scope in scopes}
    new: dict[tuple[int, str], str] = {}
    outer = {(id(owner), name) for scope in scopes for _, name in scope.used
             if (owner := _owner(scope, name)) is not None and owner is not scope}  # fmt: skip
    for scope in scopes:
        for alias, (table, start, end) in scope.aliases.items():
            base = table or "t"
            if table and alone[id(scope)] and (id(scope), alias) not in outer:
                drop.update(range(start, end))
                new[id(scope), alias] = ""
                continue
            once = sum(name == table for name, _, _ in scope.aliases.values()) == 1
            if table and once and (counts[table] == 1 or (id(scope), alias) not in outer):
                drop.update(range(start, end))
                new[id(scope), alias] = table
                continue
            seen[base] = seen.get(base, 0) + 1
            new[id(scope), alias] = f"{base}{seen[base]}"
            rename[end - 1] = f"{base}{seen[base]}"
            if alone[id(scope)] and (id(scope), alias) not in outer:
                new[id(scope), alias] = ""
                if not table:
                    drop.update(range(start, end))
    for scope in scopes:
        for at, name in scope.used:
            owner = _owner(scope, name)
            if owner is None:
                continue
            put = new[id(owner), name]
            if put:
                rename[at] = put
            else:
                drop.update((at, at + 1))
    return _short_names([rename.get(at, word) for at, word in enumerate(words) if at not in drop])


def _short_names(words: list[str]) -> list[str]:
    """Name what a select list calls `as …` n1, n2 and so on."""
    names: dict[str, str] = {}
    for at, word in enumerate(words[:-2]):
        if word == "as" and words[at + 2] in {",", "from"} and words[at - 1] == ")":
            names.setdefault(words[at + 1], f"n{len(names) + 1}")
    return [names.get(word, word) for word in words]


def _owner(scope: _Scope | None, name: str) -> _Scope | None:
    while scope is not None and name not in scope.aliases:
        scope = scope.parent
    return scope


def _scopes(words: list[str]) -> list[_Scope]:
    found: list[_Scope] = []
    stack: list[tuple[_Scope | None, bool]] = []
    here: _Scope | None = None
    inside = item = False
    for at, word in enumerate(words):
        if word == "(":
            stack.append((here, inside))
            if at + 1 < len(words) and words[at + 1] == "select":
                if inside and here is not None:
                    here.items += 1
                inside = False
        elif word == ")":
            if stack:
                here, inside = stack.pop()
            if inside and here is not None:
                _name(words, at, "", here)
        elif word == "select":
            here = _Scope(at, here if stack else None)
            found.append(here)
            inside = False
        elif here is None:
            continue
        elif word == "from":
            inside = True
        elif word in _ENDS:
            inside = False
        item = inside and bool(at) and words[at - 1] in {"from", ",", "join"}
        if item and here is not None and re.match(r"[a-z_]", word) and word not in _JOINS:
            here.items += 1
            _name(words, at, word, here)
        if here is not None and at + 1 < len(words) and words[at + 1] == "." and re.match(r"[a-z_]", word):
            here.used.append((at, word))
    return found


def _name(words: list[str], at: int, table: str, scope: _Scope) -> None:
    """Note the alias after a table or a subquery that ends at `at`."""
    rest = words[at + 1 : at + 3]
    if len(rest) == 2 and rest[0] == "as":
        scope.aliases[rest[1]] = (table, at + 1, at + 3)
    elif rest and re.fullmatch(r"[a-z_]\w*", rest[0]) and rest[0] not in _ENDS | _JOINS:
        scope.aliases[rest[0]] = (table, at + 1, at + 2)
    elif table:
        scope.aliases[table] = (table, at + 1, at + 1)
