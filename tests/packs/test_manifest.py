import msgspec
import pytest

from aigrid.core.errors import BadRequest
from aigrid.packs import Figure, File, Manifest, PackError
from aigrid.packs.manifest import MAX_FILES, check_path, check_paths, decode, encode

ZERO = "sha256:" + "0" * 64


def manifest(**said):
    return Manifest(**{"name": "x", "version": "1", "kind": "model", "created": "2026-01-01T00:00:00Z", **said})


@pytest.mark.parametrize("name", ["", "Router", "ro uter", "../x", "x/y", "-x", "x-", "größe", "a" * 200, "x\n"])
def test_names_that_registries_refuse_are_refused(name):
    with pytest.raises(BadRequest, match="name"):
        manifest(name=name)


@pytest.mark.parametrize("version", ["", ".", "..", "a/b", "-1", "1 0", "v" * 129, "1\n"])
def test_versions_that_cannot_be_tags_are_refused(version):
    with pytest.raises(BadRequest, match="version"):
        manifest(version=version)


@pytest.mark.parametrize(
    "created", ["", "2026-01-01", "2026-13-01T00:00:00Z", "2026-01-01T00:00:00+01:00", "yesterday"]
)
def test_the_time_is_utc_and_exact(created):
    with pytest.raises(BadRequest, match="created"):
        manifest(created=created)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/etc/passwd",
        "../x",
        "a/../b",
        "a//b",
        "./a",
        "a/.",
        "a\\b",
        "a\x00b",
        "a\nb",
        "u\u0308ber",
        "a\u202eb",
        "x" * 256,
    ],
)
def test_paths_that_lead_elsewhere_or_deceive_are_refused(path):
    with pytest.raises(BadRequest):
        check_path(path)


def test_unicode_paths_are_taken():
    assert check_path("prompts/größe/质量.txt") == "prompts/größe/质量.txt"


@pytest.mark.parametrize(
    "paths",
    [
        ["a", "A"],
        ["a", "a"],
        ["a", "a/b"],
        ["A/c", "a"],
        ["pack.json"],
        ["PACK.json"],
        ["b", "a"],
        ["STRASSE", "straße"],
    ],
)
def test_paths_that_collide_on_some_disk_are_refused(paths):
    with pytest.raises(BadRequest):
        check_paths(paths)


def test_too_many_files_are_refused():
    with pytest.raises(BadRequest, match=str(MAX_FILES)):
        check_paths([f"{number:05}" for number in range(MAX_FILES + 1)])


def test_figures_are_numbers():
    with pytest.raises(BadRequest, match="nan"):
        Figure("accuracy", float("nan"))
    with pytest.raises(BadRequest, match="same name"):
        manifest(evidence=(Figure("a", 1), Figure("a", 2)))


def test_what_is_written_is_read_and_one_manifest_has_one_form():
    one = manifest(runtime={"b": 1, "a": [True, None]}, files=(File("a", "weights", ZERO, 3),))
    other = manifest(runtime={"a": [True, None], "b": 1}, files=(File("a", "weights", ZERO, 3),))
    assert encode(one) == encode(other)
    assert decode(encode(one)) == one


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"\xff",
        b"[" * 100_000,
        b'{"runtime":' * 5_000,
        encode(manifest()) + b" ",
        encode(manifest()).replace(b"model", b"spoon"),
        msgspec.json.encode(msgspec.to_builtins(manifest()) | {"unknown": 1}),
        msgspec.json.encode(msgspec.to_builtins(manifest()) | {"schema": 2}),
        msgspec.json.encode({**msgspec.to_builtins(manifest()), "files": [["../x", "weights", ZERO, 1]]}),
        msgspec.json.encode(
            {
                **msgspec.to_builtins(manifest()),
                "files": [{"path": "../x", "role": "weights", "digest": ZERO, "size": 1}],
            }
        ),
    ],
)
def test_no_other_form_is_read(data):
    with pytest.raises(PackError):
        decode(data)


def test_a_huge_manifest_is_refused():
    with pytest.raises(BadRequest, match="bytes"):
        encode(manifest(runtime={"x": "y" * (1 << 20)}))
    with pytest.raises(BadRequest, match="runtime"):
        encode(manifest(runtime={"x": object()}))
