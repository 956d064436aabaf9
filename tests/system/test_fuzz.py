"""Bad input of any kind gets a 4xx that says what is wrong; no input gets a 5xx; neither costs anything."""

import http.client
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest

from benchmarks.common import Factory, factory

HERE = Path(__file__).parent
CHECKS = ",".join(
    [
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_headers_conformance",
        "response_schema_conformance",
        "unsupported_method",
        "allow_header_conformance",
        "ignored_auth",
    ]
)
CHAT = {"model": "echo", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 1}


AGENT = "name: parrot\ninstructions: Say it again.\nmodel: echo\nmemory: {}\n"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Factory]:
    home = tmp_path_factory.mktemp("factory")
    (home / "agents").mkdir()
    (home / "agents" / "parrot.yaml").write_text(AGENT)
    with factory("--engine", "echo", env={"AIGRID_GATEWAY_MAX_BODY_MB": "1"}, home=home) as found:
        yield found


def settled(running: Factory) -> dict[str, Any]:
    """Return the totals once nothing more comes of earlier requests."""
    before, now = None, totals(running)
    while now != before:
        before, now = now, totals(running)
    return now


def totals(running: Factory) -> dict[str, Any]:
    return {
        name: value
        for name, value in running.run("ledger")["totals"].items()
        if name in ("requests", "tokens", "revenue_nusd")
    }


def schemathesis(running: Factory, folder: Path, *options: str, repair: bool = False) -> None:
    """Run it against the published document; fails with its report where it finds something.

    What it tries is settled by the seed: nothing is kept from other runs, or depends on how quick the machine is.
    """
    env = {**os.environ, "SCHEMATHESIS_HOOKS": "fuzz_hooks", "PYTHONPATH": str(HERE), "NO_COLOR": "1"}
    env["PYTHONHASHSEED"] = "0"
    if repair:
        env["FUZZ_REPAIR"] = "1"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "run", f"{running.url}/openapi.json"),
            *("--header", f"Authorization: Bearer {running.key}", "--request-timeout", "120"),
            *("--seed", "1", "--warnings", "off", "--suppress-health-check", "all", "--generation-database", "none"),
            *options,
        ],
        env=env, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=1800,
    )  # fmt: skip
    report = "\n".join(line[:400] for line in done.stdout.splitlines())  # bodies may be long
    assert done.returncode == 0, report[-6000:]


@pytest.mark.slow
@pytest.mark.xdist_group("fuzz")
def test_no_request_near_the_schema_makes_a_server_error(running: Factory, tmp_path: Path) -> None:
    options = ["--checks", f"{CHECKS},negative_data_rejection", "--phases", "coverage,fuzzing", "--max-examples", "25"]
    schemathesis(running, tmp_path, *options)


@pytest.mark.slow
@pytest.mark.xdist_group("fuzz")
def test_no_good_request_makes_a_server_error(running: Factory, tmp_path: Path) -> None:
    before = totals(running)["requests"]
    options = ["--checks", CHECKS, "--phases", "fuzzing", "--mode", "positive", "--max-examples", "25"]
    schemathesis(running, tmp_path, *options, repair=True)
    assert totals(running)["requests"] > before + 50, "the requests must reach the engine"


@pytest.mark.xdist_group("fuzz")
def test_every_endpoint_of_agents_is_in_the_published_document(running: Factory) -> None:
    place = urlsplit(running.url)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=120)
    connection.request("GET", "/openapi.json")
    document = json.loads(connection.getresponse().read())
    connection.close()
    served = {(path.replace("*", "{id}"), method.lower()) for method, path in agents_routes()}
    said = {(path, method) for path, methods in document["paths"].items() for method in methods}
    assert served <= said


def agents_routes() -> set[tuple[str, str]]:
    """Return (method, path) of what the agents serve to whoever has a key; administration is in no published document."""
    from aigrid.agents.a2a import A2a
    from aigrid.agents.api import Api
    from aigrid.agents.api_memory import MemoryApi

    gateway: Any = SimpleNamespace(ledger=None)
    routes = {**Api(gateway, None).routes(), **MemoryApi(gateway).routes(), **A2a(gateway, None).routes()}  # type: ignore[arg-type]
    return {(method, path) for method, path in routes if not path.startswith("/admin/")}


def send(running: Factory, data: bytes, headers: dict[str, str], path: str = "/v1/chat/completions") -> tuple[int, Any]:
    place = urlsplit(running.url)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=120)
    try:
        connection.request("POST", path, data, {"authorization": f"Bearer {running.key}", **headers})
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def with_field(**fields: Any) -> bytes:
    return json.dumps({**CHAT, **fields}).encode()


BAD: dict[str, tuple[bytes, int, str | None]] = {
    "empty": (b"", 400, None),
    "truncated": (b'{"model": "echo", "messages": [{"role"', 400, None),
    "array": (b"[]", 400, None),
    "invalid UTF-8": (b'{"model": "\xff\xfe"}', 400, None),
    "lone surrogate": (b'{"model": "\\ud800"}', 400, None),
    "NaN": (b'{"model": "echo", "temperature": NaN}', 400, None),
    "infinite number": (b'{"model": "echo", "temperature": 1e999}', 400, None),
    "a million brackets": (b"[" * 1_000_000, 400, None),
    "deep nesting": (b'{"a":' * 500 + b"1" + b"}" * 500, 400, None),
    "a form": (b"model=echo&messages=hi", 400, None),
    "too large": (b'{"model": "' + b"x" * (1 << 20) + b'"}', 413, None),
    "no model": (b"{}", 400, "model"),
    "huge integer": (with_field(max_tokens=10**40), 400, "max_tokens"),
    "huge seed": (with_field(seed=-(10**40)), 400, "seed"),
    "wrong type": (with_field(messages={"role": "user"}), 400, "messages"),
    "no messages": (with_field(messages=[]), 400, "messages"),
    "wrong role": (with_field(messages=[{"role": "robot", "content": ""}]), 400, "messages[0].role"),
    "temperature": (with_field(temperature=2.01), 400, "temperature"),
    "too many stops": (with_field(stop=["a"] * 5), 400, "stop"),
    "too many answers": (with_field(n=10_000), 400, "n"),
    "unknown model": (with_field(model="no-such"), 404, "model"),
}


@pytest.mark.xdist_group("fuzz")
def test_bad_input_is_refused_by_name_and_nothing_is_charged(running: Factory) -> None:
    before = settled(running)
    for name, (data, status, param) in BAD.items():
        for kind in ("application/json", "text/plain", "application/x-www-form-urlencoded"):
            got, answer = send(running, data, {"content-type": kind})
            assert got == status, (name, kind, answer)
            assert answer["error"]["message"], name
            assert answer["error"]["param"] == param, (name, answer)
    assert totals(running) == before


@pytest.mark.xdist_group("fuzz")
def test_bad_input_in_anthropics_shape_is_refused_in_that_shape(running: Factory) -> None:
    before = settled(running)
    for path in ("/v1/messages", "/v1/messages/count_tokens"):
        for data, status in ((b"{", 400), (b"[" * 1_000_000, 400), (b'{"model": "echo", "messages": []}', 400)):
            got, answer = send(running, data, {}, path)
            assert (got, answer["type"]) == (status, "error")
            assert answer["error"]["type"] == "invalid_request_error"
    assert totals(running) == before


@pytest.mark.xdist_group("fuzz")
def test_a_body_of_unknown_length_is_held_to_the_same_limit(running: Factory) -> None:
    before = settled(running)
    place = urlsplit(running.url)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=120)
    connection.putrequest("POST", "/v1/chat/completions")
    connection.putheader("authorization", f"Bearer {running.key}")
    connection.putheader("transfer-encoding", "chunked")
    connection.endheaders()
    try:
        for _ in range(40):
            connection.send(b"10000\r\n" + b" " * 0x10000 + b"\r\n")
        connection.send(b"0\r\n\r\n")
    except OSError:
        pass  # the gateway answered and hung up before it was sent all
    assert connection.getresponse().status == 413
    connection.close()
    assert totals(running) == before


@pytest.mark.xdist_group("fuzz")
def test_a_body_without_a_length_is_no_body(running: Factory) -> None:
    place = urlsplit(running.url)
    connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=120)
    connection.putrequest("POST", "/v1/chat/completions")
    connection.putheader("authorization", f"Bearer {running.key}")
    connection.endheaders()
    response = connection.getresponse()
    assert (response.status, json.loads(response.read())["error"]["code"]) == (400, "invalid_json")
    connection.close()


@pytest.mark.xdist_group("fuzz")
def test_a_key_is_asked_for_before_the_body_is_read(running: Factory) -> None:
    for headers in ({"authorization": ""}, {"authorization": "Bearer sk-wrong"}, {"authorization": "Basic x"}):
        got, answer = send(running, b"{", headers)
        assert (got, answer["error"]["type"]) == (401, "invalid_request_error")
