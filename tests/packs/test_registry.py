import asyncio
import json
import os
import shutil
import subprocess
import sys
import time

import pytest

from aigrid import packs
from aigrid.core.errors import AigridError, BadRequest, ConfigError, NotFound
from aigrid.packs import keys, oci, reference, transfer
from aigrid.packs.registry import Registry, RegistryError
from tests.packs.conftest import RegistryProcess, program
from tests.packs.cutting import Cutting


def registry(url, name, tag="", **options):
    return Registry(reference.parse(f"{url}/{name}", tag or "1.0"), plain_http=True, **options)


async def push(folder, url, name, tell=None, **options):
    async with registry(url, name, **options) as there:
        return await transfer.push(folder, there, tell)


async def pull(url, name, tell=None, **options):
    async with registry(url, name, **options) as there:
        return await transfer.pull(there, keys.trusted(), tell)


def files(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


async def test_what_is_pushed_is_pulled_byte_for_byte_with_its_signature(registry_process, make, tmp_path):
    folder = make(weights=os.urandom(100_000))
    done = await push(folder, registry_process.url, "team/whole")
    assert done.digest == packs.open(folder).digest
    assert done.skipped == 0
    pulled = await pull(registry_process.url, "team/whole")
    assert files(pulled) == files(folder)
    assert packs.verify(pulled, keys.trusted()).ok
    pack = packs.Shelf().put(pulled, move=True)
    assert packs.verify(pack.path, keys.trusted()).ok
    again = await pull(registry_process.url, f"team/whole@{done.digest}")
    assert files(again) == files(folder)


async def test_the_registry_has_a_modelpack_and_a_referrer_as_the_specs_have_them(registry_process, make):
    folder = make()
    await push(folder, registry_process.url, "team/specs")
    pack = packs.open(folder)
    image = json.loads(registry_process.get("/v2/team/specs/manifests/1.0", oci.MANIFEST_TYPE))
    assert image == json.loads(pack.derived.image)
    tag = pack.digest.replace(":", "-")  # this registry has no referrers API: the fallback of the distribution spec
    index = json.loads(registry_process.get(f"/v2/team/specs/manifests/{tag}", oci.INDEX_TYPE))
    (entry,) = index["manifests"]
    assert entry["artifactType"] == "application/vnd.dev.sigstore.bundle.v0.3+json"
    referrer = json.loads(registry_process.get(f"/v2/team/specs/manifests/{entry['digest']}", oci.MANIFEST_TYPE))
    assert referrer["subject"]["digest"] == pack.digest
    assert referrer["config"]["mediaType"] == "application/vnd.oci.empty.v1+json"
    blob = registry_process.get(f"/v2/team/specs/blobs/{referrer['layers'][0]['digest']}")
    assert blob == (folder / "pack.sig").read_bytes()


async def test_what_is_there_is_not_sent_again(registry_process, make):
    first = await push(make(weights=b"x" * 50_000), registry_process.url, "team/twice")
    again = await push(make(weights=b"x" * 50_000), registry_process.url, "team/twice")
    assert (again.sent, again.skipped) == (0, first.sent)
    other = await push(make(version="1.1", weights=b"x" * 50_000), registry_process.url, "team/twice", tag="1.1")
    assert other.skipped > 50_000
    assert other.sent < 20_000


async def test_progress_adds_up_to_the_whole(registry_process, make):
    folder = make(weights=os.urandom(300_000))
    sent, came = [], []
    done = await push(folder, registry_process.url, "team/progress", sent.append)
    await pull(registry_process.url, "team/progress", came.append)
    assert sum(sent) == done.sent
    wanted = {layer.digest: layer.size for layer in packs.open(folder).derived.layers}
    assert sum(came) == sum(wanted.values()) + len(packs.open(folder).derived.config)


async def test_a_large_upload_that_breaks_off_goes_on(registry_process, make, monkeypatch):
    monkeypatch.setattr("aigrid.packs.blobs.CHUNK", 1 << 20)
    size = 6 << 20
    folder = make(weights=os.urandom(size))
    proxy = Cutting(registry_process.url, [(2_500_000, None), (5_000_000, None)])
    try:
        sent = []
        done = await push(folder, proxy.url, "team/broken-push", sent.append)
        assert proxy.cuts == []
        assert sum(sent) == done.sent
        assert proxy.went < 2 * size  # this registry forgets an upload that was cut, and one blob alone begins anew
    finally:
        proxy.close()
    assert packs.verify(await pull(registry_process.url, "team/broken-push"), keys.trusted()).ok


async def test_a_download_that_breaks_off_goes_on(registry_process, make):
    size = 6 << 20
    folder = make(weights=os.urandom(size))
    await push(folder, registry_process.url, "team/broken-pull")
    proxy = Cutting(registry_process.url, [(None, 2_000_000), (None, 4_000_000)])
    try:
        came = []
        pulled = await pull(proxy.url, "team/broken-pull", came.append)
        assert proxy.cuts == []
        assert proxy.came < size + (2 << 20)
    finally:
        proxy.close()
    assert packs.verify(pulled, keys.trusted()).ok


PULL = """
import asyncio, sys
from aigrid.packs import keys, reference, transfer
from aigrid.packs.registry import Registry
async def go():
    async with Registry(reference.parse(sys.argv[1]), plain_http=True) as there:
        await transfer.pull(there, keys.trusted())
asyncio.run(go())
"""


def size_of(path):
    try:
        return path.stat().st_size
    except FileNotFoundError:  # it was whole, and has its name now
        return 0


async def test_a_pull_that_is_killed_goes_on_where_it_was(registry_process, make, own_cache):
    size = 48 << 20
    folder = make(weights=os.urandom(size))
    await push(folder, registry_process.url, "team/killed")
    held = Cutting(registry_process.url, [], holds_at=8 << 20)
    process = subprocess.Popen([sys.executable, "-c", PULL, f"{held.url}/team/killed:1.0"])
    try:
        while not any(size_of(path) > 1 << 20 for path in own_cache.rglob("*.part")):
            assert process.poll() is None
            time.sleep(0.01)
    finally:
        process.kill()
        process.wait()
        held.close()
    proxy = Cutting(registry_process.url, [])
    try:
        pulled = await pull(proxy.url, "team/killed")
        assert proxy.came < size - (1 << 19)
    finally:
        proxy.close()
    assert packs.verify(pulled, keys.trusted()).ok


async def test_what_a_registry_tampered_with_is_refused_and_named(registry_process, make, own_cache):
    folder = make(weights=os.urandom(50_000))
    await push(folder, registry_process.url, "team/tampered")
    digest = packs.open(folder).find("weights").digest[7:]
    (stored,) = registry_process.folder.glob(f"data/docker/registry/v2/blobs/sha256/{digest[:2]}/{digest}/data")
    content = stored.read_bytes()
    for wrong, message in ((b"x" + content[1:], "is damaged"), (content + b"more", "longer|damaged|bytes")):
        stored.write_bytes(wrong)
        with pytest.raises(AigridError, match=message) as caught:
            await pull(registry_process.url, "team/tampered")
        assert "weights/model.json" in caught.value.message
    stored.write_bytes(content)
    assert packs.verify(await pull(registry_process.url, "team/tampered"), keys.trusted()).ok


async def test_the_signature_of_a_trusted_key_is_preferred(registry_process, make, tmp_path, monkeypatch):
    folder = make()
    await push(folder, registry_process.url, "team/signed")
    home = os.environ["AIGRID_HOME"]
    for number in range(3):
        monkeypatch.setenv("AIGRID_HOME", str(tmp_path / f"stranger-{number}"))
        packs.sign(folder)
        await push(folder, registry_process.url, "team/signed")
    pulled = await pull(registry_process.url, "team/signed")  # the last stranger's
    assert packs.verify(pulled, keys.trusted()).ok
    monkeypatch.setenv("AIGRID_HOME", home)
    assert packs.verify(await pull(registry_process.url, "team/signed"), keys.trusted()).ok


async def test_an_unsigned_pack_comes_without_a_signature(registry_process, make):
    folder = make(sign=False)
    await push(folder, registry_process.url, "team/unsigned")
    report = packs.verify(await pull(registry_process.url, "team/unsigned"), keys.trusted())
    assert [problem.what for problem in report.problems] == ["unsigned"]


@pytest.mark.parametrize("edit", ["type", "layers", "digest", "size", "annotation", "none"])
async def test_foreign_and_edited_manifests_are_refused_before_anything_large_is_fetched(
    registry_process, make, own_cache, edit
):
    folder = make()
    await push(folder, registry_process.url, f"team/foreign-{edit}")
    image = json.loads(packs.open(folder).derived.image)
    own = next(layer for layer in image["layers"] if layer["annotations"]["org.cncf.model.filepath"] == "pack.json")
    if edit == "type":
        image["artifactType"] = "application/vnd.example.thing"
    elif edit == "layers":
        image["layers"] = [layer for layer in image["layers"] if layer is not own]
    elif edit == "digest":
        own["digest"] = image["layers"][0]["digest"]
        own["size"] = image["layers"][0]["size"]
    elif edit == "size":
        image["layers"][0]["size"] = 1 << 50
    elif edit == "annotation":
        image["layers"][0]["annotations"]["org.cncf.model.filepath"] = "../../x"
    async with registry(registry_process.url, f"team/foreign-{edit}", tag="evil") as there:
        try:
            await there.put_manifest("evil", oci.canonical(image), oci.MANIFEST_TYPE)
        except RegistryError:
            pytest.skip("this registry refuses such a manifest itself")
        if edit == "none":
            return
        with pytest.raises(packs.PackError):
            await transfer.pull(there, [])
    assert len([path for path in own_cache.rglob("*") if path.is_file() and path.suffix != ".lock"]) <= 1


async def test_a_registry_with_a_password(registry_with_password, make, tmp_path, monkeypatch):
    folder = make()
    url = registry_with_password.url
    with pytest.raises(RegistryError, match="login"):
        await push(folder, url, "team/locked")
    with pytest.raises(RegistryError, match="login"):
        await push(folder, url, "team/locked", credentials=("tom", "wrong"))
    monkeypatch.setenv("AIGRID_REGISTRY_PASSWORD", "secret")
    await push(folder, url, "team/locked", credentials=reference.credentials(url, "tom"))
    monkeypatch.delenv("AIGRID_REGISTRY_PASSWORD")
    with pytest.raises(ConfigError, match="AIGRID_REGISTRY_PASSWORD"):
        reference.credentials(url, "tom")
    assert reference.credentials(url) is None
    docker = tmp_path / "docker"
    docker.mkdir()
    (docker / "config.json").write_text(json.dumps({"auths": {url: {"auth": "dG9tOnNlY3JldA=="}}}))
    monkeypatch.setenv("DOCKER_CONFIG", str(docker))
    pulled = await pull(url, "team/locked", credentials=reference.credentials(url))
    assert packs.verify(pulled, keys.trusted()).ok


async def test_tls_with_a_certificate_that_the_environment_names(make, tmp_path, monkeypatch):
    if not program():
        pytest.skip("no registry to talk to: install Debian's package docker-registry")
    pem, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost"
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(pem), "-out", str(cert)]
    subprocess.run([*command.split(), *names], check=True, capture_output=True)
    running = RegistryProcess(tmp_path, http={"tls": {"certificate": str(cert), "key": str(pem)}})
    place = reference.parse(f"{running.url}/team/tls:1.0")
    monkeypatch.setattr("aigrid.packs.registry.TRIES", 1)
    try:
        async with Registry(place) as registry:
            with pytest.raises(RegistryError, match="certificate"):
                await transfer.push(make(), registry)
        monkeypatch.setenv("SSL_CERT_FILE", str(cert))
        async with Registry(place) as registry:
            await transfer.push(make(version="1.1"), registry)
            assert packs.verify(await transfer.pull(registry, keys.trusted()), keys.trusted()).ok
    finally:
        running.stop()


async def test_what_is_not_there_and_who_is_not_there(registry_process, make, monkeypatch):
    with pytest.raises(NotFound, match="no such pack"):
        await pull(registry_process.url, "team/nothing")
    await push(make(), registry_process.url, "team/something")
    with pytest.raises(NotFound, match=r"there are: 1\.0$"):
        await pull(registry_process.url, "team/something", tag="2.0")
    monkeypatch.setattr("aigrid.packs.registry.TRIES", 1)
    with pytest.raises(RegistryError, match="127"):
        await pull("127.0.0.1:9", "team/nothing")


async def test_a_damaged_pack_is_not_sent(registry_process, make):
    folder = make()
    (folder / "blobs/sha256" / packs.open(folder).find("weights").digest[7:]).write_bytes(b"x")
    with pytest.raises(packs.PackError, match=r"weights/model\.json"):
        await push(folder, registry_process.url, "team/damaged")
    with pytest.raises(NotFound):
        await pull(registry_process.url, "team/damaged")


async def test_two_pulls_of_one_pack_at_once(registry_process, make):
    folder = make(weights=os.urandom(2 << 20))
    await push(folder, registry_process.url, "team/both")
    command = [sys.executable, "-c", PULL, f"{registry_process.url}/team/both:1.0"]
    both = [await asyncio.create_subprocess_exec(*command) for _ in range(2)]
    assert [await process.wait() for process in both] == [0, 0]
    assert packs.verify(await pull(registry_process.url, "team/both"), keys.trusted()).ok


@pytest.mark.parametrize(
    "text",
    ["router", "router:1.0", "host.example/", "host.example/Router", "host.example/a:b:c", "http://host/x", "h.e/x@sha256:1",
     "host.example/../x", "h.e/x y", ""],
)  # fmt: skip
def test_what_is_no_place_in_a_registry(text):
    with pytest.raises(BadRequest, match="place in a registry"):
        reference.parse(text, "1.0")


def test_places_in_registries():
    digest = "sha256:" + "0" * 64
    assert str(reference.parse("localhost:5000/x", "1")) == "localhost:5000/x:1"
    assert str(reference.parse("ghcr.io/a/b/c-d:1.0")) == "ghcr.io/a/b/c-d:1.0"
    assert str(reference.parse(f"[::1]:5000/x@{digest}")) == f"[::1]:5000/x@{digest}"
    assert reference.parse(f"r.io/x:1@{digest}").version == digest


def test_skopeo_copies_a_pack_from_its_folder_to_a_registry_and_back(registry_process, make, tmp_path):
    if not shutil.which("skopeo"):
        pytest.skip("no skopeo here: install Debian's package skopeo to check against another client")
    folder = make(weights=os.urandom(10_000), sign=False)
    place = f"docker://{registry_process.url}/team/skopeo:1.0"
    copy = ["skopeo", "--insecure-policy", "copy", "-q", "--preserve-digests"]
    subprocess.run([*copy, "--dest-tls-verify=false", f"oci:{folder}:1.0", place], check=True)
    subprocess.run([*copy, "--src-tls-verify=false", place, f"oci:{tmp_path / 'back'}:1.0"], check=True)
    pulled = asyncio.run(pull(registry_process.url, "team/skopeo"))
    assert files(pulled) == files(folder)
    assert (
        files(tmp_path / "back").items() >= {k: v for k, v in files(folder).items() if k.startswith("blobs/")}.items()
    )
