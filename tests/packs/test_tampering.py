import base64
import json
import os
import shutil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aigrid import packs
from aigrid.packs import keys, oci, signing
from aigrid.packs.manifest import digest_of


@pytest.fixture
def signed(make):
    return make()


def problems(folder):
    return {(problem.what, problem.name) for problem in packs.verify(folder, keys.trusted()).problems}


def blob(folder, name):
    return folder / "blobs/sha256" / packs.open(folder).find(name).digest[7:]


@settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(st.data())
def test_any_flipped_bit_anywhere_is_found_and_named(signed, data):
    files = sorted(path for path in signed.rglob("*") if path.is_file())
    path = data.draw(st.sampled_from(files))
    before = path.read_bytes()
    at = data.draw(st.integers(0, len(before) - 1))
    path.write_bytes(before[:at] + bytes([before[at] ^ (1 << data.draw(st.integers(0, 7)))]) + before[at + 1 :])
    try:
        report = packs.verify(signed, keys.trusted())
        named = {problem.file for problem in report.problems}
        assert path.relative_to(signed).as_posix() in named
    finally:
        path.write_bytes(before)
    assert packs.verify(signed, keys.trusted()).ok


def test_every_byte_of_a_signature_matters(signed):
    before = (signed / "pack.sig").read_bytes()
    trusted = keys.trusted()

    def counts(data):
        try:
            signature = signing.parse(data)
        except packs.PackError:
            return False
        key = signature.key(trusted)
        return key is not None and key.verifies(signature.value, signature.message)

    assert counts(before)
    for at in range(len(before)):
        for other in {before[at] ^ 1, before[at] ^ 0x20, before[at] ^ 0x80, ord(" ")} - {before[at]}:
            assert not counts(before[:at] + bytes([other]) + before[at + 1 :]), (at, before[at], other)


def test_a_changed_a_truncated_and_a_missing_file_are_named(signed):
    weights = blob(signed, "weights")
    content = weights.read_bytes()
    weights.write_bytes(content.replace(b"1", b"7"))
    assert problems(signed) == {("changed", "weights/model.json")}
    weights.write_bytes(content[:-1])
    assert problems(signed) == {("changed", "weights/model.json")}
    weights.unlink()
    assert problems(signed) == {("missing", "weights/model.json")}
    with pytest.raises(packs.PackError, match=r"weights/model\.json.* is missing"):
        packs.verify(signed, keys.trusted()).demand()


def test_added_files_links_and_devices_are_named(signed, tmp_path):
    (signed / "notes.txt").write_text("hello")
    (signed / "blobs" / "sha256" / ("0" * 64)).write_text("smuggled")
    (signed / "elsewhere").symlink_to(tmp_path)
    os.mkfifo(signed / "pipe")
    names = {name for what, name in problems(signed) if what == "added"}
    assert names == {"notes.txt", "elsewhere", "pipe", "blobs/sha256/" + "0" * 64}


def test_a_file_replaced_by_a_link_or_a_pipe_is_not_followed(signed, tmp_path):
    weights = blob(signed, "weights")
    copy = tmp_path / "copy"
    shutil.move(weights, copy)
    weights.symlink_to(copy)
    assert problems(signed) == {("changed", "weights/model.json")}
    with pytest.raises(packs.PackError, match=r"weights/model\.json"):
        packs.open(signed).file("weights")
    weights.unlink()
    os.mkfifo(weights)
    assert problems(signed) == {("changed", "weights/model.json")}


def test_a_huge_file_in_place_of_a_small_one_is_not_read(signed):
    weights = blob(signed, "weights")
    os.truncate(weights, 1 << 40)
    assert problems(signed) == {("changed", "weights/model.json")}
    with pytest.raises(packs.PackError, match="was changed"):
        packs.open(signed).file("weights")
    os.truncate(signed / "index.json", 1 << 40)
    with pytest.raises(packs.PackError, match="more than"):
        packs.open(signed)


def test_tampered_files_are_never_handed_out(signed, own_cache):
    pack = packs.open(signed)
    blob(signed, "weights").write_bytes(b'{"w": [9, 2, 3]}')
    with pytest.raises(packs.PackError, match=r"weights/model\.json was changed"):
        pack.file("weights")
    with pytest.raises(packs.PackError, match=r"weights/model\.json was changed"):
        pack.read("weights")
    assert not [path for path in own_cache.rglob("*") if path.is_file()]


def rewrite(folder, edit):
    """Edit the OCI manifest as somebody would who knows how: all digests fit again, but the signature."""
    index = json.loads((folder / "index.json").read_bytes())
    old = folder / "blobs/sha256" / index["manifests"][0]["digest"][7:]
    image = json.loads(old.read_bytes())
    edit(folder, image)
    data = oci.canonical(image)
    old.unlink()
    (folder / "blobs/sha256" / digest_of(data)[7:]).write_bytes(data)
    index["manifests"][0] |= {"digest": digest_of(data), "size": len(data)}
    (folder / "index.json").write_bytes(oci.canonical(index))


def swap_weights(folder, image):
    data = b'{"w": [6, 6, 6]}'
    (folder / "blobs/sha256" / digest_of(data)[7:]).write_bytes(data)
    layer = next(layer for layer in image["layers"] if "weights" in layer["annotations"]["org.cncf.model.filepath"])
    layer["digest"] = digest_of(data)


def wrong_type(folder, image):
    image["layers"][0]["mediaType"] = "application/vnd.cncf.model.weight.v1.tar+gzip"


def lead_out(folder, image):
    image["layers"][0]["annotations"]["org.cncf.model.filepath"] = "../../../etc/cron.d/x"


def drop_a_file(folder, image):
    image["layers"].pop(0)


def note(folder, image):
    image["annotations"]["org.opencontainers.image.licenses"] = "MIT"


def foreign_digest(folder, image):
    image["config"]["digest"] = "sha256:../../../../etc/passwd"


@pytest.mark.parametrize("edit", [swap_weights, wrong_type, lead_out, drop_a_file, note, foreign_digest])
def test_an_edited_oci_manifest_is_refused_even_where_its_digests_fit(make, edit):
    for sign in (True, False):
        folder = make(sign=sign, version=f"1.{sign:d}")
        rewrite(folder, edit)
        with pytest.raises(packs.PackError):
            packs.open(folder)
        found = problems(folder)
        assert found - {("unsigned", "pack.sig")}
        if sign:
            assert ("changed", "index.json") in found


def test_a_pack_made_anew_by_another_needs_their_signature(make, tmp_path):
    folder = make()
    signature = (folder / "pack.sig").read_bytes()
    shutil.rmtree(folder)
    make(weights=b'{"w": [6, 6, 6]}', out=folder, sign=False)
    (folder / "pack.sig").write_bytes(signature)
    found = problems(folder)
    assert ("changed", "index.json") in found
    assert {what for what, _ in found} == {"changed", "missing", "added"}


def test_a_layout_of_another_kind_is_told_so(signed):
    index = json.loads((signed / "index.json").read_bytes())
    index["manifests"][0]["artifactType"] = "application/vnd.oci.image.config.v1+json"
    (signed / "index.json").write_text(json.dumps(index))
    with pytest.raises(packs.PackError, match="names no model"):
        packs.open(signed)


def test_the_signature_covers_every_file_of_the_layout(signed):
    bundle = json.loads((signed / "pack.sig").read_bytes())
    statement = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
    named = {resource["name"] for resource in statement["predicate"]["resources"]}
    there = {path.relative_to(signed).as_posix() for path in signed.rglob("*") if path.is_file()}
    assert named == there - {"pack.sig"}
