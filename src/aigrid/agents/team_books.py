"""What a run and those it recruited have used, as the journals say."""

from collections.abc import Iterable

import msgspec

from aigrid.agents import shelf
from aigrid.agents.journal import Place, Step


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


def own(steps: Iterable[Step]) -> Used:
    """Return what a run itself took, without those it recruited."""
    used = Used()
    for step in steps:
        if step.kind in ("model", "cut"):
            used.cost_nusd += step.body["cost_nusd"]
        if step.kind == "model":
            used.prompt_tokens += step.body["usage"]["prompt_tokens"]
            used.completion_tokens += step.body["usage"]["completion_tokens"]
    return used


def tokens(steps: Iterable[Step]) -> int:
    """Return the tokens that a run has used of its budget."""
    steps = list(steps)
    return own(steps).tokens + joined(steps).tokens


def recruits(steps: Iterable[Step]) -> list[Place]:
    """Return the journals of the runs that a run recruited, of those that were begun."""
    subs = (sub for step in steps if step.kind == "recruited" for sub in step.body["subs"])
    return [place for sub in subs if (place := shelf.place(sub["run"])).there()]


def spent_nusd(place: Place) -> int:
    """Return what a run has cost until now, with all that it recruited, those that were cut off among them."""
    steps = place.read()
    return own(steps).cost_nusd + sum(spent_nusd(each) for each in recruits(steps))
