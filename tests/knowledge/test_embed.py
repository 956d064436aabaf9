"""Embedders: the local model, and servers as they behave and misbehave."""

import base64
import http.server
import json
import threading

import numpy as np
import pytest

from aigrid.core.config import Config, KnowledgeConfig, ModelConfig
from aigrid.core.errors import BadRequest, ConfigError, UpstreamError
from aigrid.knowledge import embed
from aigrid.knowledge.embed import HttpEmbedder, LocalEmbedder, open_embedder
from tests.engines.minilm_model import write


class Server(http.server.ThreadingHTTPServer):
    """`/v1/embeddings` that knows a text by its length; `answers` replaces the next answers."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.asked, self.answers, self.packed, self.longest = [], [], True, 1000

    def answer(self, body):
        if self.answers:
            return self.answers.pop(0)
        if any(len(text) > self.longest for text in body["input"]):
            return 400, {"error": {"message": "too long", "code": "context_length_exceeded"}}
        items = []
        for index, text in enumerate(body["input"]):
            vector = np.array([len(text), 3.0, 4.0], "<f4")
            packed = base64.b64encode(vector.tobytes()).decode()
            items.append({"index": index, "embedding": packed if self.packed else vector.tolist()})
        return 200, {"data": items[::-1]}


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((self.path, self.headers.get("Authorization"), body))
        status, answer = self.server.answer(body)
        data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(embed.time, "sleep", lambda seconds: None)
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def of_lengths(*lengths):
    vectors = np.array([[length, 3, 4] for length in lengths], np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("base", ["", "/v1", "/v1/"])
def test_vectors_come_in_order_and_have_length_one(server, packed, base) -> None:
    server.packed = packed
    embedder = HttpEmbedder(server.url + base, "some-model", "secret")
    assert (embedder.name, embedder.dimensions) == ("some-model", 3)
    texts = ["a" * (number % 40 + 1) for number in range(600)]
    np.testing.assert_allclose(embedder.embed(texts), of_lengths(*map(len, texts)), rtol=1e-6)
    path, key, body = server.asked[-1]
    assert (path, key, body["model"]) == ("/v1/embeddings", "Bearer secret", "some-model")
    assert embedder.embed([]).shape == (0, 3)


def test_texts_that_are_too_long_are_cut_alone(server) -> None:
    server.longest = 100
    embedder = HttpEmbedder(server.url, "m")
    np.testing.assert_allclose(embedder.embed(["a" * 10, "b" * 250, "c" * 100]), of_lengths(10, 62, 100), rtol=1e-6)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_server_in_trouble_is_tried_again(server, status) -> None:
    embedder = HttpEmbedder(server.url, "m")
    server.answers = [(status, {}), (status, b"<html>")]
    np.testing.assert_allclose(embedder.embed(["abc"]), of_lengths(3), rtol=1e-6)


@pytest.mark.parametrize(
    ("status", "answer", "kind", "says"),
    [
        (400, {"error": {"message": "no such field"}}, BadRequest, "no such field"),
        (401, {"error": {"message": "bad key"}}, UpstreamError, "bad key"),
        (404, {"error": "no model"}, UpstreamError, "no model"),
        (200, {"data": []}, UpstreamError, "not embeddings"),
        (200, b"<html>", UpstreamError, "not embeddings"),
        (200, {"data": [{"index": 0, "embedding": "%%%"}]}, UpstreamError, "not embeddings"),
        (200, {"data": [{"index": 0, "embedding": [0, 0, 0]}]}, UpstreamError, "vectors"),
        (200, {"data": [{"index": 0, "embedding": [1, 2]}]}, UpstreamError, "vectors"),
        (200, {"data": [{"index": i, "embedding": [1, 2, 3]} for i in range(2)]}, UpstreamError, "vectors"),
    ],
)
def test_an_answer_that_is_no_good_is_explained(server, status, answer, kind, says) -> None:
    embedder = HttpEmbedder(server.url, "m")
    server.answers = [(status, answer)]
    with pytest.raises(kind, match=says):
        embedder.embed(["abc"])


def test_a_server_that_is_not_there_is_said(monkeypatch) -> None:
    monkeypatch.setattr(embed.time, "sleep", lambda seconds: None)
    with pytest.raises(UpstreamError, match="does not answer"):
        HttpEmbedder("http://127.0.0.1:9", "m")
    with pytest.raises(ConfigError, match="write it like http"):
        HttpEmbedder("ftp://host", "m")


def test_the_configuration_chooses(server, tmp_path, monkeypatch) -> None:
    folder = write(tmp_path / "tiny")
    own = Config(knowledge=KnowledgeConfig(embedder="tiny"), models=[ModelConfig(id="tiny", source=f"file:{folder}")])
    local = open_embedder(own)
    assert isinstance(local, LocalEmbedder)
    assert (local.name, local.dimensions, local.max_tokens) == ("tiny", 32, 48)
    assert local.embed(["a", "b"]).shape == (2, 32)
    (words,) = local.words(["a b"])
    assert (words.pieces, words.vectors.shape) == (["a", "b"], (2, 32))

    far = Config(knowledge=KnowledgeConfig(embedder=server.url, embedder_model="m", embedder_key_env="EMBED_KEY"))
    with pytest.raises(ConfigError, match="EMBED_KEY, which is not set"):
        open_embedder(far)
    monkeypatch.setenv("EMBED_KEY", "secret")
    assert isinstance(open_embedder(far), HttpEmbedder)
    assert server.asked[-1][1] == "Bearer secret"
    with pytest.raises(ConfigError, match="embedder_model"):
        open_embedder(Config(knowledge=KnowledgeConfig(embedder=server.url)))
