"""A factory of its own for one question: `aigrid up` in a temporary folder, until the block ends."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator

from askdb.ask import Server
from askdb.database import Refused


@contextlib.contextmanager
def factory(model: str = "", engine: str = "") -> Iterator[Server]:
    """Start a factory with the embedded model, or the one named; raises `Refused` with what it said."""
    with tempfile.TemporaryDirectory(prefix="askdb-") as home:
        chosen = [*(["--model", model] if model else []), *(["--engine", engine] if engine else [])]
        command = [sys.executable, "-m", "aigrid.cli", "up", "--json", "--no-console", "--port", "0", *chosen]
        process = subprocess.Popen(
            command, env={**os.environ, "AIGRID_HOME": home}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        try:
            assert process.stdout is not None
            lines = []
            for line in process.stdout:
                lines.append(line)
                if line.startswith("}"):
                    break
            started = json.loads("".join(lines) or '{"error": {"message": "it said nothing"}}')
            if "error" in started:
                raise Refused(f"the factory did not start: {started['error']['message']}")
            yield Server(started["url"], started["key"] or "none", model)
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate()
