"""How kernels are compiled: one decorator, without the GIL, kept on disk for the next process.

The compiler's own cache looks at one file at a time, so that a change in a kernel would leave its callers as they
were. The folder therefore carries a hash of all sources here.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba

from aigrid.core.config import cache


def _sources() -> str:
    """Return a short hash of every source that a kernel may be made from."""
    digest = hashlib.sha256(numba.__version__.encode())
    here = Path(__file__).parent
    for path in (*sorted(here.glob("*.py")), *sorted(here.parent.glob("*.py"))):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


numba.config.CACHE_DIR = str(cache() / f"kernels-{_sources()}")


def kernel(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function at its first call: it holds no GIL, divides as C does, and is kept on disk."""
    compiled: Callable[..., Any] = numba.njit(
        nogil=True, cache=True, error_model="numpy", fastmath={"nsz", "contract", "arcp", "afn"}
    )(function)
    return compiled
