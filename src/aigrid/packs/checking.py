"""Check a pack: is every file what it was, is none missing or added, and who says so."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

import msgspec

from aigrid.core.errors import AigridError, NotFound
from aigrid.packs import folders, oci, signing
from aigrid.packs.folders import Progress
from aigrid.packs.keys import PublicKey
from aigrid.packs.manifest import MANIFEST_PATH, PackError, check_path, digest_of, read_json
from aigrid.packs.reading import Pack, check_descriptor, document, open_pack

What = Literal["changed", "missing", "added", "malformed", "unsigned", "unknown_key", "bad_signature"]


class Problem(msgspec.Struct, frozen=True):
    """What is wrong with one file of a pack; `name` is what people call it, `file` where it lies in the layout."""

    what: What
    file: str
    name: str
    text: str


class Report(msgspec.Struct, frozen=True):
    """What a check found. `signer` is the name of the key whose signature fits, empty where none does."""

    path: Path
    digest: str
    signer: str
    key_id: str
    problems: tuple[Problem, ...]

    @property
    def ok(self) -> bool:
        """Whether the pack is whole and signed by a trusted key."""
        return not self.problems

    @property
    def whole(self) -> bool:
        """Whether every file is what the pack says it is, whoever made it."""
        return all(problem.what in ("unsigned", "unknown_key") for problem in self.problems)

    def demand(self, signed: bool = True) -> None:
        """Raise `PackError`, naming every file at fault, where the pack is not whole (and, if asked, signed)."""
        wrong = [problem for problem in self.problems if signed or problem.what not in ("unsigned", "unknown_key")]
        if wrong:
            code = wrong[0].what if wrong[0].what in ("unsigned", "unknown_key", "bad_signature") else "pack_tampered"
            raise PackError(f"{self.path} is refused: " + "; ".join(problem.text for problem in wrong), code=code)


def verify(path: Path, keys: Iterable[PublicKey], progress: Progress | None = None) -> Report:
    """Check a pack's folder against its signature and the keys that are trusted; raises `NotFound` where none is."""
    if not path.is_dir():
        raise NotFound(f"{path}: there is no such pack", param="pack")
    problems: list[Problem] = []
    signed, signer, key_id = _signature(path, list(keys), problems)
    pack, broken = None, ""
    try:
        pack = open_pack(path)
    except AigridError as error:
        broken = error.message
    known = _known(path)
    if signed is not None:
        expected = {file: (digest, known.get(digest, ("", None))[1]) for file, digest in signed.items()}
    elif pack:
        expected = expected_of(pack)
    else:  # at least the blobs say themselves what they should be
        blobs = path / "blobs" / "sha256"
        names = sorted(os.listdir(blobs)) if blobs.is_dir() else []
        expected = {f"blobs/sha256/{name}": (f"sha256:{name}", None) for name in names}
        expected |= {file: ("", None) for file in ("oci-layout", "index.json") if (path / file).is_file()}
    found = compare(path, expected, {digest: name for digest, (name, _) in known.items()}, progress)
    if broken and not found:
        found = [Problem("malformed", "index.json", "the pack's descriptions", broken)]
    digest = pack.digest if pack else ""
    return Report(path, digest, signer, key_id, (*found, *problems))


def expected_of(pack: Pack) -> dict[str, tuple[str, int | None]]:
    """Return, by place in the layout, the digest and size of every file of a pack."""
    documents = {digest: len(data) for digest, data in pack.derived.documents.items()}
    blobs = documents | {file.digest: file.size for file in pack.manifest.files}
    own = {"oci-layout": oci.LAYOUT, "index.json": pack.derived.index}
    plain: dict[str, tuple[str, int | None]] = {name: (digest_of(data), len(data)) for name, data in own.items()}
    return plain | {f"blobs/sha256/{digest[7:]}": (digest, size) for digest, size in blobs.items()}


def digests(pack: Pack, progress: Progress | None = None) -> dict[str, str]:
    """Return the digests of all files by their place, each read and found right; raises `PackError` otherwise."""
    expected = expected_of(pack)
    names = {file.digest: file.path for file in pack.manifest.files}
    problems = compare(pack.path, expected, names, progress)
    Report(pack.path, pack.digest, "", "", tuple(problems)).demand()
    return {file: digest for file, (digest, _) in expected.items()}


def compare(
    path: Path,
    expected: Mapping[str, tuple[str, int | None]],
    names: Mapping[str, str],
    progress: Progress | None = None,
) -> list[Problem]:
    """Return what differs between a folder and what should be in it, by digest and size; `names` are for messages."""
    problems = []
    present = _walk(path)
    for file, (digest, size) in sorted(expected.items()):
        name = names.get(digest, file)
        called = name if name == file else f"{name} ({file[:25]}…)"
        if file not in present:
            problems.append(Problem("missing", file, name, f"{called} is missing"))
        elif wrong := _wrong(path / file, digest, size, progress):
            problems.append(Problem("changed", file, name, f"{called} was changed: {wrong}"))
    for file in sorted(present - expected.keys() - {signing.SIGNATURE}):
        shown = file.encode(errors="backslashreplace").decode()
        problems.append(Problem("added", shown, shown, f"{shown} was added: the pack does not name it"))
    return problems


def _wrong(path: Path, digest: str, size: int | None, progress: Progress | None) -> str:
    """Return what is wrong with a file, or nothing."""
    try:
        with folders.open_regular(path) as file:
            length = os.fstat(file.fileno()).st_size
            if size is not None and length != size:
                return f"it has {length:,} bytes instead of {size:,}"
            found = folders.hash_file(file, progress) if digest else ""
    except OSError as error:
        return f"it cannot be read ({error.strerror})"
    return "" if found == digest else f"its digest is {found[:19]}… instead of {digest[:19]}…"


def _signature(path: Path, keys: list[PublicKey], problems: list[Problem]) -> tuple[dict[str, str] | None, str, str]:
    """Return the digests that a trusted key has signed (None without one), its name, and the id of the key."""

    def problem(what: What, text: str) -> None:
        problems.append(Problem(what, signing.SIGNATURE, signing.SIGNATURE, text))

    try:
        signature = signing.read(path)
    except PackError as error:
        problem("bad_signature", error.message)
        return None, "", ""
    if signature is None:
        problem("unsigned", "it has no signature (pack.sig): sign it with `aigrid pack sign`, or ask who made it to")
        return None, "", ""
    key = signature.key(keys)
    if key is None:
        shown = signature.key_id.encode(errors="backslashreplace")[:16].decode()
        problem(
            "unknown_key",
            f"pack.sig was made with the key {shown}…, which is not trusted here: `aigrid pack trust KEY.pub` "
            "if you know whose it is",
        )
        return None, "", signature.key_id
    if not key.verifies(signature.value, signature.message):
        problem("bad_signature", f"pack.sig was changed: it is not what the key of {key.name} signed")
        return None, "", signature.key_id
    return signature.files, key.name, key.id


def _walk(path: Path) -> set[str]:
    """Return all that is no folder, by its path below `path`; links are not followed."""
    found = set()
    for base, below, files in os.walk(path):
        here = os.path.relpath(base, path)
        for name in (*files, *(name for name in below if os.path.islink(os.path.join(base, name)))):
            found.add(name if here == "." else f"{here}/{name}")
    return found


def _known(path: Path) -> dict[str, tuple[str, int | None]]:
    """Return the names and sizes of blobs by digest, as the layout says them; unchecked, for messages."""
    try:
        index = read_json(document(path / "index.json", oci.MAX_DOCUMENT), oci.Index, "index.json")
        entry = index.manifests[0]
        known: dict[str, tuple[str, int | None]] = {entry.digest: ("the OCI manifest", entry.size)}
        check_descriptor(entry, "index.json")
        image = read_json(document(oci.blob_path(path, entry.digest), oci.MAX_DOCUMENT), oci.Image, "the OCI manifest")
        known[image.config.digest] = ("the model configuration", image.config.size)
        for layer in image.layers:
            known[layer.digest] = (MANIFEST_PATH if layer.path == MANIFEST_PATH else check_path(layer.path), layer.size)
    except (AigridError, IndexError):
        return {}
    return known
