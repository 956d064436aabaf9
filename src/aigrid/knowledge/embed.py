"""Embedders: the model on this machine, or any server that speaks OpenAI's `/v1/embeddings`."""

import base64
import http.client
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec
import numpy as np

from aigrid.core.config import Config
from aigrid.core.errors import BadRequest, ConfigError, UpstreamError
from aigrid.core.models import pull, resolve
from aigrid.knowledge.base import Embedder, Vectors

if TYPE_CHECKING:
    from aigrid.engines.minilm import Words

_BATCH = 256
_TRIES = 4
_SMALLEST_CUT = 16


def open_embedder(config: Config) -> Embedder:
    """Return the embedder that `[knowledge]` names, its model fetched if it is not here."""
    settings = config.knowledge
    if settings.embedder.startswith(("http://", "https://")):
        if not settings.embedder_model:
            raise ConfigError(
                "knowledge.embedder is a server: set knowledge.embedder_model to a model that it embeds with"
            )
        key = os.environ.get(settings.embedder_key_env, "") if settings.embedder_key_env else ""
        if settings.embedder_key_env and not key:
            raise ConfigError(f"knowledge.embedder_key_env names ${settings.embedder_key_env}, which is not set")
        return HttpEmbedder(settings.embedder, settings.embedder_model, key)
    model = resolve(settings.embedder, config)
    return LocalEmbedder(pull(model), model.id)


class LocalEmbedder:
    """A sentence encoder in this process; loads in about half a second. Threads may share one."""

    def __init__(self, folder: Path, name: str = "all-minilm-l6-v2", threads: int = 0) -> None:
        from aigrid.engines.minilm import MiniLm

        self._model = MiniLm(folder, threads)
        self.name = name
        self.dimensions = self._model.dimensions
        self.max_tokens = self._model.max_tokens

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return one unit vector per text, in order; long texts are cut at `max_tokens`."""
        return self._model.embed(texts)

    def words(self, texts: Sequence[str]) -> "list[Words]":
        """Return the pieces of each text and a unit vector in context for each piece."""
        return self._model.words(texts)


class _Item(msgspec.Struct):
    index: int
    embedding: str | list[float]


class _Answer(msgspec.Struct):
    data: list[_Item]


class HttpEmbedder:
    """A server's `/v1/embeddings`. `url` is its base, with or without `/v1`; `timeout_s` the longest silence.

    The server is asked once at the start how long its vectors are. Texts that it finds too long are cut by half until
    it takes them. Raises `UpstreamError`.
    """

    def __init__(self, url: str, model: str, key: str = "", timeout_s: float = 120.0, max_tokens: int = 8192) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(f"`{url}` is not the address of a server; write it like http://127.0.0.1:8000")
        self._kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._place = (parts.hostname, parts.port)
        self._path = parts.path.rstrip("/").removesuffix("/v1") + "/v1/embeddings"
        self._headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})}
        self._timeout_s = timeout_s
        self._url = url
        self.name = model
        self.max_tokens = max_tokens
        self.dimensions = 0
        self.embed(["How long is a vector?"])

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return one unit vector per text, in order. Blocking; a server in trouble is tried again for a few seconds."""
        parts = [self._batch(list(texts[at : at + _BATCH])) for at in range(0, len(texts), _BATCH)]
        return np.concatenate(parts) if parts else np.empty((0, self.dimensions), np.float32)

    def _batch(self, texts: list[str]) -> Vectors:
        try:
            vectors = self._ask([text or " " for text in texts])
        except BadRequest as error:
            if error.code != "context_length_exceeded" and "context length" not in error.message:
                raise
            if len(texts) > 1:
                return np.concatenate([self._batch([text]) for text in texts])
            if len(texts[0]) < _SMALLEST_CUT:
                raise
            return self._batch([texts[0][: len(texts[0]) // 2]])
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        if vectors.shape != (len(texts), self.dimensions or vectors.shape[1]) or not np.all(lengths > 0):
            raise UpstreamError(f"{self._url} answered with {vectors.shape} vectors for {len(texts)} texts")
        self.dimensions = vectors.shape[1]
        unit: Vectors = vectors / lengths
        return unit

    def _ask(self, texts: list[str]) -> Vectors:
        body = msgspec.json.encode({"model": self.name, "input": texts, "encoding_format": "base64"})
        for attempt in range(_TRIES):
            last = attempt + 1 == _TRIES
            try:
                status, data = self._post(body)
            except (OSError, http.client.HTTPException) as error:
                if last:
                    raise UpstreamError(f"{self._url} does not answer: {error or type(error).__name__}") from error
            else:
                if status == 200:
                    return _vectors(data, self._url)
                if last or (status < 500 and status != 429):
                    raise _refusal(self._url, status, data)
            time.sleep(0.25 * 2**attempt)
        raise AssertionError("the last try returns or raises")

    def _post(self, body: bytes) -> tuple[int, bytes]:
        host, port = self._place
        connection = self._kind(host, port, timeout=self._timeout_s)
        try:
            connection.request("POST", self._path, body, self._headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


def _vectors(data: bytes, url: str) -> Vectors:
    try:
        items = sorted(msgspec.json.decode(data, type=_Answer).data, key=lambda item: item.index)
        rows = [_row(item.embedding) for item in items]
        return np.stack(rows)
    except ValueError as error:
        raise UpstreamError(f"{url} answered with what are not embeddings: {error}") from error


def _row(value: str | list[float]) -> Vectors:
    if isinstance(value, str):
        return np.frombuffer(base64.b64decode(value, validate=True), "<f4").astype(np.float32)
    return np.array(value, np.float32)


def _refusal(url: str, status: int, data: bytes) -> BadRequest | UpstreamError:
    error: Any = None
    try:
        body: Any = msgspec.json.decode(data)
        error = body.get("error", body) if isinstance(body, dict) else None
    except msgspec.DecodeError:
        pass
    said = error.get("message") if isinstance(error, dict) else error if isinstance(error, str) else None
    code = error.get("code") if isinstance(error, dict) else None
    kind = BadRequest if status in (400, 413, 422) else UpstreamError
    return kind(
        f"{url} refused to embed (HTTP {status}): {said or 'it does not say why'}", code=str(code) if code else None
    )
