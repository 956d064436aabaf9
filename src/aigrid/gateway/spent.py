"""What a request of several steps took."""

from typing import Any

from msgspec import Struct

from aigrid.gateway.http import Header
from aigrid.ledger.base import Settlement


class Spent(Struct):
    """What a request of several steps took, added up as they are settled, and their records on the ledger."""

    model: str = ""
    finish_reason: str = ""
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    cost_nusd: int = 0
    energy_mj: int = 0
    energy_source: str = ""
    records: list[str] = []

    def add(self, settlement: Settlement) -> None:
        """Add a step that was settled here."""
        self.prompt_tokens += settlement.prompt_tokens
        self.completion_tokens += settlement.completion_tokens
        self.cost_nusd += settlement.revenue_nusd
        self.energy_mj += settlement.energy_mj
        self.energy_source = settlement.energy_source
        self.records.append(settlement.hold_id)

    @property
    def cost(self) -> dict[str, Any]:
        """What it cost, for the body of an answer."""
        names = ("records", "cost_nusd", "energy_mj", "energy_source")
        return {name: getattr(self, name) for name in names}

    @property
    def headers(self) -> list[Header]:
        """What it cost, as headers."""
        return [
            (b"x-aigrid-cost-nusd", b"%d" % self.cost_nusd),
            (b"x-aigrid-energy-mj", b"%d" % self.energy_mj),
            (b"x-aigrid-energy-source", self.energy_source.encode()),
        ]
