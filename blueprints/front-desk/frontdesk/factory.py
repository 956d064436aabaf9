"""A factory of its own for one conversation: `aigrid up` in a temporary folder, until the block ends."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator

from frontdesk.model import Model, NoServer


@contextlib.contextmanager
def factory(model: str = "") -> Iterator[Model]:
    """Start a factory with the embedded model, or the one named; raises `NoServer` with what it said."""
    with tempfile.TemporaryDirectory(prefix="front-desk-") as home:
        chosen = ["--model", model] if model else []
        command = [sys.executable, "-m", "aigrid.cli", "up", "--json", "--no-console", "--port", "0", *chosen]
        environment = {**os.environ, "AIGRID_HOME": home}
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        try:
            assert process.stdout is not None
            lines = []
            for line in process.stdout:
                lines.append(line)
                if line.startswith("}"):
                    break
            started = json.loads("".join(lines) or '{"error": {"message": "it said nothing; try `aigrid doctor`"}}')
            if "error" in started:
                raise NoServer(f"the factory did not start: {started['error']['message']}")
            yield Model(started["url"], started["key"] or "none", model)
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate()
