"""Agents register themselves with a gateway: their engine, and the endpoints to look at and answer them."""

from aigrid.agents.api import Api
from aigrid.agents.engine import AgentEngine
from aigrid.gateway.app import Gateway


def attach(gateway: Gateway) -> None:
    """Serve the agents in AIGRID_HOME/agents through this gateway."""
    gateway.register(AgentEngine(gateway.config), Api(gateway).routes())
