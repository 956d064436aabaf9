"""Reading what administrators send: query parameters and JSON bodies, with errors that name the field."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Annotated, TypeVar, get_args

import msgspec
from msgspec import Meta

from aigrid.core.clock import DAY, SECOND, now_ns
from aigrid.core.errors import BadRequest
from aigrid.gateway.http import Request
from aigrid.ledger.base import Filter, Limits, Outcome, Scope, Tier

MAX_BODY = 64 * 1024
MAX_NS = 2**63 - 1

_Count = Annotated[int, Meta(ge=0, le=2**53 - 1)]
Name = Annotated[
    str, Meta(min_length=1, max_length=64, pattern=r"^[^\s/\x00-\x1f\x7f]([^/\x00-\x1f\x7f]*[^\s/\x00-\x1f\x7f])?$")
]
"""A tenant's name: 1 to 64 characters, no slash or control character, no space at either end."""


class LimitsBody(msgspec.Struct, forbid_unknown_fields=True):
    """Limits as they are sent; null or absent is no limit."""

    total_nusd: _Count | None = None
    day_nusd: _Count | None = None
    month_nusd: _Count | None = None
    requests_per_minute: _Count | None = None
    tokens_per_minute: _Count | None = None
    concurrency: _Count | None = None

    def limits(self) -> Limits:
        """Return them as the ledger's `Limits`."""
        return Limits(**msgspec.structs.asdict(self))


class KeyBody(msgspec.Struct, forbid_unknown_fields=True):
    """A key to make."""

    tenant: Name
    name: Annotated[str, Meta(max_length=64, pattern=r"^[^\x00-\x1f\x7f]*$")] = ""
    scope: Scope = "inference"
    limits: LimitsBody = msgspec.field(default_factory=LimitsBody)


class TenantBody(msgspec.Struct, forbid_unknown_fields=True):
    """What can be changed about a tenant."""

    limits: LimitsBody = msgspec.field(default_factory=LimitsBody)


T = TypeVar("T")


async def read_body(request: Request, kind: type[T]) -> T:
    """Return the JSON body as `kind`; raises `BadRequest` that names the field, `TooLarge` beyond 64 KiB."""
    if request.header(b"content-type").partition(";")[0].strip().lower() != "application/json":
        raise BadRequest("send the body as `content-type: application/json`", param="content-type")
    data = await request.json(MAX_BODY)
    try:
        return msgspec.convert(data, kind)
    except msgspec.ValidationError as error:
        text, _, where = str(error).partition(" - at `$")
        param = where.strip("`.") or (text.split("`")[1] if "`" in text else None)
        raise BadRequest(f"{param}: {text}" if where else text, param=param) from None


def read_name(text: str, param: str) -> str:
    """Return a name from a path; raises `BadRequest` for one that cannot be a name."""
    try:
        return msgspec.convert(text, Name)
    except msgspec.ValidationError:
        raise BadRequest(
            f"{param} must have 1 to 64 characters, without slashes, control characters or outer spaces", param=param
        ) from None


class Query:
    """The query parameters of one request; anything not in `known` is refused."""

    def __init__(self, request: Request, known: Iterable[str]) -> None:
        self.values: Mapping[str, str] = request.query
        known = list(known)
        for name in self.values:
            if name not in known:
                raise BadRequest(f"unknown parameter `{name}`; known here: {', '.join(known) or 'none'}", param=name)

    def text(self, name: str) -> str | None:
        """Return a parameter, None when absent or empty; raises `BadRequest` beyond 200 characters."""
        value = self.values.get(name, "")
        if len(value) > 200 or "\x00" in value:
            raise BadRequest(f"{name} is longer than 200 characters or holds a null character", param=name)
        return value or None

    def choice(self, name: str, options: Iterable[str]) -> str | None:
        """Return a parameter that must be one of `options`, None when absent."""
        value = self.values.get(name)
        if value is not None and value not in (options := list(options)):
            raise BadRequest(f"{name} must be one of {', '.join(options)}, not `{value[:40]}`", param=name)
        return value

    def number(self, name: str, default: int, low: int, high: int) -> int:
        """Return a whole number between `low` and `high`, `default` when absent."""
        value = self.values.get(name)
        if value is None:
            return default
        if not (value.isascii() and value.isdigit() and len(value) <= 20) or not low <= int(value) <= high:
            raise BadRequest(f"{name} must be a whole number from {low} to {high}, not `{value[:40]}`", param=name)
        return int(value)

    def flag(self, name: str) -> bool:
        """Return a parameter that is `true` or `false` (the default)."""
        return self.choice(name, ("true", "false")) == "true"

    def time(self, name: str, default: int | None) -> int | None:
        """Return nanoseconds since the epoch, from an integer of them or an ISO 8601 date or time (UTC by default)."""
        value = self.text(name)
        if value is None:
            return default
        if value.isascii() and value.isdigit() and len(value) <= 19 and int(value) <= MAX_NS:
            return int(value)
        try:
            moment = datetime.fromisoformat(value)
            moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
            ns = int(moment.timestamp()) * SECOND + moment.microsecond * 1000
        except (ValueError, OverflowError):
            ns = -1
        if not 0 <= ns <= MAX_NS:
            raise BadRequest(
                f"{name} must be nanoseconds since 1970 or an ISO 8601 time, not `{value[:40]}`", param=name
            )
        return ns

    def window(self) -> tuple[int, int]:
        """Return `since` and `until` in nanoseconds; the last 24 hours unless they say otherwise."""
        until = self.time("until", None)
        end = now_ns() if until is None else until
        since = self.time("since", None)
        start = max(0, end - DAY) if since is None else since
        if start >= end:
            raise BadRequest("since must be earlier than until", param="since")
        return start, end

    def filter(self, max_limit: int = 1000) -> Filter:
        """Return the records that the parameters ask for."""
        return Filter(
            since_ns=self.time("since", 0) or 0,
            until_ns=self.time("until", None),
            tenant=self.text("tenant"),
            key_id=self.text("key_id"),
            model=self.text("model"),
            site=self.text("site"),
            tier=self.choice("tier", get_args(Tier)),
            outcome=self.choice("outcome", get_args(Outcome)),
            before=self.text("before"),
            limit=self.number("limit", 100, 1, max_limit),
        )


FILTERS = (
    "since",
    "until",
    "tenant",
    "key_id",
    "model",
    "site",
    "tier",
    "outcome",
)
