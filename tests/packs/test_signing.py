import json
import os
import subprocess
import sys
import threading

import pytest

from aigrid import packs
from aigrid.core.errors import BadRequest, ConfigError, Conflict
from aigrid.packs import keys, signing

LIBRARY = [sys.executable, "-m", "model_signing"]


def library(*args):
    return subprocess.run([*LIBRARY, *map(str, args)], capture_output=True, text=True, check=False)


def test_the_model_signing_library_verifies_our_signature_and_names_a_tampered_file(make):
    folder = make()
    arguments = (
        "verify",
        "key",
        folder,
        "--signature",
        folder / "pack.sig",
        "--public_key",
        keys.folder() / "sign.pub",
    )
    good = library(*arguments)
    assert good.returncode == 0, good.stderr
    weights = packs.open(folder).find("weights").digest[7:]
    (folder / "blobs/sha256" / weights).write_bytes(b"other")
    bad = library(*arguments)
    assert bad.returncode != 0
    assert weights in bad.stderr


def test_we_verify_the_signature_of_the_model_signing_library(make):
    folder = make(sign=False)
    keys.own_public()
    done = library(
        "sign", "key", folder, "--signature", folder / "pack.sig", "--private_key", keys.folder() / "sign.pem"
    )
    assert done.returncode == 0, done.stderr
    report = packs.verify(folder, keys.trusted())
    assert report.ok
    assert report.signer == keys.OWN


def test_the_key_is_made_once_and_for_its_owner_only(state_in_a_temporary_folder):
    found = []
    threads = [threading.Thread(target=lambda: found.append(keys.own_public().id)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
    assert len(found) == 8
    path = state_in_a_temporary_folder / "keys" / "sign.pem"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o077 == 0
    assert sorted(os.listdir(path.parent)) == ["sign.pem", "sign.pub"]


def test_a_key_that_others_can_read_is_not_used(make):
    folder = make()
    (keys.folder() / "sign.pem").chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        packs.sign(folder)


def test_signatures_of_strangers_count_once_they_are_trusted(make, tmp_path, monkeypatch):
    monkeypatch.setenv("AIGRID_HOME", str(tmp_path / "stranger"))
    folder = make()
    theirs = keys.folder() / "sign.pub"
    monkeypatch.setenv("AIGRID_HOME", str(tmp_path / "us"))
    report = packs.verify(folder, keys.trusted())
    assert [problem.what for problem in report.problems] == ["unknown_key"]
    assert report.whole
    with pytest.raises(packs.PackError, match="not trusted here"):
        report.demand()
    report.demand(signed=False)
    keys.trust(theirs, "stranger")
    assert packs.verify(folder, keys.trusted()).signer == "stranger"
    keys.own_public()
    with pytest.raises(Conflict, match="another key"):
        keys.trust(keys.folder() / "sign.pub", "stranger")
    with pytest.raises(BadRequest):
        keys.trust(theirs, "../x")


def test_only_keys_of_the_right_kind_are_taken(tmp_path):
    (tmp_path / "text.pub").write_text("hello")
    rsa = subprocess.run(["openssl", "genrsa", "2048"], capture_output=True, check=True).stdout
    public = subprocess.run(["openssl", "rsa", "-pubout"], input=rsa, capture_output=True, check=True).stdout
    (tmp_path / "rsa.pub").write_bytes(public)
    for name in ("text.pub", "rsa.pub", "nothing.pub"):
        with pytest.raises(BadRequest):
            keys.trust(tmp_path / name, "x")


def test_a_damaged_pack_gets_no_signature(make):
    folder = make(sign=False)
    weights = folder / "blobs/sha256" / packs.open(folder).find("weights").digest[7:]
    weights.write_bytes(b"other")
    with pytest.raises(packs.PackError, match=r"weights/model\.json"):
        packs.sign(folder)
    assert not (folder / "pack.sig").exists()


def test_a_signature_of_other_files_does_not_fit(make, tmp_path):
    one, two = make(out=tmp_path / "one"), make(version="2.0", out=tmp_path / "two")
    (two / "pack.sig").write_bytes((one / "pack.sig").read_bytes())
    report = packs.verify(two, keys.trusted())
    assert {problem.what for problem in report.problems} == {"changed", "missing", "added"}


@pytest.mark.parametrize(
    "edit",
    [
        lambda bundle: bundle.update(extra=1),
        lambda bundle: bundle.update(mediaType="application/json"),
        lambda bundle: bundle["dsseEnvelope"].update(payloadType="text/plain"),
        lambda bundle: bundle["dsseEnvelope"].update(signatures=[]),
        lambda bundle: bundle["dsseEnvelope"].update(signatures=bundle["dsseEnvelope"]["signatures"] * 2),
        lambda bundle: bundle["dsseEnvelope"].update(payload="e30="),
        lambda bundle: bundle["dsseEnvelope"]["signatures"][0].update(sig="AAAA"),
        lambda bundle: bundle["verificationMaterial"]["publicKey"].update(hint="\ud83d\ude00" * 1000),
    ],
)
def test_an_edited_signature_is_refused(make, edit):
    folder = make()
    bundle = json.loads((folder / "pack.sig").read_bytes())
    edit(bundle)
    (folder / "pack.sig").write_text(json.dumps(bundle))
    report = packs.verify(folder, keys.trusted())
    assert not report.ok
    assert report.problems[-1].file == signing.SIGNATURE


@pytest.mark.parametrize("data", [b"", b"{}", b"\xff\xfe", b"[" * 100_000, b" " * (5 << 20)])
def test_what_is_no_signature_is_refused(make, data):
    folder = make()
    (folder / "pack.sig").write_bytes(data)
    assert [problem.what for problem in packs.verify(folder, keys.trusted()).problems] == ["bad_signature"]
