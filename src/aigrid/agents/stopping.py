"""Stopping a run for good, with all that it recruited: nobody goes on with them, and nobody is asked about them any more."""

import asyncio

from aigrid.agents import shelf
from aigrid.agents.desk import Desk
from aigrid.agents.journal import Place, opening
from aigrid.agents.team_books import recruits
from aigrid.core.errors import Conflict


async def stop_all(run: str, by: str, reason: str, desk: Desk) -> None:
    """Stop a run that nothing in this process works on; one that was stopped before stays as it is.

    Raises `NotFound`, and `Conflict` where it is done, or another process works on it.
    """
    place = await asyncio.to_thread(shelf.find, run)
    steps = await asyncio.to_thread(place.read)
    if steps and steps[-1].kind == "end" and steps[-1].body["state"] == "done":
        raise Conflict(f"{run} is done; there is nothing to stop", param="run")
    await _stop(place, by, reason, desk)


async def _stop(place: Place, by: str, reason: str, desk: Desk) -> None:
    from aigrid.agents import loop

    steps = await asyncio.to_thread(place.read)
    if steps and steps[-1].kind != "end":
        with await opening(place.open) as journal:
            await loop.stop(journal, by, reason)
            steps = journal.steps
    desk.withdraw(place.run)
    for each in await asyncio.to_thread(recruits, steps):
        await _stop(each, by, f"with {place.run}", desk)
