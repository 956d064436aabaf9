"""Runs that were begun here: each is a request that goes on in the background when its page is left."""

import asyncio
from typing import Any

from aigrid.console.chat_key import known_key
from aigrid.console.gateway import Gateway, GatewayAway, GatewayRefused

KEPT = 200
"""So many are remembered after they are over, for what they have to say."""


class Work:
    """One request that drives a run. `text` is what the model has said in it, `problem` why it ended badly."""

    def __init__(self) -> None:
        self.run: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.text = ""
        self.problem = ""
        self.over = False
        self.skip = 0
        self.task: asyncio.Task[None] | None = None

    def tail(self, said: list[str]) -> str:
        """Return the words that belong to no step yet; `said` is what each recorded step of the model says."""
        rest = self.text
        for text in said[self.skip :]:
            rest = rest.removeprefix(text)
        return rest


class Works:
    """The runs that this console drives."""

    def __init__(self) -> None:
        self._works: dict[str, Work] = {}
        self._tasks: set[asyncio.Task[None]] = set()  # the loop itself does not hold on to them

    def of(self, run: str) -> Work | None:
        """Return the request that drives a run, or drove it last."""
        return self._works.get(run)

    async def start(self, gateway: Gateway, agent: str, task: str) -> str:
        """Begin a run and return its id; raises `GatewayAway` and `GatewayRefused`."""
        work = Work()
        self._drive(gateway, work, _body(agent, task))
        return await asyncio.shield(work.run)

    def resume(self, gateway: Gateway, run: str, agent: str, steps: int) -> None:
        """Go on with a run whose model has taken so many steps; does nothing where it goes on already."""
        found = self.of(run)
        if found is not None and not found.over:
            return
        work = Work()
        work.skip = steps
        work.run.set_result(run)
        self._keep(run, work)
        self._drive(gateway, work, {**_body(agent, "Go on."), "metadata": {"run": run}})

    def pause(self, run: str) -> None:
        """End the request that drives a run; the run is cut off and can be gone on with."""
        work = self.of(run)
        if work is not None and work.task is not None:
            work.task.cancel()

    def _drive(self, gateway: Gateway, work: Work, body: dict[str, Any]) -> None:
        async def drive() -> None:
            try:
                stream = gateway.agent(await known_key(gateway), body)
                try:
                    async for chunk in stream:
                        if chunk.get("run") and not work.run.done():
                            self._keep(chunk["run"], work)
                            work.run.set_result(chunk["run"])
                        for choice in chunk.get("choices", ()):
                            work.text += choice["delta"].get("content") or ""
                finally:
                    await stream.aclose()
            except GatewayAway:
                work.problem = "The gateway went away. What was done is kept: go on when it is back."
            except GatewayRefused as refusal:
                work.problem = refusal.message
            finally:
                work.over = True
                if not work.run.done():
                    work.run.set_exception(GatewayRefused(502, work.problem or "The run did not begin."))
                    work.run.exception()  # seen, even where nobody waits any more

        work.task = asyncio.create_task(drive())
        self._tasks.add(work.task)
        work.task.add_done_callback(self._tasks.discard)

    def _keep(self, run: str, work: Work) -> None:
        self._works.pop(run, None)
        self._works[run] = work
        for old in [name for name, each in self._works.items() if each.over][: max(0, len(self._works) - KEPT)]:
            del self._works[old]


def _body(agent: str, text: str) -> dict[str, Any]:
    return {"model": f"agent:{agent}", "messages": [{"role": "user", "content": text}]}


works = Works()
