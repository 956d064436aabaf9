"""One gateway process: ledger, engines, application, uvicorn."""

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
from collections.abc import Callable, Iterator, Sequence

import uvicorn

from aigrid.core.config import Config, home
from aigrid.core.errors import AigridError
from aigrid.core.models import pull, resolve
from aigrid.engines.base import Engine
from aigrid.engines.echo import EchoEngine
from aigrid.engines.openai import OpenAIEngine
from aigrid.gateway.app import Gateway
from aigrid.gateway.protocol import Door, raise_open_files, sweep
from aigrid.ledger import open_ledger

log = logging.getLogger("aigrid.gateway")

_HEAD_START_S = 1.0
"""How long the door stays shut while engines start: upstreams that are there can name their models by then."""


def make_engines(config: Config) -> list[Engine]:
    """Return the engines that the configuration names, in the order in which the router prefers them."""
    engines: list[Engine] = []
    if config.engine.kind == "echo":
        engines.append(EchoEngine(config.site.id, rate=config.engine.echo_rate))
    elif config.engine.kind == "openvino":
        from aigrid.engines.openvino import OpenVinoEngine

        model = resolve(config.engine.model, config)
        run_dir = home() / "run"
        run_dir.mkdir(exist_ok=True)
        engines.append(OpenVinoEngine(model.id, pull(model), config.engine, run_dir, name=config.site.id))
    engines.extend(OpenAIEngine(upstream) for upstream in config.upstreams)
    if config.engine.kind == "openvino" and config.engine.embedding_model:
        from aigrid.engines.minilm_engine import MiniLmEngine

        embedder = resolve(config.engine.embedding_model, config)
        engines.append(MiniLmEngine(embedder, config.site.id, config.engine.threads))
    return engines


async def _report(engines: list[Engine], ids: list[str]) -> dict[str, int]:
    """Ask the engines what they made for requests that a gateway before us left open."""
    told: dict[str, int] = {}
    for engine in engines:
        report = getattr(engine, "report", None)
        if report is not None:
            try:
                told |= await report(ids)
            except AigridError as error:
                log.warning("engine %s cannot say what it made: %s", engine.name, error.message)
    return told


class _Server(uvicorn.Server):
    """Uvicorn that lets running requests finish before it closes their connections."""

    def __init__(self, config: uvicorn.Config, gateway: Gateway) -> None:
        super().__init__(config)
        self._gateway = gateway

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Keep our handlers to the end: uvicorn would raise the signal again, and die before `serve` has cleaned up."""
        loop = asyncio.get_running_loop()
        for sig in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(sig, self.handle_exit, sig, None)
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close the doors, drain, then let uvicorn end."""
        for server in self.servers:
            server.close()
        await self._gateway.stop()
        await super().shutdown(sockets)


def quieten_gc() -> None:
    """Collect garbage seldom: a request leaves about two cycles, and each collection stops every stream.

    What was imported is left out of collections. The older generations are then so small that they can be looked
    through often, which keeps memory level: connections that were open at one collection are garbage by the next.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 3, 3)


Attach = Callable[[Gateway], None]
"""What stands above the gateway registers itself there: it is called with each new one, before it starts."""


async def serve(config: Config, attach: Sequence[Attach] = ()) -> None:
    """Serve until SIGTERM or SIGINT; then drain, settle, stop. Raises what kept an engine from starting."""
    engines = make_engines(config)
    ledger = open_ledger(config, owner=True, recover=lambda ids: _report(engines, ids))
    gateway = Gateway(config, ledger, engines)
    for each in attach:
        each(gateway)
    settings = uvicorn.Config(
        gateway, host=config.gateway.host, port=config.gateway.port, loop="uvloop", http=Door, ws="none",
        lifespan="off", access_log=False, proxy_headers=False, log_level="warning", server_header=False, backlog=4096,
        timeout_keep_alive=75, timeout_graceful_shutdown=5,
    )  # fmt: skip
    server = _Server(settings, gateway)

    refused: list[Exception] = []

    async def start(engine: Engine) -> None:
        try:
            await engine.start()
        except Exception as error:
            refused.append(error)
            server.should_exit = True

    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(ledger.close)
        for engine in gateway.engines:
            stack.push_async_callback(engine.stop)
        starts = [asyncio.create_task(start(engine)) for engine in gateway.engines]
        recovered = await ledger.open()
        if recovered:
            log.warning("settled %d requests that a gateway before this one left open", len(recovered))
        await gateway.start()
        quieten_gc()
        log.info("gateway on http://%s:%d (pid %d)", config.gateway.host, config.gateway.port, os.getpid())
        if starts:
            await asyncio.wait(starts, timeout=_HEAD_START_S)
        watch = asyncio.create_task(sweep(server))
        await server.serve()
        for task in (watch, *starts):
            task.cancel()
    if refused:
        raise refused[0]
    log.info("gateway stopped")


def run(config: Config, attach: Sequence[Attach] = ()) -> None:
    """Run one gateway process, with what stands above it, until it is told to stop."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    import uvloop

    raise_open_files()
    uvloop.run(serve(config, attach))
