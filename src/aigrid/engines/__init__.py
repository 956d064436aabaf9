"""What makes tokens: one protocol, one file per implementation."""

import sys

# Otherwise each import of OpenVINO forks a process that tells Google Analytics of it. Nobody asked for that.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
