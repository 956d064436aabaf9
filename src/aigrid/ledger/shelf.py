"""Files and batches in the ledger's database: their tables and every statement on them, for all backends.

A file is kept in parts. A batch has one row per request; that row gets its answer in one transaction, together with
the tokens that it took, so that a crash can neither lose an answer nor have it made and charged twice: a hold found
open is settled by what stands here (`counted`).
"""

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import msgspec
from msgspec import Struct

from aigrid.ledger.base import Run

PART_BYTES = 1 << 20
"""Files are written and read in parts of this size, so that none has to fit into memory."""

Status = Literal[
    "validating", "failed", "in_progress", "finalizing", "completed", "expired", "cancelling", "cancelled"
]  # fmt: skip
AT_WORK: tuple[Status, ...] = ("validating", "in_progress", "finalizing", "cancelling")
WAITING, DONE, FAILED = 0, 1, 2
"""The states of a batch's request."""


class File(Struct, frozen=True):
    """A stored file. `ready` is 0 while it is written; `expires_ns` is 0 for one that is kept."""

    id: str
    tenant: str
    purpose: str
    filename: str
    bytes: int
    created_ns: int
    expires_ns: int = 0
    ready: int = 1


class Problem(Struct, frozen=True):
    """Why an input file was refused: one line of it, or (`line` is None) the whole."""

    code: str
    message: str
    param: str | None = None
    line: int | None = None


class Plan(Struct):
    """What a batch was asked to do and what became of it, beside what is counted in columns of its own.

    `times` has when each status was reached, in nanoseconds. `tokens_bound` is the most completion tokens that its
    requests can take, `bound_nusd` the most that they can cost.
    """

    endpoint: str
    input_file: str
    window: str
    metadata: dict[str, str] | None = None
    times: dict[str, int] = {}
    model: str = ""
    output_file: str = ""
    error_file: str = ""
    output_expires_s: int = 0
    errors: list[Problem] = []
    tokens_bound: int = 0
    bound_nusd: int = 0


class Batch(Struct):
    """One batch. `runner` is the gateway that works on it, until `lease_ns`."""

    id: str
    tenant: str
    key_id: str
    status: Status
    created_ns: int
    deadline_ns: int
    runner: str
    lease_ns: int
    total: int
    completed: int
    failed: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    reasoning_tokens: int
    cost_nusd: int
    plan: Plan

    @property
    def waiting(self) -> int:
        """Requests without an answer."""
        return self.total - self.completed - self.failed


class Line(Struct, frozen=True):
    """A request of a batch that waits."""

    line: int
    custom_id: str
    body: bytes


class Result(Struct, frozen=True):
    """The answer to a request of a batch: a line of the output file (`DONE`) or of the error file (`FAILED`)."""

    batch: str
    line: int
    state: int
    answer: bytes
    hold: str = ""
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    cost_nusd: int = 0


_FILE = ", ".join(File.__struct_fields__)
_BATCH = ", ".join(Batch.__struct_fields__)
_TOKENS = ("prompt_tokens", "cached_tokens", "completion_tokens", "reasoning_tokens")
_SUMS = (*_TOKENS, "cost_nusd")


def tables(blob: str) -> list[str]:
    """Return the statements that make the tables; `blob` is the backend's type of bytes."""
    counts = "".join(f"{name} BIGINT NOT NULL DEFAULT 0, " for name in _SUMS)
    return [
        "CREATE TABLE files (id TEXT PRIMARY KEY, tenant TEXT NOT NULL, purpose TEXT NOT NULL, filename TEXT NOT NULL, "
        "bytes BIGINT NOT NULL, created_ns BIGINT NOT NULL, expires_ns BIGINT NOT NULL, ready BIGINT NOT NULL)",
        "CREATE INDEX files_by_tenant ON files (tenant, id)",
        f"CREATE TABLE file_parts (file TEXT NOT NULL, part BIGINT NOT NULL, data {blob} NOT NULL, "
        "PRIMARY KEY (file, part))",
        "CREATE TABLE batches (id TEXT PRIMARY KEY, tenant TEXT NOT NULL, key_id TEXT NOT NULL, status TEXT NOT NULL, "
        "created_ns BIGINT NOT NULL, deadline_ns BIGINT NOT NULL, runner TEXT NOT NULL, lease_ns BIGINT NOT NULL, "
        f"total BIGINT NOT NULL, completed BIGINT NOT NULL, failed BIGINT NOT NULL, {counts} plan TEXT NOT NULL)",
        "CREATE INDEX batches_by_tenant ON batches (tenant, id)",
        "CREATE INDEX batches_by_status ON batches (status)",
        "CREATE TABLE batch_lines (batch TEXT NOT NULL, line BIGINT NOT NULL, custom_id TEXT NOT NULL, "
        f"body {blob} NOT NULL, state BIGINT NOT NULL, answer {blob} NOT NULL, hold TEXT NOT NULL, {counts}"
        "PRIMARY KEY (batch, line))",
        "CREATE INDEX batch_lines_by_hold ON batch_lines (hold) WHERE hold <> ''",
    ]


# Files


def put_file(run: Run, file: File) -> None:
    """Begin a file."""
    places = ", ".join("?" * len(File.__struct_fields__))
    run(f"INSERT INTO files ({_FILE}) VALUES ({places})", msgspec.structs.astuple(file))


def put_part(run: Run, file: str, part: int, data: bytes) -> None:
    """Add a part to a file."""
    run("INSERT INTO file_parts (file, part, data) VALUES (?, ?, ?)", (file, part, data))


def finish_file(run: Run, file: File) -> None:
    """Let a file be seen, with what is known of it at its end."""
    run(
        "UPDATE files SET purpose = ?, filename = ?, bytes = ?, expires_ns = ?, ready = 1 WHERE id = ?",
        (file.purpose, file.filename, file.bytes, file.expires_ns, file.id),
    )


def file(run: Run, tenant: str, id_: str, now: int) -> File | None:
    """Return a tenant's file, None where there is no such one (any more)."""
    rows = run(
        f"SELECT {_FILE} FROM files WHERE id = ? AND tenant = ? AND ready = 1 AND (expires_ns = 0 OR expires_ns > ?)",
        (id_, tenant, now),
    )
    return File(*rows[0]) if rows else None


def files(
    run: Run, tenant: str, now: int, *, purpose: str | None, after: str | None, newest: bool, limit: int
) -> list[File]:
    """Return a tenant's files in the order of their making, from the one `after`."""
    where, params = "", list[Any]([tenant, now])
    if purpose is not None:
        where, params = f"{where} AND purpose = ?", [*params, purpose]
    if after is not None:
        where, params = f"{where} AND id {'<' if newest else '>'} ?", [*params, after]
    rows = run(
        f"SELECT {_FILE} FROM files WHERE tenant = ? AND ready = 1 AND (expires_ns = 0 OR expires_ns > ?){where} "
        f"ORDER BY id {'DESC' if newest else 'ASC'} LIMIT ?",
        (*params, limit),
    )
    return [File(*row) for row in rows]


def part(run: Run, file: str, number: int) -> bytes | None:
    """Return a part of a file; None after the last."""
    rows = run("SELECT data FROM file_parts WHERE file = ? AND part = ?", (file, number))
    return bytes(rows[0][0]) if rows else None


def erase_file(run: Run, id_: str) -> None:
    """Erase a file and all its parts."""
    run("DELETE FROM file_parts WHERE file = ?", (id_,))
    run("DELETE FROM files WHERE id = ?", (id_,))


def stale_files(run: Run, now: int, unfinished_before: int) -> list[str]:
    """Return files that have expired, or whose upload was given up."""
    rows = run(
        "SELECT id FROM files WHERE (expires_ns > 0 AND expires_ns <= ?) OR (ready = 0 AND created_ns < ?) LIMIT 100",
        (now, unfinished_before),
    )
    return [row[0] for row in rows]


# Batches


def put_batch(run: Run, batch: Batch) -> None:
    """Add a batch."""
    places = ", ".join("?" * len(Batch.__struct_fields__))
    run(f"INSERT INTO batches ({_BATCH}) VALUES ({places})", (*msgspec.structs.astuple(batch)[:-1], _json(batch.plan)))


def batch(run: Run, id_: str, tenant: str | None = None) -> Batch | None:
    """Return a batch, of that tenant where one is given."""
    where, params = ("", [id_]) if tenant is None else (" AND tenant = ?", [id_, tenant])
    rows = run(f"SELECT {_BATCH} FROM batches WHERE id = ?{where}", params)
    return _batch(rows[0]) if rows else None


def batches(run: Run, tenant: str | None, *, after: str | None, limit: int) -> list[Batch]:
    """Return batches, newest first, from the one `after`; of all tenants where none is given."""
    where, params = ["1 = 1"], list[Any]()
    if tenant is not None:
        where, params = [*where, "tenant = ?"], [*params, tenant]
    if after is not None:
        where, params = [*where, "id < ?"], [*params, after]
    rows = run(f"SELECT {_BATCH} FROM batches WHERE {' AND '.join(where)} ORDER BY id DESC LIMIT ?", (*params, limit))
    return [_batch(row) for row in rows]


def claim(run: Run, runner: str, now: int, lease_ns: int) -> list[Batch]:
    """Take the batches that nobody works on, keep those that this runner has, and return all of them."""
    marks = ", ".join("?" * len(AT_WORK))
    rows = run(
        f"UPDATE batches SET runner = ?, lease_ns = ? WHERE status IN ({marks}) "
        f"AND (runner = ? OR runner = '' OR lease_ns < ?) RETURNING {_BATCH}",
        (runner, now + lease_ns, *AT_WORK, runner, now),
    )
    return sorted((_batch(row) for row in rows), key=lambda found: found.id)


def advance(run: Run, batch: Batch, runner: str) -> bool:
    """Write down a batch's new status and plan; False where another runner has it, or it is to be cancelled."""
    rows = run(
        "UPDATE batches SET status = ?, plan = ?, total = ? WHERE id = ? AND runner = ? "
        "AND (status <> 'cancelling' OR ? IN ('cancelling', 'cancelled')) RETURNING id",
        (batch.status, _json(batch.plan), batch.total, batch.id, runner, batch.status),
    )
    return bool(rows)


def cancel(run: Run, id_: str, tenant: str, now: int) -> Batch | None:
    """Ask that a batch be cancelled, if there is still something to cancel; return it as it is then."""
    found = batch(run, id_, tenant)
    if found is not None and found.status in ("validating", "in_progress"):
        found.status = "cancelling"
        found.plan.times["cancelling"] = now
        run("UPDATE batches SET status = ?, plan = ? WHERE id = ?", (found.status, _json(found.plan), id_))
    return found


def put_lines(run: Run, batch: str, lines: Iterable[Line]) -> None:
    """Add requests to a batch; those that are there already stay as they are."""
    for line in lines:
        run(
            "INSERT INTO batch_lines (batch, line, custom_id, body, state, answer, hold) "
            "VALUES (?, ?, ?, ?, 0, ?, '') ON CONFLICT DO NOTHING",
            (batch, line.line, line.custom_id, line.body, b""),
        )


def waiting(run: Run, batch: str, after: int, limit: int) -> list[Line]:
    """Return requests that have no answer, in the order of the file."""
    rows = run(
        "SELECT line, custom_id, body FROM batch_lines WHERE batch = ? AND line > ? AND state = 0 "
        "ORDER BY line LIMIT ?",
        (batch, after, limit),
    )
    return [Line(row[0], row[1], bytes(row[2])) for row in rows]


def keep(run: Run, results: Sequence[Result], runner: str) -> list[bool]:
    """Write answers and add them up in their batches; False for those whose request has one or is not ours."""
    kept = []
    sums = ", ".join(f"{name} = {name} + ?" for name in _SUMS)
    values = ", ".join(f"{name} = ?" for name in _SUMS)
    for one in results:
        counts = [getattr(one, name) for name in _SUMS]
        rows = run(
            f"UPDATE batch_lines SET state = ?, answer = ?, body = ?, hold = ?, {values} WHERE batch = ? AND line = ? "
            "AND state = 0 AND EXISTS (SELECT 1 FROM batches WHERE id = ? AND runner = ?) RETURNING line",
            (one.state, one.answer, b"", one.hold, *counts, one.batch, one.line, one.batch, runner),
        )
        if rows:
            name = "completed" if one.state == DONE else "failed"
            run(f"UPDATE batches SET {name} = {name} + 1, {sums} WHERE id = ?", (*counts, one.batch))
        kept.append(bool(rows))
    return kept


def answers(run: Run, batch: str, state: int, after: int, limit: int) -> list[tuple[int, bytes]]:
    """Return (line, answer) of requests in a state, in the order of the file."""
    rows = run(
        "SELECT line, answer FROM batch_lines WHERE batch = ? AND state = ? AND line > ? ORDER BY line LIMIT ?",
        (batch, state, after, limit),
    )
    return [(row[0], bytes(row[1])) for row in rows]


def expire_lines(run: Run, batch: str, answers: Sequence[tuple[int, bytes]]) -> None:
    """Let requests that nobody made fail, each with its line of the error file."""
    for line, answer in answers:
        rows = run(
            "UPDATE batch_lines SET state = ?, answer = ?, body = ? WHERE batch = ? AND line = ? AND state = 0 "
            "RETURNING line",
            (FAILED, answer, b"", batch, line),
        )
        if rows:
            run("UPDATE batches SET failed = failed + 1 WHERE id = ?", (batch,))


def erase_lines(run: Run, batch: str) -> None:
    """Forget the requests of a batch whose files are written."""
    run("DELETE FROM batch_lines WHERE batch = ?", (batch,))


def counted(run: Run, holds: Sequence[str]) -> dict[str, tuple[int, int, int, int]]:
    """Return (prompt, cached, completion, reasoning tokens) of the answers made under these holds."""
    found: dict[str, tuple[int, int, int, int]] = {}
    for hold in holds:
        for row in run(f"SELECT {', '.join(_TOKENS)} FROM batch_lines WHERE hold = ?", (hold,)):
            found[hold] = (row[0], row[1], row[2], row[3])
    return found


def _batch(row: Sequence[Any]) -> Batch:
    values = dict(zip(Batch.__struct_fields__, row, strict=True))
    return Batch(**{**values, "plan": msgspec.json.decode(values["plan"], type=Plan)})


def _json(plan: Plan) -> str:
    return msgspec.json.encode(plan).decode()
