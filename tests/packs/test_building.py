import json
import os
import shutil
import stat

import pytest

from aigrid import packs
from aigrid.core.errors import BadRequest, Conflict, NotFound
from aigrid.packs.manifest import digest_of

MEDIA = "application/vnd.cncf.model."


def files(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_same_inputs_give_the_same_bytes_whenever_and_wherever(make, tmp_path, monkeypatch):
    one = make(sign=False, out=tmp_path / "one")
    for path in tmp_path.rglob("*"):
        os.utime(path, (1, 1))
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    os.umask(umask := os.umask(0o077))
    os.umask(0o077)
    try:
        two = make(sign=False, out=tmp_path / "deep" / "two")
    finally:
        os.umask(umask)
    assert files(one) == files(two)
    assert {stat.S_IMODE(path.stat().st_mode) for path in two.rglob("*") if path.is_file()} == {0o644}
    assert not list(tmp_path.rglob("*.part"))


def test_it_is_an_oci_layout_as_the_image_spec_has_it(make):
    folder = make(sign=False)
    found = files(folder)
    assert json.loads(found.pop("oci-layout")) == {"imageLayoutVersion": "1.0.0"}
    index = json.loads(found.pop("index.json"))
    assert index["schemaVersion"] == 2
    (entry,) = index["manifests"]
    assert entry["annotations"] == {"org.opencontainers.image.ref.name": "1.0"}
    image = json.loads(found[f"blobs/sha256/{entry['digest'][7:]}"])
    assert (image["schemaVersion"], image["mediaType"]) == (2, entry["mediaType"])
    blobs = {entry["digest"]: entry["size"], image["config"]["digest"]: image["config"]["size"]}
    blobs |= {layer["digest"]: layer["size"] for layer in image["layers"]}
    assert {f"blobs/sha256/{digest[7:]}": size for digest, size in blobs.items()} == {
        name: len(data) for name, data in found.items()
    }
    assert all(digest_of(data)[7:] == name.rpartition("/")[2] for name, data in found.items())


def test_it_is_a_modelpack_as_its_spec_has_it(make):
    folder = make(sign=False)
    entry = json.loads((folder / "index.json").read_bytes())["manifests"][0]
    image = json.loads((folder / "blobs/sha256" / entry["digest"][7:]).read_bytes())
    assert image["artifactType"] == MEDIA + "manifest.v1+json"
    assert image["config"]["mediaType"] == MEDIA + "config.v1+json"
    types = {layer["annotations"]["org.cncf.model.filepath"]: layer["mediaType"] for layer in image["layers"]}
    assert types == {
        "README.md": MEDIA + "doc.v1.raw",
        "pack.json": MEDIA + "weight.config.v1.raw",
        "prompts/ask.txt": MEDIA + "code.v1.raw",
        "prompts/deep/größe.txt": MEDIA + "code.v1.raw",
        "weights/model.json": MEDIA + "weight.v1.raw",
    }
    for layer in image["layers"]:
        about = json.loads(layer["annotations"]["org.cncf.model.file.metadata+json"])
        assert set(about) == {"name", "mode", "uid", "gid", "size", "mtime", "typeflag"}
        assert about["size"] == layer["size"]
        titles = (layer["annotations"][f"org.{name}"] for name in ("opencontainers.image.title", "cncf.model.filepath"))
        assert len(set(titles)) == 1
    config = json.loads((folder / "blobs/sha256" / image["config"]["digest"][7:]).read_bytes())
    assert set(config) == {"descriptor", "config", "modelfs"}
    assert set(config["descriptor"]) <= {"createdAt", "name", "version", "title", "description", "licenses", "family"}
    assert config["config"] == {"format": "json"}
    assert config["modelfs"] == {"type": "layers", "diffIds": [layer["digest"] for layer in image["layers"]]}


def test_what_went_in_comes_out(make, tmp_path):
    pack = packs.open(make())
    assert pack.read("weights") == b'{"w": [1, 2, 3]}'
    assert pack.file("weights").name == "model.json"
    assert pack.file("weights").read_bytes() == b'{"w": [1, 2, 3]}'
    assert pack.file("prompts/deep/größe.txt").read_text() == "Wie groß?"
    assert pack.manifest.base.source == "hf:somebody/tiny/tiny.gguf"
    assert pack.manifest.runtime == {"engine": "linear", "classes": ["a", "b"]}
    pack.unpack(tmp_path / "all")
    assert set(files(tmp_path / "all")) == {file.path for file in pack.manifest.files} | {"pack.json"}
    with pytest.raises(packs.PackError, match="there already"):
        pack.unpack(tmp_path / "all")


def test_asking_for_what_is_not_there_says_what_is(make):
    pack = packs.open(make())
    with pytest.raises(NotFound, match=r"no `adapter`.*weights/model\.json"):
        pack.file("adapter")
    with pytest.raises(NotFound, match="2 files for `prompts`"):
        pack.file("prompts")
    assert pack.has("weights")
    assert not pack.has("grammar")


def test_files_with_the_same_content_and_empty_ones(make, tmp_path):
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "copy.json").write_bytes(b'{"w": [1, 2, 3]}')
    pack = packs.open(make(more={"config/none": tmp_path / "empty", "config": tmp_path / "copy.json"}))
    assert pack.read("config/none") == b""
    assert pack.file("config/none").read_bytes() == b""
    assert pack.file("config/copy.json").name == "copy.json"
    assert pack.file("weights").read_bytes() == pack.file("config/copy.json").read_bytes()
    assert packs.verify(pack.path, []).whole


def test_what_cannot_be_in_a_pack_is_refused(make, tmp_path):
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "out").symlink_to("/etc/passwd")
    with pytest.raises(BadRequest, match="is a link"):
        make(out=tmp_path / "a", more={"tools": tmp_path / "links"})
    with pytest.raises(BadRequest, match="no such file"):
        make(out=tmp_path / "b", more={"tools": tmp_path / "nothing"})
    with pytest.raises(BadRequest, match="no role `soul`"):
        make(out=tmp_path / "c", more={"soul": tmp_path / "links"})
    with pytest.raises(BadRequest, match=r"\.\."):
        make(out=tmp_path / "d", more={"tools/../../x": tmp_path / "router"})
    assert not {"a", "b", "c", "d"} & set(os.listdir(tmp_path))


def test_another_pack_is_not_overwritten(make, tmp_path):
    folder = make(sign=False)
    make(out=folder, sign=False)
    with pytest.raises(Conflict, match="another pack"):
        make(version="2.0", out=folder)
    assert packs.open(folder).manifest.version == "1.0"


def test_what_is_no_pack_is_told_so(tmp_path, make):
    with pytest.raises(NotFound):
        packs.open(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(packs.PackError, match="oci-layout"):
        packs.open(tmp_path / "empty")
    folder = make()
    shutil.rmtree(folder / "blobs")
    with pytest.raises(packs.PackError):
        packs.open(folder)
