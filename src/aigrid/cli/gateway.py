"""The gateway's process with everything that stands above it: what `aigrid up` starts."""

import sys

from aigrid.agents.attach import attach as agents
from aigrid.core.config import load
from aigrid.core.errors import AigridError
from aigrid.factory.attach import attach as factory
from aigrid.gateway.serve import run
from aigrid.ran.harvest.attach import attach as radio

if __name__ == "__main__":
    try:
        run(load(), [agents, factory, radio])
    except AigridError as error:
        sys.exit(f"aigrid: {error.message}")
