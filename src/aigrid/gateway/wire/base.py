"""What a wire format is: a parser and an encoder.

A format turns the client's JSON object into a `GenerateRequest` and what the engine makes into the client's bytes.
It neither admits, nor counts, nor settles: `gateway/generate.py` does that once for all formats.
"""

from typing import Annotated, Any, Literal, Protocol, TypeVar

import msgspec
from msgspec import Meta

from aigrid.core.clock import SECOND
from aigrid.core.errors import AigridError, BadRequest
from aigrid.engines.base import Chunk, GenerateRequest, Usage
from aigrid.ledger.base import Settlement, Tier
from aigrid.ledger.prices import nusd
from aigrid.thinking.budget import Caps
from aigrid.thinking.policy import Routed

T = TypeVar("T")


StrategyName = Literal[
    "plain", "adaptive", "self_consistency", "best_of_n", "weighted_vote", "refine", "beam_search", "debate"
]
ScorerName = Literal["likelihood", "critic", "reward", "schema", "regex", "program"]


class ThinkingBody(msgspec.Struct, forbid_unknown_fields=True):
    """Our addition to requests, `aigrid`: how to think, what it may use, and whether to show how the answer came about.

    The caps are for all candidates together: `max_cost_usd` in dollars, `max_tokens` prompt and completion tokens,
    `max_joules` of energy, `max_seconds` of wall time.
    """

    trace: bool = False
    strategy: StrategyName | None = None
    n: Annotated[int, Meta(ge=1, le=64)] | None = None
    scorer: ScorerName | None = None
    rounds: Annotated[int, Meta(ge=1, le=8)] | None = None
    max_cost_usd: Annotated[float, Meta(gt=0, le=1e6)] | None = None
    max_tokens: Annotated[int, Meta(ge=1)] | None = None
    max_joules: Annotated[float, Meta(gt=0, le=1e9)] | None = None
    max_seconds: Annotated[float, Meta(gt=0, le=1e6)] | None = None

    @property
    def max_nusd(self) -> int | None:
        """The cap on money, in nano-dollars."""
        return None if self.max_cost_usd is None else nusd(f"{self.max_cost_usd:.9f}", "aigrid.max_cost_usd")

    @property
    def caps(self) -> Caps | None:
        """What all candidates together may use; None where nothing is said of it."""
        millijoules = None if self.max_joules is None else int(self.max_joules * 1000)
        nanoseconds = None if self.max_seconds is None else int(self.max_seconds * SECOND)
        caps = Caps(self.max_tokens, self.max_nusd, millijoules, nanoseconds)
        return caps if caps != Caps() else None


class Parsed(msgspec.Struct):
    """A request understood: `generate.max_tokens` is 0 when the client set no limit. `routed` says who chose its model."""

    generate: GenerateRequest
    tier: Tier = "fast"
    thinking: ThinkingBody | None = None
    routed: Routed | None = None

    @property
    def note(self) -> str:
        """What stands of it in the ledger's record, beside its numbers."""
        return str(self.routed)[:300] if self.routed is not None else ""


class Told(Settlement, frozen=True):
    """What a client is told of a request: the sum of those that it made, how they led to the answer, who was chosen.

    `thinking` is there where the client asked for it, `routed` where a router chose the model.
    """

    thinking: dict[str, Any] | None = None
    routed: Routed | None = None


def told_of(parsed: Parsed, settlement: Settlement) -> Settlement:
    """Return what the client of a request is told: with how a router chose its model, where one did."""
    if parsed.routed is None:
        return settlement
    known = settlement if isinstance(settlement, Told) else Told(**msgspec.structs.asdict(settlement))
    return msgspec.structs.replace(known, routed=parsed.routed)


class Encoder(Protocol):
    """Writes one answer. Streaming: `start`, `chunk`…, `finish` (or `error`). Otherwise: `add`…, `whole`."""

    content_type: bytes

    def start(self, usage: Usage) -> bytes:
        """Return the bytes before the first chunk (may be empty); `usage` is what is known of the prompt by now."""

    def chunk(self, chunk: Chunk) -> bytes:
        """Return the bytes of one chunk (may be empty)."""

    def finish(self, usage: Usage, settlement: Settlement) -> bytes:
        """Return the bytes that end a good stream."""

    def error(self, error: AigridError) -> bytes:
        """Return the bytes that tell of a failure after the stream began."""

    def add(self, chunk: Chunk) -> None:
        """Collect a chunk of an answer that is not streamed."""

    def whole(self, usage: Usage, settlement: Settlement) -> bytes:
        """Return the body of an answer that is not streamed."""


class Wire(Protocol):
    """One generation endpoint."""

    path: str

    def parse(self, body: dict[str, Any], request_id: str) -> Parsed:
        """Understand the client's object; raises `BadRequest` naming the field."""

    def encoder(self, parsed: Parsed, created: int) -> Encoder:
        """Return a new encoder for one answer; `created` is in Unix seconds."""

    def error_body(self, error: AigridError) -> dict[str, Any]:
        """Return an error in this format's shape."""


def convert(body: Any, shape: type[T], at: str = "") -> T:
    """Check `body` (found `at` a path) against a Struct; raises `BadRequest` whose `param` names the bad field."""
    try:
        return msgspec.convert(body, shape)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `")
        param = at + path.rstrip("`").removeprefix("$")
        if "missing required field `" in message:
            param += "." + message.split("`")[1]
        param = param.removeprefix(".")
        where = f" (at `{param}`)" if param else ""
        raise BadRequest(f"{message}{where}", param=param or None) from None


def tier_of(service_tier: str | None) -> Tier:
    """Return our tier for a `service_tier`: ours by name, OpenAI's by what they mean."""
    if service_tier in ("think", "overnight"):
        return service_tier  # type: ignore[return-value]
    if service_tier == "flex":
        return "overnight"
    if service_tier in (None, "auto", "default", "priority", "scale", "fast", "ultrafast"):
        return "fast"
    raise BadRequest(
        f"service_tier '{service_tier}' is not known; use fast, think, overnight, auto, default, flex or priority",
        param="service_tier",
    )
