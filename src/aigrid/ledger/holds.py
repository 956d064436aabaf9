"""An open hold, and the two descriptions of it that the journal keeps."""

from collections.abc import Callable

import msgspec

from aigrid.core.clock import mono_ns
from aigrid.ledger.account import Account
from aigrid.ledger.base import Order, Outcome, Settlement
from aigrid.ledger.journal import CACHED, COMPLETION, FIRST_TOKEN, PROMPT, REASONING
from aigrid.ledger.prices import Tariff
from aigrid.ledger.windows import MINUTE

MOST_TOKENS = 1 << 40
"""No request has more tokens than this, whatever an upstream says: sums and amounts stay within 64 bits."""


class HoldNote(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What the journal keeps of a hold: all that is needed to settle it after a crash."""

    id: str
    parent: str | None
    tenant: str
    key_id: str
    model: str
    site: str
    tier: str
    prompt_bound: int
    completion_bound: int
    held_nusd: int
    created_ns: int
    tariff: Tariff


class SettledNote(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What the journal keeps of a settlement until its record is committed."""

    outcome: Outcome
    usage_source: str
    revenue_nusd: int
    upstream_nusd: int
    settled_ns: int
    duration_ns: int
    energy_mj: int = 0
    energy_nusd: int = 0
    hardware_nusd: int = 0
    energy_source: str = ""
    site: str = ""
    note: str = ""


class OpenHold:
    """A reservation with its counts; the counts are in the journal as well, the moment they change.

    Counting a hold that is settled changes nothing: its slot may be another hold's by then.
    """

    __slots__ = (
        "_at", "_clock", "_words", "account", "amount_nusd", "cached_tokens", "children_tokens", "completion_bound",
        "completion_tokens", "created_ns", "ended", "energy_mj", "energy_nusd", "energy_source", "first_token_ns",
        "hardware_nusd", "held_nusd", "id", "local", "order", "outcome", "parent", "prompt_tokens",
        "reasoning_tokens", "reserved_tokens", "settled", "settled_note", "settlement", "slot", "started", "tariff",
        "weight_mark",
    )  # fmt: skip

    def __init__(
        self,
        order: Order,
        parent: "OpenHold | None",
        account: Account,
        tariff: Tariff,
        amount_nusd: int,
        completion_bound: int,
        created_ns: int,
        started: int,
        local: bool,
        clock: Callable[[], int] = mono_ns,
    ) -> None:
        self.id = order.request_id
        self.order = order
        self.parent = parent
        self.account = account
        self.tariff = tariff
        self.amount_nusd = self.held_nusd = amount_nusd
        self.completion_bound = completion_bound
        self.created_ns = created_ns
        self.started = started
        self.ended = 0
        self.local = local
        self.prompt_tokens = self.cached_tokens = self.completion_tokens = self.reasoning_tokens = 0
        self.first_token_ns = 0
        self.energy_mj = self.energy_nusd = self.hardware_nusd = 0
        self.energy_source = ""
        self.weight_mark = 0
        self.reserved_tokens = order.prompt_bound + completion_bound
        self.children_tokens = 0
        self.settled = False
        self.settlement: Settlement | None = None
        self.settled_note: SettledNote | None = None
        self._clock = clock

    def note(self) -> HoldNote:
        """Return what the journal keeps."""
        order = self.order
        return HoldNote(
            self.id, self.parent.id if self.parent is not None else None, order.key.tenant, order.key.id,
            order.model, order.site, order.tier, order.prompt_bound, self.completion_bound, self.held_nusd,
            self.created_ns, self.tariff,
        )  # fmt: skip

    @property
    def taken_tokens(self) -> int:
        """Tokens that this request, once ended, has taken of what its key may use per minute: those it and its parts used.

        After a minute the bucket has drained of all that was reserved, so nothing is left to be given back: giving it
        back all the same would let many long requests save up a burst.
        """
        used = self.prompt_tokens + self.completion_tokens + self.children_tokens
        return max(used, self.reserved_tokens) if self.ended - self.started >= MINUTE else used

    def bind(self, slot: int, words: memoryview, at: int) -> None:
        """Count into this slot of the journal from now on."""
        self.slot = slot
        self._words = words
        self._at = at

    def count(self, completion: int = 0, reasoning: int = 0) -> None:
        """Add generated tokens (reasoning is part of completion); raises `ValueError` for fewer than none."""
        if self.settled:
            return
        if completion < 0 or reasoning < 0:
            raise ValueError("counts only grow")
        words, at = self._words, self._at
        total = self.completion_tokens + completion
        self.completion_tokens = words[at + COMPLETION] = total if total < MOST_TOKENS else MOST_TOKENS
        if reasoning:
            self.reasoning_tokens = words[at + REASONING] = min(self.reasoning_tokens + reasoning, MOST_TOKENS)
        if completion:
            self.mark_first_token()

    def mark_first_token(self) -> None:
        """Note when the first token came, for answers that are counted only when they are whole."""
        if not self.first_token_ns and not self.settled:
            self.first_token_ns = self._words[self._at + FIRST_TOKEN] = max(1, self._clock() - self.started)

    def count_prompt(self, prompt: int, cached: int = 0) -> None:
        """Set the prompt's tokens (cached is part of prompt)."""
        if self.settled:
            return
        if prompt < 0 or cached < 0:
            raise ValueError("counts are never negative")
        words, at = self._words, self._at
        prompt = min(prompt, MOST_TOKENS)
        self.prompt_tokens = words[at + PROMPT] = prompt
        self.cached_tokens = words[at + CACHED] = cached if cached < prompt else prompt
