"""How large a regular expression becomes: XGrammar writes out repeats within repeats, and its work grows with them.

`((a{100}){100}){100}` would keep it busy for minutes, and everyone else waiting. Only what multiplies is counted
here; what else may be wrong with a pattern is XGrammar's to say.
"""

import re

from aigrid.core.errors import BadRequest

LARGEST_REPEAT = 100_000
LARGEST_NEST = 1_000
LARGEST_TOTAL = 5_000

_TOKEN = re.compile(
    r"\\(?:[ux]\{[^}]*\}|.)"  # an escape
    r"|\[\^?(?:\\.|[^\]\\])*\]?"  # a class of characters
    r"|\{\s*(?P<low>\d*)\s*(?:,\s*(?P<high>\d*)\s*)?\}"  # a counted repeat
    r"|.",
    re.DOTALL,
)


class Patterns:
    """Adds up the patterns of one request."""

    def __init__(self) -> None:
        self._total = 0

    def add(self, pattern: str, param: str) -> None:
        """Take one more pattern; raises `BadRequest` naming the field where it or all together are too large."""
        self._total += repeats(pattern, param)
        if self._total > LARGEST_TOTAL:
            raise BadRequest(
                f"the repeats in the patterns add up to {self._total:,}; {LARGEST_TOTAL:,} is the most: "
                "use smaller bounds",
                param=param,
            )


def repeats(pattern: str, param: str) -> int:
    """Return how many repeats a pattern becomes when it is written out; raises `BadRequest` where that is too many.

    A repeat that holds no other stays compact and counts as `LARGEST_NEST` at most.
    """
    alone, nested = 0, 0  # of the sequence so far: as it stands, and if the group around it is repeated
    last_alone, last_nested = 0, 0  # of its last item
    outer: list[tuple[int, int]] = []
    for token in _TOKEN.finditer(pattern):
        text = token[0]
        if text == "(":
            outer.append((alone, nested))
            alone = nested = last_alone = last_nested = 0
        elif text == ")" and outer:
            last_alone, last_nested = alone, nested
            before = outer.pop()
            alone, nested = before[0] + alone, before[1] + nested
        elif token["low"] or token["high"]:
            most = _bound(token, param)
            alone, nested = alone - last_alone, nested - last_nested
            if last_nested:
                last_alone = last_nested = most * last_nested
                if last_nested > LARGEST_NEST:
                    raise BadRequest(
                        f"repeats within repeats multiply to {last_nested:,} in the pattern `{pattern[:80]}`; "
                        f"{LARGEST_NEST:,} is the most: use smaller bounds",
                        param=param,
                    )
            else:
                last_alone, last_nested = min(most, LARGEST_NEST), most
            alone, nested = alone + last_alone, nested + last_nested
        elif text not in ("*", "+", "?"):
            last_alone = last_nested = 0
    return alone


def _bound(token: re.Match[str], param: str) -> int:
    """Return the larger bound of a repeat, at least 1."""
    digits = max(token["low"] or "", token["high"] or "", key=lambda text: (len(text.lstrip("0")), text.lstrip("0")))
    if len(digits.lstrip("0")) > len(str(LARGEST_REPEAT)) or int(digits) > LARGEST_REPEAT:
        raise BadRequest(f"a pattern repeats {token[0][:40]} times; {LARGEST_REPEAT:,} is the most", param=param)
    return max(1, int(digits))
