"""`aigrid echo`: the echo engine alone, as an OpenAI-compatible upstream for tests and load."""

from typing import Annotated

import typer

from aigrid.cli.output import Json, emit
from aigrid.core.errors import Conflict


def echo(
    port: Annotated[int, typer.Option(help="TCP port to serve on.", min=1, max=65535)],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    rate: Annotated[float, typer.Option(help="Tokens per second and stream; 0 is as fast as it can.", min=0)] = 0.0,
    model: Annotated[str, typer.Option(help="Name of the model it claims to serve.")] = "echo",
    as_json: Json = False,
) -> None:
    """Serve the echo engine alone.

    It says the prompt again, paced. A directive in the prompt asks for more, or for trouble, e.g.
    `[echo tokens=20 rate=50 fail=503 after=5]`.
    """
    import asyncio
    import contextlib

    import uvloop

    with contextlib.suppress(asyncio.CancelledError):
        uvloop.run(_serve(port, host, rate, model, as_json))


async def _serve(port: int, host: str, rate: float, model: str, as_json: bool) -> None:
    import asyncio
    import signal

    from aigrid.cli.factory import http_url
    from aigrid.engines.echo_server import serve

    ready = asyncio.Event()
    server = asyncio.create_task(serve(port, host=host, rate=rate, model=model, ready=ready))
    for sig in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(sig, server.cancel)
    waiting = asyncio.create_task(ready.wait())
    await asyncio.wait({server, waiting}, return_when=asyncio.FIRST_COMPLETED)
    if ready.is_set():
        url = http_url(host, port)
        pace = f"{rate:g} tokens/s" if rate else "unpaced"
        emit(
            {"url": url, "model": model, "rate": rate},
            as_json,
            lambda console: console.print(f"Echo at {url}/v1 (model {model}, {pace}). Ctrl-C stops it.", markup=False),
        )
    waiting.cancel()
    try:
        await server
    except OSError as error:
        raise Conflict(f"cannot listen on {host}:{port}: {error.strerror}; choose another --port or --host") from None
