import pytest

from aigrid.core.errors import ConfigError, UpstreamError, UpstreamTimeout
from aigrid.engines.http import HttpClient


def client(url: str, timeout: float = 30.0) -> HttpClient:
    return HttpClient("peer", url, connect_timeout=30.0, timeout=timeout)


async def get(http: HttpClient, path: str = "/v1/models") -> bytes:
    async with await http.request("GET", path) as connection:
        return await connection.read_all(http.timeout)


async def test_a_connection_is_kept_and_used_again(echo: str):
    http = client(echo)
    first = await get(http)
    kept = http._idle[0]
    assert await get(http) == first
    assert list(http._idle) == [kept]
    http.close()


async def test_a_connection_left_early_is_not_used_again(echo: str):
    http = client(echo)
    body = b'{"messages":[{"role":"user","content":"a"}],"max_tokens":9,"stream":true}'
    async with await http.request("POST", "/v1/chat/completions", body) as connection:
        assert await connection.read(5)
    await get(http)
    assert len(http._idle) == 1


async def test_a_kept_connection_that_the_server_closed_is_replaced(raw_server):
    url = await raw_server(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
    http = client(url)
    assert await get(http) == b"ok"
    assert await get(http) == b"ok"


async def test_a_cut_body_is_an_error_and_not_a_short_answer(raw_server):
    url = await raw_server(b"HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\nonly this")
    with pytest.raises(UpstreamError, match="before its answer was complete"):
        await get(client(url))


async def test_a_body_without_length_ends_with_the_connection(raw_server):
    url = await raw_server(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nall", b" of it")
    assert await get(client(url)) == b"all of it"


async def test_silence_is_a_timeout_that_says_what_to_raise(raw_server):
    url = await raw_server(b"HTTP/1.1 200 OK\r\n", close=False)
    with pytest.raises(UpstreamTimeout, match="timeout_s"):
        await get(client(url, timeout=0.1))


async def test_what_is_not_http_is_named(raw_server):
    url = await raw_server(b"SSH-2.0-OpenSSH_9.2\r\n", close=False)
    with pytest.raises(UpstreamError, match="not HTTP"):
        await get(client(url))


async def test_nobody_there_says_where():
    with pytest.raises(UpstreamError, match=r"127\.0\.0\.1:1 cannot be reached"):
        await get(client("http://127.0.0.1:1"))


async def test_more_than_the_high_water_mark_arrives_whole(raw_server):
    size = 5 << 20
    url = await raw_server(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size, b"x" * size)
    assert len(await get(client(url))) == size


def test_a_url_that_is_none_is_refused():
    with pytest.raises(ConfigError, match="not an http"):
        client("ftp://somewhere")


async def test_an_informational_answer_is_not_the_answer(raw_server):
    url = await raw_server(
        b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
    )
    async with await client(url).request("GET", "/") as connection:
        assert connection.status == 200
        assert "link" not in connection.headers
        assert await connection.read_all(30) == b"ok"
