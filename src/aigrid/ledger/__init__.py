"""The exact record: holds, settlements, prices, energy, reports."""

from aigrid.ledger.open import open_ledger

__all__ = ["open_ledger"]
