"""Which gateways live: each shows itself every second, and those that were silent for a lease are settled by others."""

import asyncio
import logging
from collections.abc import Callable
from functools import partial

from aigrid.core.clock import SECOND, mono_ns
from aigrid.core.errors import LedgerUnavailable
from aigrid.ledger import postgres_recovery
from aigrid.ledger.postgres_database import Database
from aigrid.ledger.postgres_desk import Connection, Family
from aigrid.ledger.postgres_writer import Writer

log = logging.getLogger(__name__)

_BEAT = """
INSERT INTO gateways (id, beat) VALUES (%s, clock_timestamp()) ON CONFLICT (id) DO UPDATE SET beat = excluded.beat
"""
_HOLDS = "SELECT id, tenant, key_id FROM holds WHERE gateway = %s"
_SILENT = "SELECT id FROM gateways WHERE beat < clock_timestamp() - make_interval(secs => %s)"


class Gateways:
    """The view of one gateway on the others, and on what the database has under its own name."""

    def __init__(self, database: Database, gateway: str, lease_s: float) -> None:
        self._database, self._gateway, self._lease_s = database, gateway, lease_s
        self._reaper: asyncio.Task[None] | None = None

    async def stop(self) -> None:
        """Stop settling for others; what is under way in a transaction is finished or undone."""
        if self._reaper is not None:
            self._reaper.cancel()
            await asyncio.wait([self._reaper])

    async def beat(self, connection: Connection) -> None:
        """Show that this gateway lives."""
        await connection.execute(_BEAT, [self._gateway])

    async def nobodys(self, connection: Connection, known: Callable[[str], bool]) -> dict[str, Family]:
        """Return holds under this gateway's name that it does not know: grants whose answer was lost. They end here."""
        cursor = await connection.execute(_HOLDS, [self._gateway])
        return {id_: Family(tenant, key, None) for id_, tenant, key in await cursor.fetchall() if not known(id_)}

    async def look(self, connection: Connection, writer: Writer) -> None:
        """Settle the holds of gateways that were silent for a lease."""
        # Not before this one was connected for a lease itself: after an outage, others need the time to reconnect.
        if mono_ns() - writer.up_since < self._lease_s * SECOND or (self._reaper and not self._reaper.done()):
            return
        silent = [id_ for (id_,) in await (await connection.execute(_SILENT, [self._lease_s])).fetchall()]
        if silent:
            self._reaper = asyncio.create_task(self._reap(silent), name="ledger-reaper")

    async def _reap(self, silent: list[str]) -> None:
        for gateway in silent:
            try:
                settled = await self._database.write(
                    partial(postgres_recovery.reap, gateway=gateway, lease_s=self._lease_s)
                )
            except LedgerUnavailable as error:
                log.warning("the holds of gateway %s could not be settled, to be tried again: %s", gateway, error)
            else:
                log.warning("gateway %s is gone; %d of its holds were settled here", gateway, settled)
