"""Talking to a gateway over HTTP as any client does: plain JSON, and one streamed chat answer."""

import contextlib
import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from aigrid.core.clock import mono_ns
from aigrid.core.errors import AigridError, ConfigError, Unavailable, UpstreamError, UpstreamTimeout

if TYPE_CHECKING:
    from http.client import HTTPConnection, HTTPResponse


JSON = "application/json"


class RemoteError(AigridError):
    """An error that the gateway answered with."""

    def __init__(self, status: int, body: Any) -> None:
        error = body.get("error") if isinstance(body, dict) else None
        error = error if isinstance(error, dict) else {}
        message = error.get("message") or f"the gateway answered with HTTP status {status}"
        super().__init__(str(message), param=error.get("param"), code=error.get("code"))
        self.http_status = status


class Answer(msgspec.Struct):
    """A streamed answer as it was received. Times are nanoseconds since the request was sent."""

    text: str = ""
    model: str = ""
    finish_reason: str | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    first_token_ns: int = 0
    duration_ns: int = 0
    cost_nusd: int | None = None
    energy_mj: int | None = None
    energy_source: str = ""
    record: str = ""
    reasoning: str = ""
    reasoning_tokens: int = 0
    thinking: dict[str, Any] | None = None

    @property
    def tokens_per_second(self) -> float:
        """Tokens after the first one over the time they took."""
        span = self.duration_ns - self.first_token_ns
        return (self.completion_tokens - 1) * 1e9 / span if span > 0 and self.completion_tokens > 1 else 0.0


class Gateway:
    """A gateway at `url` (without `/v1`), spoken to with `key`. `timeout_s` is the longest silence."""

    def __init__(self, url: str, key: str = "", timeout_s: float = 300.0) -> None:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(f"`{url}` is not the address of a gateway; write it like http://127.0.0.1:8470")
        self.url = f"{parts.scheme}://{parts.netloc}"
        self._host = parts.hostname
        self._port = parts.port
        self._tls = parts.scheme == "https"
        self._base = parts.path.rstrip("/").removesuffix("/v1")
        self._key = key
        self._timeout_s = timeout_s

    @property
    def openai(self) -> tuple[str, str]:
        """Return the base URL and the key that another client of OpenAI's API needs."""
        return f"{self.url}{self._base}/v1", self._key

    def get(self, path: str) -> tuple[int, Any]:
        """Return status and decoded JSON body (the text, where it is none)."""
        return self._call("GET", path, None)

    def post(self, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        """Send a JSON body; return status and decoded JSON body (the text, where it is none)."""
        return self._call("POST", path, msgspec.json.encode(body))

    def call(self, method: str, path: str, body: bytes | None = None, kind: str = JSON) -> tuple[int, bytes]:
        """Send bytes of some content type; return status and body as they are."""
        with self._send(method, path, body, kind) as response:
            return response.status, response.read()

    def _call(self, method: str, path: str, body: bytes | None) -> tuple[int, Any]:
        status, data = self.call(method, path, body)
        try:
            return status, json.loads(data)
        except ValueError:
            return status, data.decode(errors="replace")

    def models(self) -> list[str]:
        """Return the ids of the models that the gateway serves."""
        status, body = self.get("/v1/models")
        if status != 200:
            raise RemoteError(status, body)
        return [model["id"] for model in body.get("data", [])]

    def chat(self, body: dict[str, Any], answer: Answer, thought: Callable[[str], None] | None = None) -> Iterator[str]:
        """Stream a chat answer: yields pieces of text, and fills `answer` as it goes.

        `thought` hears of what the model thinks before it answers.
        """
        began = mono_ns()
        body = {**body, "stream_options": {"include_usage": True}}
        for frame in self.stream("/v1/chat/completions", body):
            known = len(answer.reasoning)
            piece = take(frame, answer, began)
            if thought is not None and len(answer.reasoning) > known:
                thought(answer.reasoning[known:])
            if piece:
                yield piece

    def stream(self, path: str, body: dict[str, Any], heads: dict[str, str] | None = None) -> Iterator[dict[str, Any]]:
        """Yield the frames of a streamed answer; raises `RemoteError` for one that is an error.

        Its headers go into `heads`, names in lower case.
        """
        with self._send("POST", path, msgspec.json.encode({**body, "stream": True})) as response:
            if response.status != 200:
                raise RemoteError(response.status, _json(response.read()))
            if heads is not None:
                heads.update({name.lower(): value for name, value in response.headers.items()})
            for frame in _frames(response):
                if "error" in frame:
                    raise RemoteError(200, frame)
                yield frame

    def _connection(self) -> "HTTPConnection":
        import ssl
        from http.client import HTTPConnection, HTTPSConnection

        if self._tls:
            context = ssl.create_default_context()
            return HTTPSConnection(self._host, self._port, timeout=self._timeout_s, context=context)
        return HTTPConnection(self._host, self._port, timeout=self._timeout_s)

    @contextlib.contextmanager
    def _send(self, method: str, path: str, body: bytes | None = None, kind: str = JSON) -> "Iterator[HTTPResponse]":
        from http.client import HTTPException

        connection = self._connection()
        headers = {"content-type": kind} if body is not None else {}
        if self._key:
            headers["authorization"] = f"Bearer {self._key}"
        try:
            connection.request(method, self._base + path, body, headers)
            with connection.getresponse() as response:
                yield response
        except TimeoutError:
            raise UpstreamTimeout(f"{self.url} was silent for {self._timeout_s:g} s") from None
        except ConnectionRefusedError:
            raise Unavailable(
                f"nothing answers at {self.url}; start the factory with `aigrid up`, or name another with --url"
            ) from None
        except (HTTPException, OSError) as error:
            raise UpstreamError(f"lost the connection to {self.url}: {error or type(error).__name__}") from None
        finally:
            connection.close()


def _json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return None


def _frames(response: "HTTPResponse") -> Iterator[dict[str, Any]]:
    for line in response:
        if line.startswith(b"data: ") and (data := line[6:].strip()) != b"[DONE]":
            frame = _json(data)
            if isinstance(frame, dict):
                yield frame


def take(frame: dict[str, Any], answer: Answer, began_ns: int) -> str:
    """Take what a frame adds to an answer that was asked for at `began_ns`; returns its text."""
    piece = _piece(frame, answer)
    if piece and not answer.first_token_ns:
        answer.first_token_ns = mono_ns() - began_ns
    answer.text += piece
    answer.duration_ns = mono_ns() - began_ns
    return piece


def _piece(frame: dict[str, Any], answer: Answer) -> str:
    """Take what a frame says about the answer; returns its text."""
    answer.model = frame.get("model") or answer.model
    usage = frame.get("usage") or {}
    answer.prompt_tokens = usage.get("prompt_tokens", answer.prompt_tokens)
    answer.completion_tokens = usage.get("completion_tokens", answer.completion_tokens)
    details = usage.get("prompt_tokens_details") or {}
    answer.cached_tokens = details.get("cached_tokens") or answer.cached_tokens
    if cost := frame.get("aigrid"):
        answer.cost_nusd = cost.get("cost_nusd")
        answer.energy_mj = cost.get("energy_mj")
        answer.energy_source = cost.get("energy_source") or ""
        answer.record = cost.get("record") or ""
        answer.thinking = cost.get("thinking")
    made = usage.get("completion_tokens_details") or {}
    answer.reasoning_tokens = made.get("reasoning_tokens") or answer.reasoning_tokens
    for choice in frame.get("choices") or ():
        answer.reasoning += (choice.get("delta") or {}).get("reasoning_content") or ""
        answer.finish_reason = choice.get("finish_reason") or answer.finish_reason
        return (choice.get("delta") or {}).get("content") or ""
    return ""
