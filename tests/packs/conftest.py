import base64
import json
import os
import shutil
import subprocess
import time
import urllib.error
import urllib.request

import pytest

from aigrid import packs
from benchmarks.common import free_port

CREATED = "2026-01-01T00:00:00Z"


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """Checked copies and pulled packs of a test are its own."""
    cache = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    monkeypatch.setenv("DOCKER_CONFIG", str(cache / "docker"))
    return cache / "aigrid"


@pytest.fixture
def make(tmp_path):
    """Make a small pack with weights, prompts, a card and evidence; returns its folder."""

    def call(name="router", version="1.0", *, weights=b'{"w": [1, 2, 3]}', out=None, sign=True, more=None, **said):
        files = tmp_path / f"files-{name}-{version}-{len(os.listdir(tmp_path))}"
        (files / "prompts" / "deep").mkdir(parents=True)
        (files / "model.json").write_bytes(weights)
        (files / "prompts" / "ask.txt").write_text("Ask kindly.")
        (files / "prompts" / "deep" / "größe.txt").write_text("Wie groß?")
        (files / "card.md").write_text("# A router")
        manifest = packs.Manifest(
            **{
                "name": name,
                "version": version,
                "kind": "model",
                "created": CREATED,
                "licence": "Apache-2.0",
                "summary": "Sends questions where they belong.",
                "base": packs.Base("tiny", "sha256:" + "ab" * 32, "hf:somebody/tiny/tiny.gguf"),
                "runtime": {"engine": "linear", "classes": ["a", "b"]},
                "data": (packs.Data("questions", "sha256:" + "cd" * 32, "CC-BY-4.0"),),
                "evidence": (packs.Figure("accuracy", 0.9, 0.88, 0.92, 500, baseline=0.7),),
                **said,
            }
        )
        out = out or tmp_path / f"{name}-{version}"
        roles = {"weights": files / "model.json", "prompts": files / "prompts", "card": files / "card.md"}
        packs.build(manifest, roles | (more or {}), out)
        if sign:
            packs.sign(out)
        return out

    return call


class RegistryProcess:
    """A real registry; `url` is HOST:PORT."""

    def __init__(self, folder, **more):
        self.url = f"127.0.0.1:{free_port()}"
        self.folder = folder
        self.config = folder / "registry.yml"
        settings = {
            "version": "0.1",
            "log": {"level": "error", "accesslog": {"disabled": True}},
            "storage": {"filesystem": {"rootdirectory": str(folder / "data")}},
            "http": {"addr": self.url} | more.pop("http", {}),
        }
        self.config.write_text(json.dumps(settings | more))
        self.start()

    def start(self):
        environment = {**os.environ, "OTEL_TRACES_EXPORTER": "none"}
        command = [program(), "serve", str(self.config)]
        self.process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until = time.monotonic() + 60
        while time.monotonic() < until and self.process.poll() is None:
            try:
                urllib.request.urlopen(f"http://{self.url}/v2/", timeout=10).close()
                return
            except urllib.error.HTTPError as error:
                error.close()  # it wants a password, or TLS: it is there
                return
            except OSError:
                time.sleep(0.05)
        raise RuntimeError("the registry does not start")

    def stop(self):
        self.process.kill()
        self.process.wait()

    def get(self, path, accept="*/*", user=""):
        headers = {"Accept": accept}
        if user:
            headers["Authorization"] = f"Basic {base64.b64encode(user.encode()).decode()}"
        with urllib.request.urlopen(urllib.request.Request(f"http://{self.url}{path}", headers=headers)) as answer:
            return answer.read()


def program():
    return shutil.which("docker-registry") or shutil.which("registry")


@pytest.fixture(scope="session")
def registry_process(tmp_path_factory):
    """The registry that Debian's package docker-registry brings, on a port of its own."""
    if not program():
        pytest.skip("no registry to talk to: install Debian's package docker-registry")
    running = RegistryProcess(tmp_path_factory.mktemp("registry"))
    yield running
    running.stop()


@pytest.fixture
def registry_with_password(tmp_path):
    """A registry that asks for a name and a password (tom, secret)."""
    if not program():
        pytest.skip("no registry to talk to: install Debian's package docker-registry")
    passwords = tmp_path / "htpasswd"
    passwords.write_text("tom:$2b$05$NFyeUtajgEaSoF3Yz4M5t.JgiwjixxgnFhCLNgEKY/jp7LSHkkusO\n")
    running = RegistryProcess(tmp_path, auth={"htpasswd": {"realm": "here", "path": str(passwords)}})
    yield running
    running.stop()
