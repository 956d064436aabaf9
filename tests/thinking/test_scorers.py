"""Scorers on real code in the real sandbox, and a reward model that is a real server."""

import asyncio
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from fakes_thinking import ScriptedModels, request

from aigrid.core.errors import UpstreamError
from aigrid.thinking.base import Candidate
from aigrid.thinking.budget import Budget
from aigrid.thinking.scorers.exact import Program, UnitTests
from aigrid.thinking.scorers.reward import Reward
from aigrid.thinking.scorers.shape import Regex, Schema
from aigrid.thinking.search import Search

linux = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox needs Landlock and seccomp")


def score(scorer, text, answer=""):
    search = Search("test", request("What is 6 times 7?"), Budget(), ScriptedModels(lambda *_: ""))
    return asyncio.run(scorer.score(search, Candidate(1, text=text, answer=answer)))


@linux
def test_a_program_judges_in_the_sandbox():
    program = Program("def score(text, answer):\n    return answer == '42'")
    assert score(program, "it's 42", "42") == (1.0, "")
    assert score(program, "41", "41")[0] == 0.0
    value, why = score(Program("def score(text, answer):\n    return open('/etc/passwd').read()"), "x")
    assert value == 0.0
    assert "Error" in why


@linux
def test_unit_tests_count_what_passes():
    tests = UnitTests(["double(2) == 4", "assert double(0) == 0", "double('a') == 'aa'", "double(1) == 3"])
    value, why = score(tests, "Here:\n```python\ndef double(x):\n    return x + x\n```")
    assert (value, why) == (0.75, "3 of 4 tests pass")
    assert score(tests, "def double(x): return")[0] < 0.5
    assert score(tests, "no code at all (")[0] == 0.0


def test_form_is_judged_by_schema_and_pattern():
    schema = Schema({"type": "object", "required": ["a"], "properties": {"a": {"type": "integer"}}})
    assert score(schema, '{"a": 1}') == (1.0, "")
    assert score(schema, '{"a": "x"}')[0] == 0.0
    assert score(schema, "none")[1].startswith("it is not JSON")
    assert score(Regex(r"^\d+$"), "42")[0] == 1.0
    assert score(Regex(r"^\d+$"), "x")[0] == 0.0


def test_a_reward_model_is_asked_like_vllm_serves_it():
    asked = []

    class Server(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            asked.append((self.path, self.headers["authorization"], body))
            good = "42" in body["text_2"]
            data = json.dumps({"data": [{"index": 0, "score": 0.75}]} if good else {"data": []}).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        url = f"http://127.0.0.1:{server.server_port}"
        assert score(Reward(url, "rm", "secret"), "42") == (0.75, "")
        path, key, body = asked[0]
        assert (path, key) == ("/v1/score", "Bearer secret")
        assert body == {"model": "rm", "text_1": "What is 6 times 7?", "text_2": "42"}
        with pytest.raises(UpstreamError, match="no score"):
            score(Reward(url), "x")
    finally:
        server.shutdown()
        server.server_close()
