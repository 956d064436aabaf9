"""Slow and oversized clients at the door of a real server."""

import asyncio
import contextlib
import json
import resource

import pytest
import uvicorn

from aigrid.gateway import protocol
from aigrid.gateway.protocol import Door, raise_open_files, sweep

OK = b"GET / HTTP/1.1\r\nhost: x\r\n"


async def app(scope, receive, send):
    """Read the whole body, then answer with as many bytes as the path says."""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        if not message.get("more_body"):
            break
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for _ in range(int(scope["path"][1:] or "1")):
        await send({"type": "http.response.body", "body": b"a" * 60_000, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


@pytest.fixture
async def dial(monkeypatch):
    monkeypatch.setattr(protocol, "SWEEP_S", 0.02)
    for name in ("HEAD_S", "BODY_S", "WRITE_S"):
        monkeypatch.setattr(protocol, name, 0.2)
    server = uvicorn.Server(
        uvicorn.Config(app, port=0, http=Door, lifespan="off", log_level="error", timeout_graceful_shutdown=1)
    )
    server.capture_signals = contextlib.nullcontext
    tasks = [asyncio.create_task(server.serve()), asyncio.create_task(sweep(server))]
    while not server.started:
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]

    async def connect():
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        return reader, writer

    connect.server = server
    yield connect
    server.should_exit = True
    await tasks[0]
    tasks[1].cancel()


async def said(reader):
    """Return the status and the error of what a server says before it closes."""
    text = await asyncio.wait_for(reader.read(), 60)
    if not text:
        return None
    head, _, body = text.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)["error"]["code"]


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (b"", None),
        (b"GET / HT", (408, "request_timeout")),
        (OK, (408, "request_timeout")),
        (b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nab", (408, "request_timeout")),
        (OK + b"x: " + b"a" * 70_000, (431, "head_too_large")),
        (OK + b"x: " + b"a" * 70_000 + b"\r\n\r\n", (431, "head_too_large")),
        (OK + b"".join(b"x%d: a\r\n" % i for i in range(9000)), (431, "head_too_large")),
        (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", (400, "invalid_http")),
    ],
)
async def test_clients_that_are_slow_or_too_large_are_told_so_and_sent_away(dial, sent, answer, monkeypatch):
    if answer and answer[0] != 408:
        monkeypatch.setattr(protocol, "HEAD_S", 60.0)  # it is not for being slow that they are sent away
    reader, writer = await dial()
    writer.write(sent)
    assert await said(reader) == answer
    writer.close()


async def test_a_client_that_does_not_read_is_sent_away(dial):
    reader, writer = await dial()
    writer.write(b"GET /1000 HTTP/1.1\r\nhost: x\r\n\r\n")
    connections = dial.server.server_state.connections
    async with asyncio.timeout(60):
        for wanted in (1, 0):
            while len(connections) != wanted:
                await asyncio.sleep(0.01)
    with contextlib.suppress(ConnectionError):
        assert len(await asyncio.wait_for(reader.read(), 60)) < 1000 * 60_000
    writer.close()


async def test_clients_that_rest_between_requests_and_read_what_they_asked_for_stay(dial):
    reader, writer = await dial()
    for _ in range(2):
        writer.write(OK + b"\r\n")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        await reader.readuntil(b"0\r\n\r\n")
        await asyncio.sleep(0.5)
    writer.close()


def test_a_process_may_have_as_many_connections_as_the_machine_lets_it():
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, before[1]), before[1]))
        raise_open_files()
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == min(before[1], 1 << 20)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
