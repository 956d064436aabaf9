"""What a run and those it recruited have used, as the journals say."""

from collections.abc import Iterable
from pathlib import Path

import msgspec

from aigrid.agents.journal import Step, read, runs_folder


class Used(msgspec.Struct):
    """Tokens, and money in nano-dollars."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_nusd: int = 0

    @property
    def tokens(self) -> int:
        """Return tokens of both kinds."""
        return self.prompt_tokens + self.completion_tokens


def joined(steps: Iterable[Step]) -> Used:
    """Return what those took that a run recruited and that have ended."""
    used = Used()
    for step in steps:
        if step.kind == "joined":
            used.prompt_tokens += step.body["prompt_tokens"]
            used.completion_tokens += step.body["completion_tokens"]
            used.cost_nusd += step.body["cost_nusd"]
    return used


def tokens(steps: Iterable[Step]) -> int:
    """Return the tokens that a run has used of its budget."""
    steps = list(steps)
    own = (step.body["usage"] for step in steps if step.kind == "model")
    used: int = sum(each["prompt_tokens"] + each["completion_tokens"] for each in own)
    return used + joined(steps).tokens


def recruits(steps: Iterable[Step]) -> list[Path]:
    """Return the journals of the runs that a run recruited, of those that were begun."""
    subs = (sub for step in steps if step.kind == "recruited" for sub in step.body["subs"])
    return [path for sub in subs if (path := runs_folder() / f"{sub['run']}.db").is_file()]


def spent_nusd(path: Path) -> int:
    """Return what a run has cost until now, with all that it recruited, those that were cut off among them."""
    steps = read(path)
    own: int = sum(step.body["cost_nusd"] for step in steps if step.kind == "model")
    return own + sum(spent_nusd(each) for each in recruits(steps))
