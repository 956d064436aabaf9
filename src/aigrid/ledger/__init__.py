"""The exact record: holds, settlements, prices, energy, reports."""
