"""The process that runs a model's Python: gives up everything first, then runs the one text, then ends."""

import ast
import contextlib
import io
import json
import os
import sys
import traceback
from typing import Any

from aigrid.core.sandbox_lock import die_with, limit_cpu, lock

MOST_TEXT = 100_000
_NEEDED = {"limits", "landlock", "seccomp"}


class _Page(io.StringIO):
    """What was printed, up to a limit."""

    def write(self, text: str) -> int:
        room = MOST_TEXT - self.tell()
        super().write(text[: max(room, 0)])
        return len(text)


def main(parent: int, memory_bytes: int, cpu_s: float) -> None:
    """Run the code on standard input and write one JSON object."""
    die_with(parent)
    code = sys.stdin.buffer.read().decode()
    answer = os.dup(1)
    _load()
    walls = lock(memory_bytes, alone=True)
    if not set(walls) >= _NEEDED:
        missing = ", ".join(sorted(_NEEDED - set(walls)))
        _say(answer, {"refused": f"this machine's kernel cannot hold a model's code in ({missing} is missing)"})
        return
    limit_cpu(cpu_s)
    _say(answer, run(code))


def run(code: str) -> dict[str, Any]:
    """Return what code printed, its last value, and its error where it raised one."""
    page = _Page()
    found: dict[str, Any] = {}
    with contextlib.redirect_stdout(page), contextlib.redirect_stderr(page):
        try:
            tree = ast.parse(code, "code")
            last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
            space: dict[str, Any] = {"__name__": "__main__"}
            exec(compile(tree, "code", "exec"), space)
            if isinstance(last, ast.Expr):
                value = eval(compile(ast.Expression(last.value), "code", "eval"), space)
                if value is not None:
                    found["value"] = repr(value)[:MOST_TEXT]
        except BaseException as error:
            lines = traceback.format_exception_only(error)
            found["error"] = "".join(lines).strip()[:MOST_TEXT]
    return {"printed": page.getvalue(), **found}


def _say(answer: int, value: dict[str, Any]) -> None:
    data = json.dumps(value).encode()
    while data:
        data = data[os.write(answer, data) :]


def _load() -> None:
    """Import what code commonly uses while it can still be opened."""
    import collections
    import csv
    import datetime
    import decimal
    import fractions
    import itertools
    import math
    import random
    import re
    import statistics

    assert all((collections, csv, datetime, decimal, fractions, itertools, math, random, re, statistics))
