"""Scorers that know: a function, a program in the sandbox, unit tests."""

import re
from collections.abc import Callable

import msgspec

from aigrid.core.sandbox import SandboxError, run
from aigrid.thinking.base import Candidate
from aigrid.thinking.search import Search

_FENCE = re.compile(r"```(?:python|py)?\s*\n(.*?)```", re.DOTALL)
_CPU_S, _WALL_S, _MEMORY = 2.0, 10.0, 256 << 20


class Verifier:
    """Asks a function of the candidate's text and answer."""

    name, exact, logprobs, calls = "verifier", True, False, 0

    def __init__(self, check: Callable[[str, str], bool | float]) -> None:
        self.check = check

    async def score(self, search: Search, candidate: Candidate) -> tuple[float, str]:
        """Return what the function says."""
        return float(self.check(candidate.text, candidate.answer)), ""


class Program:
    """Runs a program that defines `score(text, answer)`, in a process that can reach nothing."""

    name, exact, logprobs, calls = "program", True, False, 0

    def __init__(self, code: str) -> None:
        self.code = code

    async def score(self, search: Search, candidate: Candidate) -> tuple[float, str]:
        """Return what the program says; 0 and the reason where it fails."""
        code = f"{self.code}\n\nfloat(score({candidate.text!r}, {candidate.answer!r}))"
        value, why = await _value(code)
        return (min(max(float(value), 0.0), 1.0), "") if value is not None else (0.0, why)


class UnitTests:
    """Runs the candidate's Python and then each test, a statement or expression that must not fail or be false."""

    name, exact, logprobs, calls = "tests", True, False, 0

    def __init__(self, tests: list[str]) -> None:
        self.tests = tests

    async def score(self, search: Search, candidate: Candidate) -> tuple[float, str]:
        """Return the share of tests that pass, and the first that does not.

        The candidate's code runs where it could change what is reported: use it for answers that mean no harm.
        """
        fences = _FENCE.findall(candidate.text)
        harness = (
            f"_tests, _bad = {msgspec.json.encode(self.tests).decode()}, []\n"
            "for _test in _tests:\n"
            "    try:\n"
            "        try:\n"
            "            _good = eval(compile(_test, 'test', 'eval'), globals()) is not False\n"
            "        except SyntaxError:\n"
            "            exec(compile(_test, 'test', 'exec'), globals()); _good = True\n"
            "    except BaseException:\n"
            "        _good = False\n"
            "    _good or _bad.append(_test)\n"
            "1 - len(_bad) / max(1, len(_tests))"
        )
        value, why = await _value("\n\n".join([*(fences or [candidate.text]), harness]))
        if value is None:
            return 0.0, why
        passed = round(value * len(self.tests))
        return value, f"{passed} of {len(self.tests)} tests pass"


async def _value(code: str) -> tuple[float | None, str]:
    try:
        said = await run(code, _CPU_S, _MEMORY, _WALL_S)
    except SandboxError as error:
        return None, error.message
    try:
        return float(said["value"]), ""
    except (KeyError, ValueError):
        return None, str(said.get("error") or "it gave no number")
