"""The factory registers itself with a gateway: packs that are in service are models; and its endpoints."""

from aigrid.factory.api import DESCRIBED, Api
from aigrid.factory.serving import PackEngine
from aigrid.gateway.app import Gateway


def attach(gateway: Gateway) -> None:
    """Serve the packs that are in service in AIGRID_HOME, and say what lines do."""
    gateway.register(PackEngine(gateway.config), Api(gateway).routes(), DESCRIBED)
