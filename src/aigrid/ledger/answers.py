"""What every backend answers the same way: keys in memory, administration and reports.

A backend says how to run statements for reading (`_read`) and in a transaction (`_write`).
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import TypeVar

import msgspec

from aigrid.core.clock import now_ns
from aigrid.core.errors import BadRequest
from aigrid.ledger import admin, reports
from aigrid.ledger.admin import By
from aigrid.ledger.base import ACTOR, AuditEntry, Bucket, Filter, Key, Limits, Record, Report, Run, Scope, Tenant
from aigrid.ledger.book import Book
from aigrid.ledger.keys import KeyRing

T = TypeVar("T")

PAGE = 1000
MAX_BUCKETS = 100_000


class Answers(ABC):
    """Keys, administration and reports of a ledger."""

    def __init__(self) -> None:
        self.ring = KeyRing()
        self.book = Book()
        self._tenants: dict[str, Tenant] = {}
        self._revision = (0, 0)
        self._refreshes = 0
        self._refreshing = asyncio.Lock()

    @abstractmethod
    async def _read(self, ask: Callable[[Run], T]) -> T:
        """Ask the database; raises `LedgerUnavailable`."""

    @abstractmethod
    async def _write(self, do: Callable[[Run], T]) -> T:
        """Change the database in one transaction, after all that was settled; raises `LedgerUnavailable`."""

    @abstractmethod
    async def _held(self) -> tuple[int, int]:
        """Return how many holds are open, and the nano-dollars that they hold."""

    async def read(self, ask: Callable[[Run], T]) -> T:
        """Ask for what other parts keep in the ledger's database (`shelf`); raises `LedgerUnavailable`."""
        return await self._read(ask)

    async def write(self, do: Callable[[Run], T]) -> T:
        """Change what other parts keep there, in one durable transaction; raises `LedgerUnavailable`."""
        return await self._write(do)

    def key(self, key_id: str) -> Key | None:
        """Return a live key by its id, from memory."""
        found = self.ring.by_id.get(key_id)
        return found if found is not None and found.revoked_ns is None else None

    def authenticate(self, secret: str) -> Key | None:
        """Return the live key for a secret from memory, at once; None for "not known here (yet)"."""
        return self.ring.authenticate(secret)

    async def lookup(self, secret: str) -> Key | None:
        """Like `authenticate`, but asks the database on a miss; raises `LedgerUnavailable` if that fails.

        However many secrets are guessed, one small question to the database is under way at a time.
        """
        key = self.ring.authenticate(secret)
        if key is None and self.ring.worth_asking(secret):
            await self.refresh()
            key = self.ring.authenticate(secret)
            if key is None:
                self.ring.unknown(secret)
        return key

    async def refresh(self) -> None:
        """Take in keys and tenants that changed; callers share one question asked after they called."""
        asked = self._refreshes
        async with self._refreshing:
            if self._refreshes > asked:
                return
            self._refreshes += 1
            try:
                changed = await self._read(partial(admin.changes, since=self._revision))
            except BaseException:
                self._refreshes -= 1  # nothing was learnt: those who wait must ask themselves
                raise
            self._take(changed)

    def _take(self, changes: admin.Changes) -> None:
        for tenant in changes.tenants:
            self._tenants[tenant.name] = tenant
            self.book.tenant(tenant.name, tenant.limits)
        for _, key in changes.keys:
            self.book.key(key)
        self.ring.put(changes.keys)
        self._revision = changes.revision

    async def create_key(
        self, tenant: str, *, name: str = "", scope: Scope = "inference", limits: Limits = Limits(),
        actor: str = ACTOR, address: str = "",
    ) -> tuple[Key, str]:  # fmt: skip
        """Make a key (and its tenant if new); the secret is returned this once. Raises `BadRequest`."""
        made = await self._write(lambda run: admin.create_key(run, tenant, name, scope, limits, By(actor, address)))
        await self.refresh()
        return made

    async def keys(self, include_revoked: bool = False) -> list[Key]:
        """Return all keys, oldest first."""
        await self.refresh()
        found = sorted(self.ring.by_id.values(), key=lambda key: (key.created_ns, key.id))
        return [key for key in found if include_revoked or key.revoked_ns is None]

    async def revoke_key(self, key_id: str, *, actor: str = ACTOR, address: str = "") -> Key:
        """Revoke a key; open holds of it still settle. Raises `NotFound`."""
        key = await self._write(lambda run: admin.revoke_key(run, key_id, By(actor, address)))
        await self.refresh()
        return key

    async def set_tenant(self, name: str, limits: Limits, *, actor: str = ACTOR, address: str = "") -> Tenant:
        """Make a tenant or change its limits. Raises `BadRequest`."""
        tenant = await self._write(lambda run: admin.set_tenant(run, name, limits, By(actor, address)))
        await self.refresh()
        return tenant

    async def tenants(self) -> list[Tenant]:
        """Return all tenants by name."""
        await self.refresh()
        return [self._tenants[name] for name in sorted(self._tenants)]

    async def report(self, since_ns: int, until_ns: int | None = None) -> Report:
        """Sum records settled in [since, until) and committed."""
        (totals, groups), (idle, source) = await self._read(
            lambda run: (reports.sums(run, since_ns, until_ns), reports.idle(run, since_ns, until_ns))
        )
        open_holds, held = await self._held()
        return Report(since_ns, until_ns or now_ns(), totals, groups, idle, source, open_holds, held)

    async def series(self, since_ns: int, until_ns: int, bucket_ns: int) -> list[Bucket]:
        """Return sums by time bucket, oldest first, empty buckets included; at most 100,000 of them."""
        if bucket_ns <= 0 or until_ns < since_ns or (until_ns - since_ns) // bucket_ns > MAX_BUCKETS:
            raise BadRequest(
                f"cannot divide the time into buckets of {bucket_ns} ns; use longer ones", param="bucket_ns"
            )
        return await self._read(lambda run: reports.series(run, since_ns, until_ns, bucket_ns))

    async def records(self, where: Filter = Filter()) -> list[Record]:
        """List records, newest first."""
        return await self._read(lambda run: reports.records(run, where))

    async def export(self, where: Filter = Filter()) -> AsyncIterator[Sequence[Record]]:
        """Iterate over all records that match, newest first, in pages; `where.limit` does not count."""
        while True:
            page = await self.records(msgspec.structs.replace(where, limit=PAGE))
            if page:
                yield page
            if len(page) < PAGE:
                return
            where = msgspec.structs.replace(where, before=page[-1].id)

    async def record(self, hold_id: str) -> Record | None:
        """Return one record by its id, once it is committed."""
        return await self._read(lambda run: reports.record(run, hold_id))

    async def audit(self, actor: str, act: str, detail: str = "", address: str = "") -> None:
        """Append one administrative act."""
        await self._write(lambda run: admin.append_audit(run, By(actor, address), act, detail))

    async def audit_log(self, limit: int = 100) -> list[AuditEntry]:
        """Return the newest acts first."""
        return await self._read(lambda run: admin.audit_log(run, limit))
