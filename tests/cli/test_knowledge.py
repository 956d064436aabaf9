"""`aigrid knowledge` as it is typed, with and without a factory; an echo embeds, so that no model is needed."""

import http.client
import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from urllib.parse import urlsplit

import pytest

from benchmarks import servers

AIGRID = [sys.executable, "-m", "aigrid.cli"]
ECHO = ("--engine", "echo", "--no-console")


@pytest.fixture(scope="module")
def embedder():
    """The settings that let an echo embed."""
    with servers.echo(on=set(os.sched_getaffinity(0))) as echo:
        yield {"AIGRID_KNOWLEDGE_EMBEDDER": echo.url, "AIGRID_KNOWLEDGE_EMBEDDER_MODEL": "echo"}


@pytest.fixture
def known(embedder, monkeypatch):
    for name, value in embedder.items():
        monkeypatch.setenv(name, value)
    return embedder


class Held(http.server.ThreadingHTTPServer):
    """Passes requests on to the echo; while it is to `hold`, not before they may `go` on."""

    daemon_threads = True

    def __init__(self, to):
        super().__init__(("127.0.0.1", 0), HeldRequest)
        self.to = to
        self.hold = False
        self.holds, self.go = threading.Event(), threading.Event()


class HeldRequest(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.server.hold:
            self.server.holds.set()
            self.server.go.wait(60)
        headers = {"content-type": "application/json"}
        with urllib.request.urlopen(urllib.request.Request(self.server.to + self.path, body, headers)) as answer:
            data = answer.read()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@pytest.fixture
def held(known, monkeypatch):
    """A server of embeddings that can be held up, in the place of the other."""
    with Held(known["AIGRID_KNOWLEDGE_EMBEDDER"]) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        monkeypatch.setenv("AIGRID_KNOWLEDGE_EMBEDDER", f"http://127.0.0.1:{server.server_port}")
        yield server
        server.go.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def docs(tmp_path):
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "canteen.md").write_text("# Canteen\n\nThe canteen opens at half past eleven and closes at two.\n")
    (folder / "parking.txt").write_text("Visitors park behind the building, next to the old oak.\n")
    (folder / "logo.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(40))
    return folder


def test_a_folder_is_added_searched_listed_counted_and_removed(aigrid, known, docs):
    added = aigrid("knowledge", "add", str(docs), "--json").json
    assert added["added"] == 2
    assert "PNG" in added["skipped"][0]["reason"]
    hits = aigrid("knowledge", "search", "when does the canteen open", "--json").json["data"]
    assert hits[0]["path"] == str(docs / "canteen.md")
    assert hits[0]["line"] >= 1
    stats = aigrid("knowledge", "stats", "--json").json
    assert (stats["sources"], stats["skipped"]) == (2, 1)
    assert stats["roots"] == {str(docs): ["*"]}
    skipped = aigrid("knowledge", "sources", "--skipped", "--json").json["sources"]
    assert [row["path"] for row in skipped] == [str(docs / "logo.png")]
    assert aigrid("knowledge", "rm", str(docs), "--json").json["removed"] == 3
    assert aigrid("knowledge", "stats", "--json").json["sources"] == 0


def test_people_read_places_and_reasons(aigrid, known, docs):
    added = aigrid("knowledge", "add", str(docs))
    assert added.out.startswith("2 added, 1 skipped; ")
    assert f"skipped: {docs}/logo.png: it is a PNG image" in added.out
    found = aigrid("knowledge", "search", "canteen")
    assert found.out.startswith(f"1. {docs}/canteen.md, line")
    assert "half past eleven" in found.out
    assert f"added: {docs} (readers: *)" in aigrid("knowledge", "stats").out
    assert "unchanged" in aigrid("knowledge", "add", str(docs)).out


def test_acts_are_in_the_audit_log(aigrid, known, docs):
    from aigrid.cli.books import with_books

    aigrid("knowledge", "add", str(docs), "--reader", "acme", "--json")
    aigrid("knowledge", "rm", str(docs / "parking.txt"), "--json")
    acts = with_books(lambda ledger: ledger.audit_log(10))
    assert [(entry.act, entry.actor) for entry in acts[:2]] == [
        ("knowledge.remove", "command line"),
        ("knowledge.add", "command line"),
    ]
    assert "readers=acme" in acts[1].detail


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("add", "/nowhere"), "no file or folder /nowhere"),
        (("rm", "/nowhere"), "is no source and was never added"),
        (("ask", "anything"), "start the factory with `aigrid up`"),
        (("add",), "Missing argument"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(aigrid, known, args, said):
    result = aigrid("knowledge", *args)
    assert result.code in (1, 2)
    assert said in result.err
    assert result.err.count("\n") == 1


def test_an_embedder_that_is_another_one_is_refused(aigrid, known, docs, monkeypatch):
    aigrid("knowledge", "add", str(docs))
    folder = os.path.join(os.environ["AIGRID_HOME"], "knowledge", "embedder.json")
    with open(folder, "w") as file:
        json.dump({"name": "another", "dimensions": 3}, file)
    (docs / "new.txt").write_text("Something new.")
    result = aigrid("knowledge", "add", str(docs))
    assert result.code == 1, result.out + result.err
    assert "was embedded by another" in result.err


def test_ctrl_c_stops_without_loss(known, tmp_path, monkeypatch):
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(3000):
        (folder / f"{number}.txt").write_text(f"File number {number} says {number * 7}.")
    for home in "abcde":  # all may be there before a slow machine has sent the signal
        monkeypatch.setenv("AIGRID_HOME", str(tmp_path / home))
        process = subprocess.Popen(
            [*AIGRID, "knowledge", "add", str(folder), "--json"], stdout=-1, stderr=-1, text=True
        )
        manifest = tmp_path / home / "knowledge" / "lance" / "sources.lance"
        until = time.monotonic() + 120
        while not manifest.exists():
            assert time.monotonic() < until
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
        assert "Traceback" not in err
        assert process.returncode == 0
        report = json.loads(out)
        if report["stopped"] and report["added"] < 3000:
            break
    assert report["stopped"]
    assert 0 < report["added"] < 3000
    again = subprocess.run([*AIGRID, "knowledge", "add", str(folder), "--json"], capture_output=True, text=True)
    rest = json.loads(again.stdout)
    assert rest["added"] + report["added"] == 3000
    assert rest["unchanged"] == report["added"]


def test_watching_takes_in_changes_and_ends_with_ctrl_c(known, docs):
    process = subprocess.Popen(
        [*AIGRID, "knowledge", "watch", str(docs), "--every", "0.1", "--json"], stdout=-1, text=True
    )
    try:
        assert json.loads(process.stdout.readline())["added"] == 2
        (docs / "new.txt").write_text("A new file.")
        assert json.loads(process.stdout.readline())["added"] == 1
        (docs / "parking.txt").unlink()
        assert json.loads(process.stdout.readline())["removed"] == 1
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0


def call(factory, method, path, body=None):
    connection = http.client.HTTPConnection(urlsplit(factory.url).netloc, timeout=60)
    data = None if body is None else json.dumps(body)
    connection.request(method, path, data, {"content-type": "application/json"})
    response = connection.getresponse()
    return response.status, json.loads(response.read())


def finished(factory):
    until = time.monotonic() + 60
    while (job := call(factory, "GET", "/admin/knowledge/job")[1]["job"])["state"] == "running":
        assert time.monotonic() < until
        time.sleep(0.05)
    return job


def test_up_reads_documents_asks_them_and_says_what_it_cost(up, embedder, docs):
    factory = up(*ECHO, "--docs", str(docs), "--ask", "When does the canteen open?", **embedder)
    assert factory.printed["added"]["added"] == 2
    answer = factory.printed["ask"]
    assert answer["text"]
    assert answer["known"] in (True, False)
    for citation in answer["citations"] + answer["nearest"]:
        assert citation["quote"] in (docs / "canteen.md").read_text() + (docs / "parking.txt").read_text()
    assert answer["cost_nusd"] > 0
    assert answer["records"]
    assert answer["energy_source"]


def test_administrators_add_and_remove_over_http_while_it_serves(up, aigrid, held, docs):
    factory = up(*ECHO)
    held.hold = True
    status, began = call(factory, "POST", "/admin/knowledge/sources", {"targets": [str(docs)], "readers": ["default"]})
    assert (status, began["job"]["state"]) == (202, "running")
    assert call(factory, "POST", "/admin/knowledge/sources", {"targets": [str(docs)]})[0] == 409
    held.go.set()
    job = finished(factory)
    assert (job["state"], job["report"]["added"]) == ("done", 2)
    hits = aigrid(
        "knowledge", "search", "canteen", "--url", factory.url, "--key", factory.printed["key"], "--json"
    ).json
    assert hits["data"][0]["path"] == str(docs / "canteen.md")
    (docs / "more.txt").write_text("The kitchen is behind the canteen.")
    assert aigrid("knowledge", "add", str(docs), "--json").json["added"] == 1
    hits = aigrid("knowledge", "search", "kitchen", "--json").json["data"]
    assert hits[0]["path"] == str(docs / "more.txt"), "what another process wrote is found at once"
    status, removed = call(factory, "DELETE", f"/admin/knowledge/sources/{hits[0]['source_id']}")
    assert (status, removed["removed"]) == (200, 1)
    left = aigrid("knowledge", "search", "kitchen", "--json").json["data"]
    assert str(docs / "more.txt") not in {hit["path"] for hit in left}
    call(factory, "POST", "/admin/knowledge/sources", {})
    assert finished(factory)["report"]["added"] == 0, "what was taken out stays out"
    for bad in ({"targets": ["relative/path"]}, {"targets": [""]}, {"readers": []}, {"what": 1}):
        assert call(factory, "POST", "/admin/knowledge/sources", bad)[0] == 400
    call(factory, "POST", "/admin/knowledge/sources", {"targets": ["/nowhere"]})
    assert "no file or folder" in finished(factory)["error"]["message"]
    assert factory.stop().code == 0
