"""The desk where people answer: approvals, each bound to the digest of the exact arguments it was asked for.

One SQLite file for all runs, so that a console or a command can list what waits; each decision that was acted on is
in the run's journal as well. Deciding twice acts once; what expired or was asked about other arguments is never acted on.
"""

import sqlite3
from pathlib import Path
from typing import Any, Literal, TypeAlias

import msgspec

from aigrid.agents.digest import canonical, digest
from aigrid.core.clock import SECOND, iso, now_ns
from aigrid.core.config import home
from aigrid.core.errors import BadRequest, Conflict, NotFound

State: TypeAlias = Literal["waiting", "approved", "denied", "expired", "stale"]
Why: TypeAlias = Literal["approve", "unknown"]
"""Why a person is asked: the file says so, or nobody knows whether the call was made before a crash."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS approvals (
  id TEXT PRIMARY KEY, run TEXT NOT NULL, call TEXT NOT NULL, agent TEXT NOT NULL, tenant TEXT NOT NULL,
  tool TEXT NOT NULL, why TEXT NOT NULL, arguments BLOB NOT NULL, digest TEXT NOT NULL, asked_ns INTEGER NOT NULL,
  expires_ns INTEGER NOT NULL, state TEXT NOT NULL DEFAULT 'waiting', approver TEXT NOT NULL DEFAULT '',
  reason TEXT NOT NULL DEFAULT '', decided_ns INTEGER NOT NULL DEFAULT 0
) STRICT
"""
_COLUMNS = (
    "id, run, call, agent, tenant, tool, why, arguments, digest, asked_ns, expires_ns, state, approver, reason, "
    "decided_ns"
)


class Approval(msgspec.Struct, frozen=True):
    """A call that waits for a person, or was decided. Times are nanoseconds since the epoch."""

    id: str
    run: str
    call: str
    agent: str
    tenant: str
    tool: str
    why: Why
    arguments: Any
    digest: str
    asked_ns: int
    expires_ns: int
    state: State
    approver: str = ""
    reason: str = ""
    decided_ns: int = 0


def binding(tool: str, arguments: Any) -> str:
    """Return the digest that an approval is bound to: of the tool and its exact arguments."""
    return digest({"tool": tool, "arguments": arguments})


class Desk:
    """The approvals of one factory. Each call is a transaction of its own; any number of processes may use it."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or home() / "approvals.db"
        self._database = sqlite3.connect(self.path, isolation_level=None, timeout=10.0, check_same_thread=False)
        self.path.chmod(0o600)
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = FULL")
        self._database.execute(_SCHEMA)

    def ask(
        self, *, run: str, call: str, agent: str, tenant: str, tool: str, why: Why, arguments: Any, expires_s: float
    ) -> Approval:
        """Ask a person about a call, once: asked again about the same, the answer there is comes back.

        Asked about other arguments than before, what was answered is stale and the question is a new one.
        """
        bound, now = binding(tool, arguments), now_ns()
        found = self._rows("run = ? AND call = ? AND why = ? AND digest = ?", (run, call, why, bound))
        if found:
            return found[-1]
        number = self._database.execute("SELECT count(*) FROM approvals WHERE run = ?", (run,)).fetchone()[0]
        values = (f"{run}-{number + 1}", run, call, agent, tenant, tool, why, canonical(arguments), bound, now)
        self._database.execute("BEGIN IMMEDIATE")
        try:
            self._database.execute(
                "UPDATE approvals SET state = 'stale' WHERE run = ? AND call = ? AND why = ? "
                "AND state IN ('waiting', 'approved')",
                (run, call, why),
            )
            names = "id, run, call, agent, tenant, tool, why, arguments, digest, asked_ns, expires_ns"
            self._database.execute(
                f"INSERT INTO approvals ({names}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (*values, now + int(expires_s * SECOND)),
            )
            self._database.execute("COMMIT")
        except BaseException:
            self._database.execute("ROLLBACK")
            raise
        return self.get(values[0])

    def get(self, id_: str) -> Approval:
        """Return an approval; raises `NotFound`."""
        found = self._rows("id = ?", (id_,))
        if not found:
            raise NotFound(f"there is no approval `{id_[:80]}`; `aigrid agents approvals` lists them", param="id")
        return found[0]

    def all(self, state: State | None = None, limit: int = 200) -> list[Approval]:
        """Return approvals, newest first."""
        found = self._rows("1", ())
        return [each for each in reversed(found) if state in (None, each.state)][:limit]

    def decide(self, id_: str, approve: bool, *, approver: str, reason: str = "", bound: str | None = None) -> Approval:
        """Approve or deny; the same answer twice is one answer.

        With `bound`, the digest that the approver was shown, an approval of anything else is refused. Raises
        `Conflict` where it was decided otherwise, has expired or is stale, `BadRequest` for another digest.
        """
        one, wanted = self.get(id_), "approved" if approve else "denied"
        if bound is not None and bound != one.digest:
            raise BadRequest(
                f"approval {id_} is for arguments with the digest {one.digest}, not {bound[:80]}; look at it again",
                param="digest",
            )
        cursor = self._database.execute(
            "UPDATE approvals SET state = ?, approver = ?, reason = ?, decided_ns = ? "
            "WHERE id = ? AND digest = ? AND state = 'waiting' AND expires_ns > ?",
            (wanted, approver, reason, now_ns(), id_, one.digest, now_ns()),
        )
        after = self.get(id_)
        if cursor.rowcount == 0 and after.state != wanted:
            when = f" ({iso(after.expires_ns)})" if after.state == "expired" else ""
            raise Conflict(f"approval {id_} is {after.state}{when} and cannot be {wanted}", param="id")
        return after

    def withdraw(self, run: str) -> None:
        """Ask no more about a run that goes no further: what waits, or was approved and not acted on, is stale."""
        self._database.execute(
            "UPDATE approvals SET state = 'stale' WHERE run = ? AND state IN ('waiting', 'approved')", (run,)
        )

    def _rows(self, where: str, values: tuple[Any, ...]) -> list[Approval]:
        now, found = now_ns(), []
        for row in self._database.execute(f"SELECT {_COLUMNS} FROM approvals WHERE {where} ORDER BY rowid", values):
            fields = dict(zip(_COLUMNS.split(", "), row, strict=True))
            if fields["state"] in ("waiting", "approved") and now >= fields["expires_ns"]:
                fields["state"] = "expired"
            found.append(Approval(**{**fields, "arguments": msgspec.json.decode(fields["arguments"])}))
        return found

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()
