"""The exact record: holds, settlements, prices, energy, reports."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aigrid.ledger.open import open_ledger

__all__ = ["open_ledger"]


def __getattr__(name: str) -> Any:
    """Import the databases only when a ledger is opened: commands that need only the words start at once."""
    if name == "open_ledger":
        from aigrid.ledger.open import open_ledger

        return open_ledger
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
