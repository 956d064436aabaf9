"""`python -m aigrid.gateway`: one gateway process, set up by `aigrid.toml` and the environment."""

import sys

from aigrid.core.config import load
from aigrid.core.errors import AigridError
from aigrid.gateway.serve import run

if __name__ == "__main__":
    try:
        run(load())
    except AigridError as error:
        sys.exit(f"aigrid: {error.message}")
