"""Blueprints are programs in their own folders: their tests put those folders on the path."""

import sys
from pathlib import Path

__all__ = ["BLUEPRINTS"]

BLUEPRINTS = Path(__file__).resolve().parents[2] / "blueprints"

for _name in ("vulnerability-triage", "ask-your-database", "front-desk", "paper-insights"):
    sys.path.insert(0, str(BLUEPRINTS / _name))
