"""Recruiting: who does it is chosen once and written down; each recruit's run is one of its own, paid by this one.

A recruit's run is a request within this run's request: its hold is drawn from this one's, its journal names this run,
its tokens count on this one's budget. Killed at any point, the call is made again and goes on with the same runs.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import msgspec

from aigrid.agents import catalogue, scores, shelf, spec, team_books
from aigrid.agents.catalogue import Ranked
from aigrid.agents.digest import digest
from aigrid.agents.events import Outcome
from aigrid.agents.halt import Waits
from aigrid.agents.journal import Journal
from aigrid.agents.spec import Agent, Mode
from aigrid.agents.team import Parent
from aigrid.agents.tools.base import Call, ToolError
from aigrid.core.errors import AigridError, NotFound
from aigrid.core.ids import new_id
from aigrid.engines.base import Chunk, GenerateRequest
from aigrid.gateway.nested import Within

if TYPE_CHECKING:
    from aigrid.agents.loop import Begin

LETTERS = "ABC"


class Sub(msgspec.Struct, frozen=True):
    """A recruit and the id of its run."""

    run: str
    agent: str


class Recruited(msgspec.Struct, frozen=True):
    """Who was chosen and why: the candidates by score. A debate's judge, where one is named, is the last of `subs`."""

    mode: Mode
    ranking: list[Ranked]
    subs: list[Sub]
    judged: bool = False


class Errand(GenerateRequest, kw_only=True):
    """A request to an agent from one that recruits it. No client can make one: it says whose part the run is."""

    run: str
    parent: Parent
    depth: int
    tokens: int
    seconds: float
    outcome: Outcome | None = None

    def limited(self, agent: Agent) -> Agent:
        """Return the agent with no more than is left of the budget of who recruits it."""
        budget, team = agent.budget, agent.team
        budget = msgspec.structs.replace(
            budget, tokens=min(budget.tokens, self.tokens), seconds=min(budget.seconds, self.seconds)
        )
        if team is not None:
            depth = min(team.depth, self.depth - 1)
            team = msgspec.structs.replace(team, depth=depth) if depth else None
        return msgspec.structs.replace(agent, budget=budget, team=team)

    def begun(self) -> bool:
        """Return whether the run was begun before; what was killed before its first step is taken away."""
        place = shelf.place(self.run)
        if not place.there():
            return False
        with place.open() as journal:
            begun = bool(journal.steps)
        if not begun:
            place.remove()
        return begun


class Account:
    """A run's own account: what is spent within the request since it began, less what its recruits spent."""

    def __init__(self, within: Within) -> None:
        self._within = within
        self._before, self._first = within.cost_nusd(), len(within.records())
        self.recruits_nusd = 0
        self.recruits_records: set[str] = set()

    def generate(self, request: GenerateRequest) -> AsyncGenerator[Chunk, None]:
        """Make tokens for one step."""
        return self._within.generate(request)

    async def count(self, request: GenerateRequest) -> int:
        """Return the number of prompt tokens."""
        return await self._within.count(request)

    def cost_nusd(self) -> int:
        """Return what the run itself has cost in this sitting."""
        return self._within.cost_nusd() - self._before - self.recruits_nusd

    def records(self) -> list[str]:
        """Return the ledger's records of what the run itself has done in this sitting."""
        return [each for each in self._within.records()[self._first :] if each not in self.recruits_records]


class Recruiter:
    """Recruits for one run."""

    def __init__(
        self, start: "Begin", journal: Journal, within: Within, account: Account, serves: Callable[[str], bool]
    ) -> None:
        self._start = start
        self._journal = journal
        self._within = within
        self._account = account
        self._serves = serves

    async def recruit(self, mode: Mode, task: str, call: Call) -> Any:
        """Return what the recruits came to, as the model is told it; raises `Waits` where one needs a person."""
        asked = digest({"mode": mode, "task": task})
        found = self._journal.find("recruited", call.id, asked)
        if found is None:
            chosen = await asyncio.to_thread(self._choose, mode, task)
            found = await self._journal.put("recruited", call.id, asked, chosen, durable=True)
        plan = msgspec.convert(found.body, Recruited)
        if mode == "debate":
            return await self._debate(plan, task, call.id)
        outcome = await self._run(plan.subs[0], task, call.id)
        if outcome.state != "done":
            return {"error": f"{outcome.agent} {outcome.state}: {outcome.reason}", "run": outcome.run}
        return {"agent": outcome.agent, "run": outcome.run, "answer": outcome.output}

    async def _debate(self, plan: Recruited, task: str, call: str) -> Any:
        debaters = plan.subs[:-1] if plan.judged else plan.subs
        outcomes = [await self._run(sub, task, call) for sub in debaters]
        # In an order that says nothing about who was thought best: a judge may lean towards what it reads first.
        answers = sorted((each for each in outcomes if each.state == "done"), key=lambda each: digest(each.run))
        if not answers:
            return {"error": f"none of {', '.join(each.agent for each in outcomes)} came to an answer"}
        told: list[dict[str, Any]] = [{"agent": each.agent, "run": each.run, "answer": each.output} for each in answers]
        if not plan.judged or len(answers) == 1:
            return {**told[0]} if len(told) == 1 else {"answers": told, "judge": "you"}
        verdict = await self._run(plan.subs[-1], _question(task, answers), call)
        letter = _letter(verdict.output, len(answers)) if verdict.state == "done" else None
        if letter is None:
            return {"answers": told, "judge": "you", "verdict": f"{verdict.agent} named none of them"}
        if self._journal.find("judged", call) is None:
            values = {each.run: float(at == LETTERS.index(letter)) for at, each in enumerate(answers)}
            await self._journal.put("judged", call, "", {"judge": verdict.agent, "run": verdict.run, "values": values})
        return {**told[LETTERS.index(letter)], "verdict": verdict.output, "judge": verdict.agent}

    def _choose(self, mode: Mode, task: str) -> Recruited:
        """Choose by what is known of each; raises `ToolError` where too few may be recruited."""
        team, judge = self._start.agent.team, None
        assert team is not None
        excluded = {*self._lineage()}
        if mode == "debate" and team.judge is not None:
            judge = team.judge
            if judge in excluded or not self._can(judge):
                raise ToolError(f"the judge {judge} cannot be recruited here")
            excluded.add(judge)
        named = [each.agent.name for each in spec.every()[0]] if team.members is None else team.members
        names = [name for name in dict.fromkeys(named) if name not in excluded and self._can(name)]
        wanted, least = (team.debaters, 2) if mode == "debate" else (1, 1)
        if len(names) < least:
            raise ToolError(f"{mode} needs {least} agents to recruit, and there are {len(names)} that may be")
        ranking = catalogue.rank(task, names, scores.seen(self._start.task.tenant))
        subs = [Sub(new_id("run_"), each.agent) for each in ranking[:wanted]]
        if judge is not None:
            subs.append(Sub(new_id("run_"), judge))
        return Recruited(mode, ranking, subs, judge is not None)

    def _lineage(self) -> list[str]:
        parent = self._start.parent
        return [*(parent.lineage if parent is not None else ()), self._start.agent.name]

    def _can(self, name: str) -> bool:
        try:
            model = spec.find(name).agent.model
        except AigridError:
            return False
        return not model or self._serves(model)

    async def _run(self, sub: Sub, task: str, call: str) -> Outcome:
        """Return what a recruit came to, of its run or of the journal that has it already."""
        done = self._journal.find("joined", sub.run)
        if done is not None:
            return msgspec.convert(done.body, Outcome)
        errand, before = self._errand(sub, task, call), self._within.cost_nusd()
        first = len(self._within.records())
        try:
            async with aclosing(self._within.generate(errand)) as chunks:
                async for _ in chunks:
                    pass
        finally:
            self._account.recruits_nusd += self._within.cost_nusd() - before
            self._account.recruits_records |= set(self._within.records()[first:])
        outcome = errand.outcome
        if outcome is None:
            raise ToolError(f"{sub.agent} gave no account of its run {sub.run}")
        if outcome.state in ("waiting", "unknown"):
            raise Waits(outcome.approval, outcome.state == "unknown", f"{sub.agent} in {sub.run}: {outcome.reason}")
        await self._journal.put("joined", sub.run, call, outcome, durable=True)
        return outcome

    def _errand(self, sub: Sub, task: str, call: str) -> Errand:
        start, agent = self._start, spec.find(sub.agent).agent
        left = start.agent.budget.tokens - team_books.tokens(self._journal.steps)
        if left < 1:
            raise ToolError("nothing is left of budget.tokens to recruit with")
        assert start.agent.team is not None
        root = start.parent.root if start.parent is not None else start.run
        return Errand(
            id="", model=f"agent:{sub.agent}", max_tokens=agent.max_tokens,
            messages=[{"role": "user", "content": task}], run=sub.run,
            parent=Parent(start.run, call, root, self._lineage()), depth=start.agent.team.depth, tokens=left,
            seconds=start.agent.budget.seconds,
            body={"user": start.task.user} if start.task.user else {},
        )  # fmt: skip


def serves(within: Within) -> Callable[[str], bool]:
    """Return whether a model is served, as a question."""

    def ask(model: str) -> bool:
        try:
            within.route(model)
        except NotFound:
            return False
        return True

    return ask


def _question(task: str, answers: list[Outcome]) -> str:
    """Return what the judge is asked: the answers without who gave them, so that they alone count."""
    given = "\n\n".join(f"Answer {letter}:\n{each.output}" for letter, each in zip(LETTERS, answers, strict=False))
    return f"The question:\n{task}\n\n{given}\n\nWhich answer is best? Say its letter first, and then why."


def _letter(verdict: str, answers: int) -> str | None:
    found = re.search(rf"\b([{LETTERS[:answers]}])\b", verdict)
    return found.group(1) if found else None
