"""The gateway with governance off, as a control: no keys, limits, holds or records. Exists only to be measured."""

import sys
from typing import Any

import uvicorn
import uvloop

from aigrid.core.config import Config, GatewayConfig, UpstreamConfig
from aigrid.engines.openai import OpenAIEngine
from aigrid.gateway.app import Gateway
from aigrid.gateway.protocol import Door
from aigrid.gateway.serve import quieten_gc
from aigrid.ledger.base import Hold, Key, Order, Outcome, Settlement


class FreeHold:
    """Counts and nothing else."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.completion_bound = order.completion_bound
        self.prompt_tokens = self.completion_tokens = self.reasoning_tokens = self.cached_tokens = 0

    def count(self, completion: int = 0, reasoning: int = 0) -> None:
        self.completion_tokens += completion
        self.reasoning_tokens += reasoning

    def mark_first_token(self) -> None:
        pass

    def count_prompt(self, prompt: int, cached: int = 0) -> None:
        self.prompt_tokens = prompt


class FreeLedger:
    """Lets everyone in and remembers nothing."""

    _key = Key("free", "free")

    def authenticate(self, secret: str) -> Key:
        return self._key

    async def hold(self, order: Order, parent: Hold | None = None) -> Any:
        return FreeHold(order)

    def settle(self, hold: Any, outcome: Outcome, **_: Any) -> Settlement:
        return Settlement("", hold.prompt_tokens, hold.completion_tokens, 0, 0, 0, 0, "none")

    def health(self) -> dict[str, Any]:
        return {}


async def main(port: int, upstream: str) -> None:
    config = Config(gateway=GatewayConfig(port=port), upstreams=[UpstreamConfig("echo", upstream, models=["echo"])])
    ledger: Any = FreeLedger()
    engines = [OpenAIEngine(config.upstreams[0])]
    settings = uvicorn.Config(
        Gateway(config, ledger, engines), port=port, loop="uvloop", http=Door, ws="none", lifespan="off",
        access_log=False, proxy_headers=False, log_level="warning", server_header=False, backlog=4096,
    )  # fmt: skip
    quieten_gc()
    await uvicorn.Server(settings).serve()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), sys.argv[2]))
