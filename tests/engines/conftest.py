import asyncio
import contextlib

import pytest

from aigrid.engines.echo_server import EchoProtocol


@contextlib.asynccontextmanager
async def echo_server(model: str):
    """An echo server in this process; its port, which is free by itself."""
    connections: set[EchoProtocol] = set()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: EchoProtocol(0.0, model, connections), "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()
    for connection in list(connections):
        if connection.transport is not None:
            connection.transport.abort()


@pytest.fixture
async def echo():
    """The base URL of an echo server."""
    async with echo_server("echo") as port:
        yield f"http://127.0.0.1:{port}"


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
