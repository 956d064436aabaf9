"""The ledger on PostgreSQL: one database, many gateways, and budgets that hold for all of them together.

Where money or rates are limited, a hold is granted by the database, in a transaction shared by all who ask at that
moment. Where nothing is limited it is granted here and reported afterwards. Counts are durable in this gateway's
journal, against `kill -9` as with SQLite; records reach the database some 50 ms after the settlement, or when it is
back. A gateway that dies settles its holds when it returns; if it does not, another one settles them from what it had
reported, once its lease has run out.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from aigrid.core.clock import now_ns
from aigrid.core.config import Config, home
from aigrid.core.errors import Conflict
from aigrid.ledger import admin, postgres_checks, postgres_recovery
from aigrid.ledger.base import Hold, Key, Order, Outcome, Record, Run, Settlement
from aigrid.ledger.energy import Meter
from aigrid.ledger.holds import OpenHold
from aigrid.ledger.keys import KeyRing
from aigrid.ledger.owning import Owning
from aigrid.ledger.postgres_database import Database
from aigrid.ledger.postgres_desk import Connection as WriterConnection
from aigrid.ledger.postgres_desk import Work
from aigrid.ledger.postgres_families import Families, GrantedBook
from aigrid.ledger.postgres_folder import Folder
from aigrid.ledger.postgres_gateways import Gateways
from aigrid.ledger.postgres_writer import Writer
from aigrid.ledger.recovery import Recover
from aigrid.ledger.till import Batch, Till

T = TypeVar("T")

LEASE_S = 120.0


class PostgresLedger(Owning):
    """A ledger in a database, and in a folder of this gateway's own: its name, its journal, and the keys it knows."""

    backend = "postgresql"
    poll_s = 0.5

    def __init__(
        self,
        url: str,
        config: Config,
        *,
        folder: Path | None = None,
        owner: bool = True,
        meter: Meter | None = None,
        recover: Recover | None = None,
        lease_s: float = LEASE_S,
    ) -> None:
        """`lease_s` is how long a gateway may be silent before others settle its holds, in seconds."""
        super().__init__(config, owner, meter, recover)
        self.url = url
        self.folder = folder or home() / "gateway"
        self.gateway = ""
        self.book = self._grants = GrantedBook()
        self._lease_s = lease_s
        self._families = Families()
        self._database = Database(url)
        self._folder: Folder | None = None
        self._writer: Writer | None = None
        self._gateways: Gateways | None = None
        self._recovered: list[Record] = []
        self._first = True

    async def open(self) -> list[Record]:
        """Connect; the owner also settles the holds that it left open, and returns their records.

        With the database away, an owner that has seen it before opens all the same, on the keys that it knew, and
        settles what it left once the database is back. Raises `Conflict` where another process uses the folder.
        """
        if not self.owner:
            await self._database.migrate()
            await self.refresh()
            return []
        folder = self._folder = Folder(self.folder)
        try:
            self.gateway = folder.name
            self._gateways = Gateways(self._database, self.gateway, self._lease_s)
            knows = folder.keys.load()
            if knows is not None:
                self._take(knows)
            site = self._config.site.id
            self._till = Till(self.book, folder.new_journal(), self.prices, site, owner=self.gateway)
            self._writer = Writer(
                self.url, self.gateway, connected=self._connected, tend=self._tend, tend_s=min(1.0, self._lease_s / 4),
                granted=self._grants.grant, committed=self._free,
            )  # fmt: skip
            await self._writer.tried.wait()
            if not self._writer.up and knows is None:
                self._writer.require()
            self._start(self._till, self._submit)
        except BaseException:
            await self._let_go()
            raise
        return self._recovered

    async def lookup(self, secret: str) -> Key | None:
        """Like `authenticate`, but asks the database on a miss; raises `LedgerUnavailable` while it is away."""
        if self._writer is not None and self.ring.worth_asking(secret):
            self._writer.require()
        return await super().lookup(secret)

    async def hold(self, order: Order, parent: Hold | None = None) -> OpenHold:
        """Reserve; raises `BudgetExceeded` or `RateLimited`, and then nothing is held or charged.

        Raises `LedgerUnavailable` where money is limited and the database is away: nobody knows what is left.
        """
        assert parent is None or isinstance(parent, OpenHold)
        till, writer = self._owned(), self._writer
        assert writer is not None
        idle = not till.open
        money, rates = self._grants.limited(order.key) if parent is None else (False, False)
        if money:
            writer.require()
        # With the database away, this gateway keeps rates for itself.
        if money or (rates and writer.up):
            hold = await self._ask(till, writer, order)
        else:
            hold = till.hold(order, parent)
            self._families.opened(hold, asked=False)
        if idle:
            self._wake()
        return hold

    def settle(
        self, hold: Hold, outcome: Outcome, *, site: str = "", usage_source: str = "counted", note: str = ""
    ) -> Settlement:
        """Settle a hold from its counts; a second call changes nothing and returns the first result."""
        assert isinstance(hold, OpenHold)
        first = hold.settlement is None
        settlement = super().settle(hold, outcome, site=site, usage_source=usage_source, note=note)
        if first:
            self._families.settled(hold)
        return settlement

    async def check(self) -> list[str]:
        """Derive every balance again from the records and return each disagreement as a sentence; empty is good."""
        return await self._read(postgres_checks.check)

    async def _ask(self, till: Till, writer: Writer, order: Order) -> OpenHold:
        id_ = order.request_id
        if id_ in till.open or not self._grants.ask(id_):
            raise Conflict(f"request {id_} has a hold already; give each request an id of its own")
        try:
            await writer.ask(order, self.prices.tariff(order.model, order.tier, order.site, now_ns()))
        except BaseException:
            if self._grants.forget(id_):
                writer.release(order)
            raise
        try:
            hold = till.hold(order)
        except BaseException:
            self._grants.forget(id_)
            writer.release(order)
            raise
        self._families.opened(hold, asked=True)
        return hold

    def _submit(self, batch: Batch) -> None:
        # In one step with the tick: what the families reserve now is what is left after these records.
        assert self._writer is not None
        meters = [batch.meter] if batch.meter is not None else []
        self._writer.submit(Work(batch.rows, self._families.changed(), meters, batch.slots))

    async def _connected(self) -> None:
        """Bring everything up to date with a database that can be reached (again)."""
        assert self._folder is not None
        if self._first:
            await self._database.migrate()
            await self._write(lambda run: admin.note_prices(run, self.prices))
            # What the file knew may be of another database: read all keys anew.
            self._folder.keys.clear()
            fresh = await self._read(admin.changes)
            self.ring, self._tenants = KeyRing(), {}
            self._take(fresh)
            self._recovered += await postgres_recovery.own(self._write, self.gateway, self._folder.left, self._recover)
            self._folder.settled()
            self._first = False
        await self.refresh()

    async def _tend(self, connection: WriterConnection) -> None:
        """Do what is due every second."""
        writer, gateways = self._writer, self._gateways
        assert writer is not None
        assert gateways is not None
        await gateways.beat(connection)
        ended = await gateways.nobodys(
            connection,
            lambda id_: self._families.knows(id_) or self._grants.asked(id_) or writer.waiting_for(id_),
        )
        families = ended | self._families.report()  # asked at the last moment: what is submitted later comes after it
        if families:
            writer.submit(Work(families=families))
        await gateways.look(connection, writer)

    def _reachable(self) -> bool:
        return self._writer is not None and self._writer.up

    def _take(self, changes: admin.Changes) -> None:
        super()._take(changes)
        if self._folder is not None and (changes.keys or changes.tenants):
            self._folder.keys.save(changes)

    async def _let_go(self) -> None:
        writer, self._writer = self._writer, None
        clean = await writer.stop() if writer is not None else True
        if self._gateways is not None:
            await self._gateways.stop()
        till, self._till = self._till, None
        if till is not None:
            till.close()
            if clean and not till.open and not till.waiting:
                till.journal.path.unlink(missing_ok=True)
        await self._database.close()
        if self._folder is not None:
            self._folder.release()

    async def _held(self) -> tuple[int, int]:
        """Return the open holds of all gateways, those of this one as they are now."""
        sql = "SELECT count(*), coalesce(sum(amount_nusd), 0) FROM holds WHERE gateway <> ?"
        ((count, held),) = await self._read(lambda run: run(sql, (self.gateway,)))
        if self._till is None:
            return int(count), int(held)
        return int(count) + len(self._till.open), int(held) + self._till.held_nusd

    async def _read(self, ask: Callable[[Run], T]) -> T:
        return await self._database.read(ask)

    async def _write(self, do: Callable[[Run], T]) -> T:
        return await self._database.write(do)
