"""The peer of `knowledge_speed`: docling, sentence-transformers and LlamaIndex in an environment of their own.

It is made once and kept in the cache. The embedding model is the same as ours, in sentence-transformers' own layout.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from aigrid.core.config import cache, load
from aigrid.core.models import pull, resolve
from benchmarks.common import log

NAME = "docling + sentence-transformers + LlamaIndex's default store"
TORCH = "torch==2.13.0"
PACKAGES = ("docling==2.143.*", "sentence-transformers==6.2.*", "llama-index-core==0.14.*")
PROGRAM = Path(__file__).with_name("knowledge_peer_main.py")


def python() -> Path:
    """Return the interpreter of the peer's environment, made where there is none.

    torchvision goes again: docling only needs it for layout models, and another build than torch's breaks imports.
    """
    folder = cache() / "bench" / "docling-peer"
    done = folder / "done"
    wanted = " ".join((TORCH, *PACKAGES))
    if not done.exists() or done.read_text() != wanted:
        log("installing the peer, which takes some minutes")
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        pip = [folder / "bin" / "pip"]
        subprocess.run([*pip, "install", "-q", TORCH], check=True, stdout=sys.stderr)
        subprocess.run([*pip, "install", "-q", TORCH, *PACKAGES], check=True, stdout=sys.stderr)
        subprocess.run([*pip, "uninstall", "-q", "-y", "torchvision"], check=True, stdout=sys.stderr)
        done.write_text(wanted)
    return folder / "bin" / "python"


def run(files: list[Path], **task: Any) -> dict[str, Any]:
    """Let the peer read files and do the rest of a task; see `knowledge_peer_main`. Times count from this call."""
    interpreter = python()
    model = pull(resolve("all-minilm-l6-v2", load()))
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "AIGRID_"))}
    asked = {**task, "model": str(model), "files": [str(file) for file in files], "began": time.monotonic()}
    done = subprocess.run(
        [interpreter, "-I", PROGRAM], input=json.dumps(asked).encode(), stdout=subprocess.PIPE, check=True,
        env={**kept, "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer
