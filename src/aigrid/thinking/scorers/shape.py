"""Scorers of form: JSON of a schema, a regular expression."""

import re
from typing import Any

import msgspec

from aigrid.core.errors import Unavailable
from aigrid.thinking.base import Candidate
from aigrid.thinking.search import Search


class Schema:
    """1 for JSON that a schema allows, 0 for other text."""

    name, exact, logprobs, calls = "schema", True, False, 0

    def __init__(self, schema: dict[str, Any]) -> None:
        try:
            import jsonschema
        except ImportError:
            raise Unavailable(
                "schemas cannot be checked here: pip install 'aigrid[agents]'", code="not_installed"
            ) from None
        self._check = jsonschema.Draft202012Validator(schema)

    async def score(self, search: Search, candidate: Candidate) -> tuple[float, str]:
        """Return 1, or 0 and the first thing wrong."""
        try:
            value = msgspec.json.decode(candidate.text)
        except (msgspec.DecodeError, UnicodeError) as error:
            return 0.0, f"it is not JSON: {error}"
        wrong = next(iter(self._check.iter_errors(value)), None)
        return (1.0, "") if wrong is None else (0.0, str(wrong.message)[:300])


class Regex:
    """1 for text that holds a pattern, 0 for other text."""

    name, exact, logprobs, calls = "regex", True, False, 0

    def __init__(self, pattern: str) -> None:
        self._pattern = re.compile(pattern)

    async def score(self, search: Search, candidate: Candidate) -> tuple[float, str]:
        """Return 1 or 0."""
        found = self._pattern.search(candidate.text) is not None
        return (1.0, "") if found else (0.0, "the pattern is not there")
