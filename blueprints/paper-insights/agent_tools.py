"""What `agent.yaml` names: the tools of `insights/`, which lies beside this file."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from insights.tools import compare_papers, find_statements, list_papers, write_brief

__all__ = ["compare_papers", "find_statements", "list_papers", "write_brief"]
