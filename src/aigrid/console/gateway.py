"""The gateway as the console sees it: HTTP, one key, and plain words when something is wrong."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Any
from urllib.parse import quote

import aiohttp
import msgspec

_decode = msgspec.json.decode
_SLOW = aiohttp.ClientTimeout(total=120, connect=3)
"""For the first look into knowledge, which loads the index, and the first search, which loads a model."""

_FIRST = {"request_id": "x-request-id", "run": "x-aigrid-run"}


class GatewayAway(Exception):
    """The gateway does not answer; it may come back."""


class GatewayRefused(Exception):
    """The gateway answered with an error, whose words are meant for the user."""

    def __init__(self, status: int, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.param = param


class Gateway:
    """Calls the gateway with one admin key, or with none where it asks for none."""

    def __init__(self, http: aiohttp.ClientSession, base: str, key: str | None = None) -> None:
        self._http = http
        self.base = base
        self._key = key
        self.needs_key = False
        """Whether the gateway asked for a key that we do not have."""
        self.closed = False
        """Whether the visitor signed out; every call is refused from then on."""

    def _headers(self, key: str | None) -> dict[str, str]:
        if self.closed:
            raise GatewayRefused(401, "You are signed out.")
        return {"authorization": f"Bearer {key}"} if key else {}

    async def get(self, path: str, params: Mapping[str, str | int | None] | None = None) -> Any:
        """Return the JSON at `path`; parameters that are None are left out.

        Raises `GatewayAway` and `GatewayRefused`, as all calls here do.
        """
        given = {k: str(v) for k, v in (params or {}).items() if v is not None}
        options: dict[str, Any] = {"timeout": _SLOW} if path.startswith("/admin/knowledge") else {}
        return await self._call("GET", path, params=given, **options)

    async def post(self, path: str, body: Any) -> Any:
        """Send JSON and return the answer."""
        return await self._call("POST", path, json=body)

    async def put(self, path: str, body: Any) -> Any:
        """Send JSON in place of what is at `path` and return the answer."""
        return await self._call("PUT", path, json=body)

    async def patch(self, path: str, body: Any) -> Any:
        """Send JSON that changes what is at `path` and return the answer."""
        return await self._call("PATCH", path, json=body)

    async def delete(self, path: str, params: Mapping[str, str] | None = None) -> Any:
        """Delete what is at `path` and return the answer."""
        return await self._call("DELETE", path, params=dict(params or {}))

    async def _call(self, method: str, path: str, *, key: str | None = None, **options: Any) -> Any:
        headers = self._headers(key or self._key)
        try:
            async with self._http.request(method, self.base + path, headers=headers, **options) as answer:
                body = await answer.read()
                if not (key or self._key):
                    self.needs_key = answer.status == 401
                if answer.status >= 400:
                    raise _refusal(answer.status, body)
                return _decode(body)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise GatewayAway(str(error) or type(error).__name__) from error
        except msgspec.DecodeError as error:
            raise GatewayRefused(
                502, f"{self.base} answered something that is not JSON: is it an aigrid gateway?"
            ) from error

    async def models(self, key: str) -> list[str]:
        """Return the ids of the models that `key` may chat with."""
        answer = await self._call("GET", "/v1/models", key=key)
        return [model["id"] for model in answer["data"] if "chat" in model["capabilities"]]

    async def csv(self, query: str) -> AsyncIterator[bytes]:
        """Iterate over the ledger's CSV for a query string; raises before the first part."""
        try:
            async with self._http.get(
                f"{self.base}/admin/records.csv?{query}",
                headers=self._headers(self._key),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=60),
            ) as answer:
                if answer.status >= 400:
                    raise _refusal(answer.status, await answer.read())
                async for part in answer.content.iter_any():
                    yield part
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise GatewayAway(str(error) or type(error).__name__) from error

    async def search(self, key: str, question: str, limit: int) -> list[dict[str, Any]]:
        """Return the best passages for a question, of those that `key` may read."""
        body = {"query": question, "limit": limit}
        answer = await self._call("POST", "/v1/knowledge/search", key=key, json=body, timeout=_SLOW)
        found: list[dict[str, Any]] = answer["data"]
        return found

    def chat(self, key: str, body: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """Stream a chat completion: first `{"request_id": …}`, then each chunk. Closing it stops the answer."""
        options = {"stream_options": {"include_usage": True}}
        return self._stream("/v1/chat/completions", key, {**body, **options})

    def ask(self, key: str, body: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """Stream an answer from documents, like `chat`; what only knowledge has is in each chunk's `knowledge`."""
        return self._stream("/v1/knowledge/ask", key, body)

    def agent(self, key: str, body: dict[str, Any]) -> AsyncGenerator[dict[str, Any], None]:
        """Stream a run of an agent, like `chat`; the first chunk has its id in `run`. A tool may be silent for long."""
        return self._stream("/v1/chat/completions", key, body, silence_s=None)

    async def _stream(
        self, path: str, key: str, body: dict[str, Any], silence_s: float | None = 300
    ) -> AsyncGenerator[dict[str, Any], None]:
        try:
            async with self._http.post(
                self.base + path,
                json={**body, "stream": True},
                headers=self._headers(key),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=silence_s),
            ) as answer:
                if answer.status >= 400:
                    raise _refusal(answer.status, await answer.read())
                yield {name: answer.headers.get(header, "") for name, header in _FIRST.items()}
                async for line in answer.content:
                    data = line.removeprefix(b"data:").strip() if line.startswith(b"data:") else b""
                    if data == b"[DONE]":
                        return
                    if data:
                        chunk: dict[str, Any] = _decode(data)
                        if "error" in chunk:
                            raise _refusal(502, data)
                        yield chunk
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise GatewayAway(str(error) or type(error).__name__) from error


def segment(text: str) -> str:
    """Return text as one segment of a path."""
    return quote(text, safe="")


def _refusal(status: int, body: bytes) -> GatewayRefused:
    try:
        error = _decode(body)["error"]
        return GatewayRefused(status, str(error["message"]), error.get("param"))
    except (msgspec.DecodeError, KeyError, TypeError):
        return GatewayRefused(status, f"the gateway answered with status {status}")
