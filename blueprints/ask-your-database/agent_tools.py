"""What `agent.yaml` names: the tools of `askdb/`, which lies beside this file."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from askdb.tools import database_schema, run_query

__all__ = ["database_schema", "run_query"]
