"""What `agent.yaml` names: the tools of `frontdesk/`, which lies beside this file."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from frontdesk.tools import book_appointment, look_up_order, pass_on, start_return

__all__ = ["book_appointment", "look_up_order", "pass_on", "start_return"]
