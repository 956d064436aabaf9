"""Strategies are tested with models that say what a test wants."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
