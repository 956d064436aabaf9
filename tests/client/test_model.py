"""aigrid.client: a program asks a model through a real factory, and is told in words what is wrong."""

import argparse
import http.server
import json
import threading
from collections.abc import Iterator

import pytest

from aigrid.client.http import RemoteError
from aigrid.client.model import Model, add_options, chosen, factory
from aigrid.core.errors import AigridError, Unavailable, UpstreamError

HELLO = [{"role": "user", "content": "Say hello."}]


def test_a_factory_runs_while_the_block_does_and_its_model_answers() -> None:
    with factory(engine="echo") as model:
        assert "hello" in model.say(HELLO).lower()
        assert (model.calls, model.name) == (1, "echo")
        assert model.tokens > 0
        with pytest.raises(RemoteError, match="no-such-model"):
            Model(f"{model.url}/v1", model.key, "no-such-model").say(HELLO)
        with pytest.raises(AigridError, match="key"):
            Model(model.url, "wrong").say(HELLO)
    with pytest.raises(AigridError, match="nothing answers"):
        model.say(HELLO)


def test_a_factory_that_does_not_start_says_why() -> None:
    with pytest.raises(Unavailable, match="did not start"), factory("no-such-model"):
        pytest.fail("it started")


@pytest.fixture
def server() -> Iterator[tuple[str, list[object]]]:
    """A server that answers with what the test puts into the list."""
    answers: list[object] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            body = json.dumps(answers.pop(0)).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=running.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{running.server_port}", answers
    running.shutdown()
    thread.join()
    running.server_close()


def test_what_a_model_fills_in_is_an_object_or_an_error(server: tuple[str, list[object]]) -> None:
    url, answers = server
    model = Model(url, name="m")

    def called(arguments: str) -> dict[str, object]:
        call = {"function": {"name": "f", "arguments": arguments}}
        return {"choices": [{"message": {"tool_calls": [call]}}], "usage": {"total_tokens": 7}}

    answers += [called('{"a": 1}'), called('{"a": '), called("[1]"), {"choices": [{"message": {}}]}, {"no": 1}]
    assert model.fill(HELLO, "f", "?", {"type": "object"}) == {"a": 1}
    for why in ("no whole call", "with list", "no whole call", "no chat completion"):
        with pytest.raises(UpstreamError, match=why):
            model.fill(HELLO, "f", "?", {"type": "object"})
    assert (model.calls, model.tokens) == (4, 21)


def test_a_programs_options_name_the_server(server: tuple[str, list[object]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    parser = argparse.ArgumentParser()
    add_options(parser)
    with chosen(parser.parse_args(["--url", server[0], "--model", "m"])) as model:
        assert (model.url, model.key, model.name) == (server[0], "k", "m")
