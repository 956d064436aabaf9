"""An examination through the gateway, as any client would sit it: one Inspect task for each worker, the same questions.

The stage `evaluate` proves what a worker can do before it is packed; here the gateway that serves it is asked, and
pays: scores by the line's own metric, and what each answer cost, in money, joules and time, as the answers themselves
say. Errors and refusals count as wrong. Inspect (UK AI Security Institute, https://inspect.aisi.org.uk) keeps every
question, answer and score in a log that `inspect view` shows.
"""

import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from aigrid.client.http import Gateway
from aigrid.core.errors import AigridError, ConfigError
from aigrid.factory import evaluate, run, stats
from aigrid.factory.base import Tell, quiet
from aigrid.factory.evaluate import Slice
from aigrid.factory.exams import Exam
from aigrid.factory.ladder import prompt, task
from aigrid.factory.rows import Row
from aigrid.factory.serving import UNSURE
from aigrid.factory.stats import Paired, Share

_RETRIES = 2
_SEED = 1
Chat = list[tuple[str, str]]
"""Messages as (role, text)."""


class Way(msgspec.Struct, frozen=True):
    """How workers are asked: rows shown to a plain model, the most tokens of an answer, and requests at a time.

    One request at a time gives the latency of a client that is alone.
    """

    shots: int = 4
    tokens: int = 256
    at_once: int = 1


class Examined(msgspec.Struct, frozen=True):
    """How one worker did, and what it cost: sums over all questions. `gain` is how much better the first one is.

    Tokens, `cost_nusd` and `energy_mj` are what the gateway's answers say of themselves. Milliseconds are a client's.
    """

    model: str
    shots: int
    score: Share
    declined: Share
    errors: int
    tokens: int
    cost_nusd: int
    energy_mj: int
    energy_source: str
    p50_ms: float
    p99_ms: float
    slices: list[Slice]
    log: str
    gain: Paired | None = None
    why: str = ""

    @property
    def each_nusd(self) -> int:
        """Nano-dollars of one question, rounded."""
        return round(self.cost_nusd / max(1, self.score.n))

    @property
    def each_mj(self) -> int:
        """Millijoules of one question, rounded."""
        return round(self.energy_mj / max(1, self.score.n))


class _Answer(msgspec.Struct, frozen=True):
    score: float = 0.0
    declined: bool = False
    error: str = ""
    tokens: int = 0
    cost_nusd: int = 0
    energy_mj: int = 0
    source: str = ""
    ms: float | None = None


def folder() -> Path:
    """Return where Inspect's logs are: `AIGRID_HOME/factory/evaluations`, for their owner alone."""
    path = run.root() / "evaluations"
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path


def needs() -> None:
    """Raise `ConfigError` where Inspect, or the client that it asks with, is not installed."""
    for module, name in (("inspect_ai", "inspect-ai"), ("openai", "openai")):
        if importlib.util.find_spec(module) is None:
            raise ConfigError(f"{name} is not installed: pip install 'aigrid[evaluate]'")


def examine(
    gateway: Gateway, models: Sequence[str], packs: set[str], exam: Exam, way: Way | None = None, tell: Tell = quiet
) -> list[Examined]:
    """Ask each of `models` the same questions, one model after another; the first is compared with each other one.

    Those in `packs` are asked as they are; a plain model is told what to do and shown rows to learn from. Raises
    `AigridError` where a model answers nothing at all.
    """
    needs()
    way = way or Way()
    found: list[Examined] = []
    first: list[_Answer] = []
    for model in models:
        lead = [] if model in packs else lesson(exam, way.shots)
        log, answers = _sit(gateway, model, lead, exam, way, tell)
        if all(each.error for each in answers):
            raise AigridError(f"{model} answered none of {len(answers)} questions: {answers[0].error}")
        done = _figures(model, lead, answers, first, exam, log)
        first = first or answers
        found.append(done)
    return found


def lesson(exam: Exam, shots: int) -> Chat:
    """Return what a plain model is told first: what to do, and a few rows with their answers; nothing without rows."""
    if not exam.lessons:
        return []
    lead = [("system", prompt.told(task.of(exam.lessons)))]
    for asked, answer in prompt.chosen(exam.lessons, shots, _SEED):
        lead += [("user", asked), ("assistant", answer)]
    return lead


def understood(text: str, row: Row) -> Any:
    """Return an answer in the shape of the row's output: none for a worker that would rather not answer."""
    text = text.strip()
    if text == UNSURE:
        return None
    if isinstance(row.output, str):
        return text
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError):
        return text


def _sit(gateway: Gateway, model: str, lead: Chat, exam: Exam, way: Way, tell: Tell) -> tuple[str, list[_Answer]]:
    """Let one worker sit the examination; returns where Inspect's log is, and the answers in the rows' order."""
    from inspect_ai import Task
    from inspect_ai import eval as inspect
    from inspect_ai.dataset import MemoryDataset, Sample
    from inspect_ai.log import EvalSample
    from inspect_ai.model import (
        ChatMessage,
        ChatMessageAssistant,
        ChatMessageSystem,
        ChatMessageUser,
        GenerateConfig,
        get_model,
    )
    from inspect_ai.scorer import Score, Scorer, Target, mean, scorer, stderr
    from inspect_ai.solver import TaskState, generate

    done = [0]

    @scorer(metrics=[mean(), stderr()], name=exam.settings.metric)
    def by_the_line() -> Scorer:
        async def score(state: TaskState, target: Target) -> Score:
            row = exam.rows[int(state.sample_id) - 1]
            said = understood(state.output.completion, row)
            declined = said is None or state.output.stop_reason == "content_filter"
            done[0] += 1
            tell(done[0], len(exam.rows), f"asking {model}")
            return Score(value=exam.metric(said, row), answer=state.output.completion, metadata={"declined": declined})

        return score

    kinds: dict[str, Callable[..., ChatMessage]] = {
        "system": ChatMessageSystem, "user": ChatMessageUser, "assistant": ChatMessageAssistant
    }  # fmt: skip
    samples = [
        Sample(
            input=[kinds[role](content=text) for role, text in (*lead, ("user", row.input))],
            target=row.text,
            id=at,
            metadata={"row": row.id},
        )
        for at, row in enumerate(exam.rows, 1)
    ]
    config = GenerateConfig(
        temperature=0.0, max_tokens=way.tokens, max_connections=way.at_once, max_retries=_RETRIES, cache=False
    )
    url, key = gateway.openai
    worker = get_model(
        f"openai-api/aigrid/{model}", base_url=url, api_key=key or "none", config=config,
        memoize=False, stream=False,
    )  # fmt: skip
    [log] = inspect(
        Task(dataset=MemoryDataset(samples, name=exam.name), solver=generate(), scorer=by_the_line(), name=exam.name),
        worker, display="none", log_dir=str(folder()), log_model_api=True, log_level="error", max_samples=way.at_once,
        fail_on_error=False, acp_server=False, ctl_server=False, score_display=False,
    )  # fmt: skip
    if log.status != "success" or log.samples is None:
        raise AigridError(f"Inspect could not examine {model}: {log.error.message if log.error else log.status}")
    sat: dict[int, EvalSample] = {int(sample.id): sample for sample in log.samples}
    return log.location, [_answer(sat.get(at)) for at in range(1, len(samples) + 1)]


def _answer(sample: Any) -> _Answer:
    """Return what one sample of Inspect's log says: the score, and the cost in the gateway's answer."""
    if sample is None:
        return _Answer(error="it was not asked")
    if sample.error is not None:
        return _Answer(error=sample.error.message)
    [scored] = sample.scores.values()
    tokens = cost = energy = 0
    source, ms = "", None
    for event in sample.events:
        if event.event == "model" and event.call is not None and event.call.response:
            spent = event.call.response.get("aigrid") or {}
            cost += spent.get("cost_nusd") or 0
            energy += spent.get("energy_mj") or 0
            source = spent.get("energy_source") or source
            tokens += (event.call.response.get("usage") or {}).get("total_tokens") or 0
            ms = None if event.call.time is None else event.call.time * 1e3
    return _Answer(float(scored.value), scored.metadata["declined"], "", tokens, cost, energy, source, ms)


def _figures(model: str, lead: Chat, answers: list[_Answer], first: list[_Answer], exam: Exam, log: str) -> Examined:
    ours, theirs = [each.score for each in first], [each.score for each in answers]
    times = sorted(each.ms for each in answers if each.ms is not None)
    sources = {each.source for each in answers if each.source}
    return Examined(
        model,
        sum(role == "assistant" for role, _ in lead),
        stats.share(theirs),
        stats.share([float(each.declined) for each in answers]),
        sum(bool(each.error) for each in answers),
        sum(each.tokens for each in answers),
        sum(each.cost_nusd for each in answers),
        sum(each.energy_mj for each in answers),
        sources.pop() if len(sources) == 1 else "mixed" if sources else "",
        times[len(times) // 2],
        times[min(len(times) - 1, len(times) * 99 // 100)],
        evaluate.by_slice(exam.rows, theirs, ours or None, exam.settings),
        log,
        stats.paired(ours, theirs) if ours else None,
        next((each.error for each in answers if each.error), ""),
    )
