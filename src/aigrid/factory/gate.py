"""Gate: a pack enters service only where the line's conditions hold. Every decision is written down, and reversible.

A condition that was not examined does not hold: nothing is promoted by hope.
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from aigrid import packs
from aigrid.core.errors import ConfigError
from aigrid.factory import standing, trial
from aigrid.factory.base import Figure, Job
from aigrid.factory.evaluate import IN_SERVICE, Against, Evidence
from aigrid.factory.seal import examined
from aigrid.packs import Shelf

CODE = ("aigrid.factory.trial", "aigrid.factory.standing")
READS_MEASURED = True
BY = "the line's gate"
Share = Annotated[float, Meta(ge=0, le=1)]


class Settings(msgspec.Struct, forbid_unknown_fields=True):
    """What must hold. What is unset is not asked.

    `at_least` is the score's lower end (95 %). `better_than` are baselines (and `in service`, which counts only where
    something is) that it must beat by a paired test. `not_below` are those that it must not be worse than by one.
    `slice_loss` is the most that any slice may lose to what is in service. `p99_ms` is of an answer. `figures` are
    bounds of other stages' figures: `guard.recall: {at_least: 0.95}`.
    `enter` says how it begins: at once, beside the one in service without being heard (shadow), or for a share of the
    requests (canary) until `requests` have shown that it fails no more often.
    """

    at_least: Share | None = None
    better_than: tuple[str, ...] = (IN_SERVICE,)
    not_below: tuple[str, ...] = ()
    slice_loss: Share | None = None
    p99_ms: Annotated[float, Meta(gt=0)] | None = None
    figures: dict[str, dict[Literal["at_least", "at_most"], float]] = {}
    enter: Literal["at once", "shadow", "canary"] = "at once"
    share: Share = 0.1
    requests: Annotated[int, Meta(ge=1)] = 100


class Held(msgspec.Struct, frozen=True):
    """A condition, and whether it holds."""

    condition: str
    holds: bool
    found: str


def run(job: Job, settings: Settings) -> None:
    """Judge, and where all holds put the pack on the shelf and into service (or on trial). Writes `decision.json`."""
    evidence = examined(job) or job.input("evaluate")
    proof = msgspec.json.decode((evidence / "evidence.json").read_bytes(), type=Evidence)
    held = list(conditions(settings, proof, job.about["figures"], job.about["measured"]))
    passed = all(each.holds for each in held)
    pack = packs.open(job.input("pack") / "pack")
    name, version = pack.manifest.name, pack.manifest.version
    before = standing.before(name, job.about["digests"]["train"])
    why = "; ".join(each.condition for each in held) or "the line asks for nothing"
    entered = "kept out"
    if passed:
        shelf = Shelf()
        shelf.put(pack.path)
        now = shelf.in_service(name)
        if now is not None and now.digest == pack.digest:
            entered = "in service already"
        elif before is None or settings.enter == "at once":
            shelf.serve(name, version, why=why, by=BY)
            entered = "in service"
        else:
            trial.begin(name, version, settings.enter, settings.share, settings.requests)
            entered = settings.enter
    decision = {"pack": name, "version": version, "digest": pack.digest, "passed": passed, "conditions": held}
    (job.out / "decision.json").write_bytes(msgspec.json.format(msgspec.json.encode(decision), indent=2))
    failed = [f"{each.condition}: {each.found}" for each in held if not each.holds]
    job.say(passed=passed, failed="; ".join(failed) or None)
    job.measure(entered=entered)


def conditions(
    settings: Settings,
    proof: Evidence,
    figures: Mapping[str, Mapping[str, Figure]],
    measured: Mapping[str, Mapping[str, Figure]],
) -> Iterator[Held]:
    """Yield each condition that a line sets, with what was found."""
    if settings.at_least is not None:
        said = f"the score's lower end is at least {settings.at_least:.1%}"
        yield Held(said, proof.score.low >= settings.at_least, str(proof.score))
    for name in settings.better_than:
        if name == IN_SERVICE and name not in proof.against:
            continue
        gain = _against(proof, name).gain
        yield Held(f"better than {name}", gain.better, f"{gain.difference:+.1%}, p = {gain.p:.2g}")
    for name in settings.not_below:
        gain = _against(proof, name).gain
        worse = gain.difference < 0 and gain.p < 0.05
        yield Held(f"not below {name}", not worse, f"{gain.difference:+.1%}, p = {gain.p:.2g}")
    if settings.slice_loss is not None:
        losses = [(each.gain, each.name) for each in proof.slices if each.gain is not None]
        worst = min(losses, default=(0.0, "none"))
        said = f"no slice loses more than {settings.slice_loss:.1%}"
        yield Held(said, worst[0] >= -settings.slice_loss, f"worst: {worst[1]} {worst[0]:+.1%}")
    if settings.p99_ms is not None:
        found = measured.get("evaluate", {}).get("p99_ms")
        fast = isinstance(found, int | float) and found <= settings.p99_ms
        yield Held(f"99 of 100 answers within {settings.p99_ms:g} ms", fast, f"{found} ms")
    for name, bounds in settings.figures.items():
        stage, _, figure = name.partition(".")
        found = {**figures.get(stage, {}), **measured.get(stage, {})}.get(figure)
        for bound, limit in bounds.items():
            number = isinstance(found, int | float)
            good = number and (found >= limit if bound == "at_least" else found <= limit)  # type: ignore[operator]
            yield Held(f"{name} {bound.replace('_', ' ')} {limit:g}", bool(good), str(found))


def _against(proof: Evidence, name: str) -> Against:
    if name not in proof.against:
        there = ", ".join(proof.against) or "none"
        raise ConfigError(f"the gate compares with `{name}`, which the evaluation did not ask; it asked {there}")
    return proof.against[name]
