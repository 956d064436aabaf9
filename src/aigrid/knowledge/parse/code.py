"""Program text: one block for each top-level definition, under its name, with its lines."""

import re

from aigrid.knowledge.base import Block, Parsed
from aigrid.knowledge.parse.base import Blocks, clean

LANGUAGES = {
    "py": "python", "pyi": "python", "pyx": "python", "rb": "ruby", "pl": "perl", "pm": "perl", "lua": "lua",
    "js": "javascript", "mjs": "javascript", "cjs": "javascript", "jsx": "javascript", "ts": "typescript",
    "tsx": "typescript", "go": "go", "rs": "rust", "c": "c", "h": "c", "cc": "c++", "cpp": "c++", "cxx": "c++",
    "hpp": "c++", "hh": "c++", "java": "java", "kt": "kotlin", "scala": "scala", "swift": "swift", "cs": "c#",
    "php": "php", "sh": "shell", "bash": "shell", "zsh": "shell", "ps1": "powershell", "sql": "sql", "r": "r",
    "jl": "julia", "ex": "elixir", "exs": "elixir", "erl": "erlang", "hs": "haskell", "ml": "ocaml", "clj": "clojure",
    "el": "lisp", "lisp": "lisp", "css": "css", "scss": "css", "vue": "vue", "proto": "protobuf", "tf": "terraform",
    "json": "json", "jsonl": "json", "yaml": "yaml", "yml": "yaml", "toml": "toml", "ini": "ini", "cfg": "ini",
    "conf": "ini", "cmake": "cmake", "mk": "make", "dockerfile": "dockerfile", "makefile": "make",
}  # fmt: skip
"""The language that a file's extension (or whole name) stands for."""

_MODIFIERS = (
    r"(?:(?:export|default|pub(?:\([a-z: ]{1,40}\))?|public|private|protected|internal|static|final|abstract|async|"
    r"unsafe|extern|inline|const|virtual|override|open|sealed|data|partial)\s+){0,6}"
)
_NAMED = re.compile(
    rf"^{_MODIFIERS}(?:def|class|func|function\*?|fn|struct|enum|interface|trait|impl|module|mod|type|namespace|object|"
    r"record|protocol|extension|message|service|sub|defmodule|macro_rules!|macro|resource|package)\s+"
    r"(?:\([^()\n]{0,200}\)\s*)?[\"']?([\w.$]+(?:::\w+)*(?:<[^<>\n]{0,80}>)?(?:\s+for\s+[\w:]+)?)"
)
_BOUND = re.compile(
    rf"^{_MODIFIERS}(?:let|var|val|const)\s+(\w+)\s*(?::[^=\n]{{0,200}})?=\s*(?:async\s*)?(?:\(|function|class)"
)
_C_LIKE = re.compile(
    r"^(?!(?:if|for|while|switch|return|else|do|case)\b)[A-Za-z_][\w\s*&:<>,~\[\]]{0,200}?([\w:~]+)\s*\([^;\n]*$"
)
_SHELL = re.compile(r"^([\w-]+)\s*\(\)\s*\{?")
_SQL = re.compile(
    r"^create\s+(?:or\s+replace\s+)?(?:temp(?:orary)?\s+)?\w+\s+(?:if\s+not\s+exists\s+)?([\w.\"]+)", re.I
)
_LEADING = ("@", "#[", "///", "//", "/*", " *", "*/", "#", "--", '"""', "[<")
_METHOD = re.compile(r"^(?: {2,4}|\t)(?:async\s+)?def\s+(\w+)")
_FLAT = frozenset({"json", "yaml", "toml", "ini", "css", "make", "dockerfile", "cmake", ""})


def parse_code(text: str, language: str) -> Parsed:
    """Return a program's definitions as blocks; each stands under its name (`Class`, `method`)."""
    blocks = Blocks()
    lines = text.split("\n")
    starts = [] if language in _FLAT else _definitions(lines, language)
    ends = [start for start, _ in starts] + [len(lines)]
    for number, (start, path) in enumerate([(0, ()), *starts]):
        end = ends[number]
        while start < end and not lines[start].strip():
            start += 1
        text = clean("\n".join(lines[start:end])).rstrip()
        if text:
            blocks.extend([Block(text, "code", path, None, start + 1)])
    return Parsed(blocks.found, "", language or "code", blocks.notes())


def _definitions(lines: list[str], language: str) -> list[tuple[int, tuple[str, ...]]]:
    """Return where each definition begins (comments and decorators above it included) and its path."""
    found: list[tuple[int, tuple[str, ...]]] = []
    outer = ""
    for number, line in enumerate(lines):
        if not line or len(line) > 500:
            continue
        if line[0] in " \t":
            method = _METHOD.match(line) if outer else None
            if method:
                found.append((_begin(lines, number), (outer, method[1])))
            continue
        name = _name(line, language)
        if name:
            outer = name if line.startswith("class ") and language in ("python", "ruby") else ""
            found.append((_begin(lines, number), (name,)))
        elif outer and language == "python" and line[0] not in "#)]}":
            outer = ""
    return found


def _name(line: str, language: str) -> str:
    """Return the name that a line at the margin defines, or nothing."""
    for pattern in (_NAMED, _BOUND):
        if found := pattern.match(line):
            return found[1].strip('"')
    if language in ("c", "c++", "java", "c#") and line.rstrip()[-1:] != ";":
        found = _C_LIKE.match(line)
    elif language == "shell":
        found = _SHELL.match(line)
    elif language == "sql":
        found = _SQL.match(line)
    return found[1].strip('"') if found else ""


def _begin(lines: list[str], number: int) -> int:
    """Return the first of the comment and decorator lines right above a definition."""
    while number and lines[number - 1].strip() and lines[number - 1].lstrip().startswith(_LEADING):
        number -= 1
    return number
