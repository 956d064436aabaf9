"""Agents register themselves with a gateway: their engine, and the endpoints to look at and answer them."""

from aigrid.agents import shelf
from aigrid.agents.a2a import A2a
from aigrid.agents.api import Api
from aigrid.agents.api_memory import MemoryApi
from aigrid.agents.described import DESCRIBED
from aigrid.agents.engine import AgentEngine
from aigrid.agents.offered import offer
from aigrid.gateway.app import Gateway


def attach(gateway: Gateway) -> None:
    """Serve the agents in AIGRID_HOME/agents through this gateway."""
    shelf.use(gateway.config.ledger.url)
    engine = AgentEngine(gateway.config)
    routes = {**Api(gateway, engine).routes(), **MemoryApi(gateway).routes(), **A2a(gateway, engine).routes()}
    gateway.register(engine, routes, DESCRIBED, [offer(gateway)])
