"""The ledger's words and its protocol: reserve, count, settle.

Admission places a *hold* for the most a request can cost. While tokens flow they are counted on the hold. Every
exit settles it exactly once from what was counted; the rest of the hold is released. Money is integer nano-dollars
(`nusd`), energy integer millijoules (`mj`), time integer nanoseconds (`ns`).
"""

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Literal, Protocol, TypeVar

import msgspec

T = TypeVar("T")
Run = Callable[[str, Sequence[Any]], list[tuple[Any, ...]]]
"""Runs one statement and returns its rows."""

Tier = Literal["fast", "think", "overnight"]
Scope = Literal["inference", "admin"]
Outcome = Literal["finished", "client_gone", "failed", "timeout", "stopped", "recovered"]
"""How a hold ended. `recovered` is a hold found open at start and settled from what was durably counted."""

ACTOR = "aigrid"
"""Who acts where nobody else is named."""

GroupBy = Literal["tenant", "key", "model", "site", "tier"]


class Limits(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a tenant or key may use; None is no limit. Days and months are UTC calendar ones."""

    total_nusd: int | None = None
    day_nusd: int | None = None
    month_nusd: int | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrency: int | None = None


class Tenant(msgspec.Struct, frozen=True):
    """Who pays. Limits of a tenant hold for all its keys together."""

    name: str
    limits: Limits = Limits()
    created_ns: int = 0


class Key(msgspec.Struct, frozen=True):
    """What a client shows. Only a SHA-256 of the secret is kept; `hint` is its last four characters."""

    id: str
    tenant: str
    name: str = ""
    scope: Scope = "inference"
    hint: str = ""
    limits: Limits = Limits()
    created_ns: int = 0
    revoked_ns: int | None = None


class Order(msgspec.Struct, frozen=True, gc=False):
    """What admission asks the ledger to hold: the most that one request can use.

    `completion_bound` counts all choices together. With `flexible` the ledger may grant fewer completion tokens
    (at least `n`, a multiple of `n`) where the budget does not allow all of them: the client set no limit itself.
    A request that only makes others holds `purse_nusd` for them in place of what its own tokens could cost, or what
    the budget has of it.
    """

    request_id: str
    key: Key
    model: str
    site: str
    tier: Tier
    prompt_bound: int
    completion_bound: int
    n: int = 1
    flexible: bool = False
    purse_nusd: int | None = None


class Hold(Protocol):
    """An open reservation. Counts only grow; each change is durable against `kill -9` before `count` returns."""

    id: str
    order: Order
    amount_nusd: int
    completion_bound: int
    created_ns: int
    prompt_tokens: int
    completion_tokens: int
    reasoning_tokens: int
    cached_tokens: int
    energy_mj: int
    settled: bool

    def count(self, completion: int = 0, reasoning: int = 0) -> None:
        """Add generated tokens (reasoning is part of completion)."""

    def mark_first_token(self) -> None:
        """Note that the first token is here, for answers that are counted only when they are whole."""

    def count_prompt(self, prompt: int, cached: int = 0) -> None:
        """Set the prompt's tokens (cached is part of prompt)."""


class Settlement(msgspec.Struct, frozen=True, gc=False):
    """What one request came to. `energy_mj` is what was attributed until now; the ledger's row may gain a little."""

    hold_id: str
    prompt_tokens: int
    completion_tokens: int
    reasoning_tokens: int
    cached_tokens: int
    revenue_nusd: int
    energy_mj: int
    energy_source: str


class Record(msgspec.Struct, frozen=True):
    """One settled request, as it stands in the ledger for good."""

    id: str
    parent: str | None
    tenant: str
    key_id: str
    model: str
    site: str
    tier: Tier
    outcome: Outcome
    usage_source: str
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    reasoning_tokens: int
    held_nusd: int
    revenue_nusd: int
    upstream_nusd: int
    energy_mj: int
    energy_nusd: int
    hardware_nusd: int
    energy_source: str
    first_token_ns: int
    duration_ns: int
    created_ns: int
    settled_ns: int
    note: str = ""


class Sum(msgspec.Struct):
    """Totals over records. Cost and margin are derived; times over `window_ns` give rates."""

    name: str = ""
    requests: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    revenue_nusd: int = 0
    upstream_nusd: int = 0
    energy_nusd: int = 0
    hardware_nusd: int = 0
    energy_mj: int = 0

    @property
    def tokens(self) -> int:
        """Prompt and completion tokens."""
        return self.prompt_tokens + self.completion_tokens

    @property
    def cost_nusd(self) -> int:
        """What it cost us: upstream, energy and hardware."""
        return self.upstream_nusd + self.energy_nusd + self.hardware_nusd

    @property
    def margin_nusd(self) -> int:
        """Revenue less cost."""
        return self.revenue_nusd - self.cost_nusd


class Idle(msgspec.Struct, frozen=True):
    """Energy and hardware time that no request used."""

    energy_mj: int = 0
    energy_nusd: int = 0
    hardware_nusd: int = 0


class Report(msgspec.Struct):
    """Totals, groups, and what idling cost, between two times."""

    since_ns: int
    until_ns: int
    totals: Sum
    groups: dict[GroupBy, list[Sum]]
    idle: Idle
    energy_source: str
    open_holds: int
    held_nusd: int


class Bucket(msgspec.Struct, frozen=True):
    """Sums of one time bucket, for plots."""

    start_ns: int
    requests: int
    prompt_tokens: int
    completion_tokens: int
    revenue_nusd: int
    cost_nusd: int
    energy_mj: int


class Filter(msgspec.Struct, frozen=True):
    """Which records to list: newest first, `before` (a record id) pages backwards."""

    since_ns: int = 0
    until_ns: int | None = None
    tenant: str | None = None
    key_id: str | None = None
    model: str | None = None
    site: str | None = None
    tier: str | None = None
    outcome: str | None = None
    before: str | None = None
    limit: int = 100


class AuditEntry(msgspec.Struct, frozen=True):
    """One administrative act: who did what, when, from where."""

    id: str
    at_ns: int
    actor: str
    act: str
    detail: str
    address: str = ""


class Ledger(Protocol):
    """The record. One process *owns* it for holding and settling; any process may read and administer it."""

    async def open(self) -> list[Record]:
        """Take ownership, settle holds found open, and return those records."""

    async def close(self) -> None:
        """Settle nothing, lose nothing: commit what is queued and let go."""

    def authenticate(self, secret: str) -> Key | None:
        """Return the live key for a secret from memory, at once; None for "not known here (yet)"."""

    async def lookup(self, secret: str) -> Key | None:
        """Like `authenticate`, but asks the database on a miss (a key made a moment ago elsewhere)."""

    async def hold(self, order: Order, parent: Hold | None = None) -> Hold:
        """Reserve; raises `BudgetExceeded` or `RateLimited`, and then nothing is held or charged.

        A child draws on its parent's hold, never on the account again, and its rest returns to the parent.
        """

    def settle(
        self, hold: Hold, outcome: Outcome, *, site: str = "", usage_source: str = "counted", note: str = ""
    ) -> Settlement:
        """Settle a hold from its counts; a second call changes nothing and returns the first result."""

    async def create_key(
        self, tenant: str, *, name: str = "", scope: Scope = "inference", limits: Limits = Limits(),
        actor: str = ACTOR, address: str = "",
    ) -> tuple[Key, str]:  # fmt: skip
        """Make a key (and its tenant if new); the secret is returned this once.

        `actor` and `address` say who asked and from where: every change of keys and tenants is in the audit log.
        """

    async def keys(self, include_revoked: bool = False) -> list[Key]:
        """Return all keys, oldest first."""

    async def revoke_key(self, key_id: str, *, actor: str = ACTOR, address: str = "") -> Key:
        """Revoke a key; open holds of it still settle. Raises `NotFound`."""

    async def set_tenant(self, name: str, limits: Limits, *, actor: str = ACTOR, address: str = "") -> Tenant:
        """Make a tenant or change its limits."""

    async def tenants(self) -> list[Tenant]:
        """Return all tenants by name."""

    async def report(self, since_ns: int, until_ns: int | None = None) -> Report:
        """Sum records settled in [since, until)."""

    async def series(self, since_ns: int, until_ns: int, bucket_ns: int) -> list[Bucket]:
        """Return sums by time bucket, oldest first, empty buckets included."""

    async def records(self, where: Filter = Filter()) -> list[Record]:
        """List records, newest first."""

    def export(self, where: Filter = Filter()) -> AsyncIterator[Sequence[Record]]:
        """Iterate over all matching records in pages, for CSV."""

    async def record(self, hold_id: str) -> Record | None:
        """Return one record by its id, once it is committed."""

    async def audit(self, actor: str, act: str, detail: str = "", address: str = "") -> None:
        """Append one administrative act that changes nothing in the ledger itself."""

    async def audit_log(self, limit: int = 100) -> list[AuditEntry]:
        """Return the newest acts first."""

    async def check(self) -> list[str]:
        """Derive every balance again from the records and return each disagreement as a sentence; empty is good."""

    async def read(self, ask: Callable[[Run], T]) -> T:
        """Ask for what other parts keep in the ledger's database (`shelf`); raises `LedgerUnavailable`."""

    async def write(self, do: Callable[[Run], T]) -> T:
        """Change what other parts keep there, in one durable transaction; raises `LedgerUnavailable`."""

    def key(self, key_id: str) -> Key | None:
        """Return a live key by its id, from memory."""

    def forecast(self, hold: Hold, prompt: int, cached: int, completion: int, reasoning: int) -> Settlement:
        """Return what settling a hold would come to if these were its counts; changes nothing."""

    def health(self) -> dict[str, Any]:
        """Return what `/health/ready` shows: database reachable, records waiting for commit, last error.

        `refuses_holds` says that no request can be admitted now, whoever sends it.
        """
