import asyncio
import contextlib
import socket

import pytest

from aigrid.engines.echo_server import serve


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
async def echo():
    """The base URL of an echo server."""
    port, ready = free_port(), asyncio.Event()
    task = asyncio.create_task(serve(port, ready=ready))
    await ready.wait()
    yield f"http://127.0.0.1:{port}"
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


@pytest.fixture
async def raw_server():
    """Start servers that answer every connection with given bytes, then close it (or keep it open)."""
    servers = []

    async def start(*parts: bytes, close: bool = True, pause: float = 0.0) -> str:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(ConnectionError):
                await reader.read(65536)
                for part in parts:
                    writer.write(part)
                    await writer.drain()
                    await asyncio.sleep(pause)
                if close:
                    writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        servers.append(server)
        return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    yield start
    for server in servers:
        server.close()
