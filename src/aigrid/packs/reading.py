"""Open a pack: what is read was checked against its digest first, so nothing tampered with is ever handed out."""

import shutil
from pathlib import Path
from typing import IO

import msgspec

from aigrid.core.config import cache
from aigrid.core.download import disk_error
from aigrid.core.errors import NotFound
from aigrid.packs import folders, oci
from aigrid.packs.manifest import MANIFEST_PATH, MAX_MANIFEST, File, Manifest, PackError, decode, digest_of, read_json

_LIMIT = 64 << 20
"""Most bytes that `Pack.read` takes into memory."""


class Pack(msgspec.Struct, frozen=True):
    """A pack in a folder. Its manifest is checked; its files are when they are asked for."""

    path: Path
    digest: str
    manifest: Manifest
    derived: oci.Derived

    def find(self, name: str) -> File:
        """Return the file of a path, or the only one of a role; raises `NotFound`."""
        at = [file for file in self.manifest.files if file.path == name] or self.manifest.of_role(name)
        if len(at) == 1:
            return at[0]
        there = ", ".join(file.path for file in at or self.manifest.files) or "nothing"
        wrong = f"has {len(at)} files for `{name}`; name one" if at else f"has no `{name}`; it has"
        raise NotFound(f"the pack {self.manifest.name} {wrong}: {there}", param="file")

    def has(self, role: str) -> bool:
        """Whether there is a file for `role`."""
        return bool(self.manifest.of_role(role))

    def file(self, name: str) -> Path:
        """Return a checked copy of a file, by its path or role, under its own file name, in the cache folder.

        Raises `PackError` where it was tampered with. The copy is made once and must not be changed.
        """
        file = self.find(name)
        target = cached(file) / file.path.rsplit("/", 1)[-1]
        if not target.exists():
            try:
                with folders.staged(target.parent) as stage:
                    self.copy(file, stage / target.name)
            except FileExistsError:  # another process was first; or it holds this content under another name
                if not target.exists():
                    self.copy(file, target)
        return target

    def copy(self, file: File, target: Path) -> None:
        """Copy a file of the pack to `target`, checked on the way; raises `PackError` and leaves nothing there."""
        rough = target.with_name(f".{target.name}.rough")
        try:
            with self._open(file) as inside, rough.open("wb") as out:
                found = folders.copy(inside, out, limit=file.size)
                folders.sync(out)
            if found != file.digest:
                raise tampered(file.path, file.digest, found)
            rough.chmod(0o444)
            rough.replace(target)
        except OSError as error:
            raise disk_error(error, target) from error
        finally:
            rough.unlink(missing_ok=True)

    def read(self, name: str) -> bytes:
        """Return the content of a file, by its path or role; for small ones such as prompts and evidence."""
        file = self.find(name)
        if file.size > _LIMIT:
            raise PackError(f"{file.path} has {file.size:,} bytes: too many to be read at once")
        with self._open(file) as inside:
            data = inside.read(file.size + 1)
        if digest_of(data) != file.digest:
            raise tampered(file.path, file.digest, digest_of(data))
        return data

    def unpack(self, target: Path) -> None:
        """Write all files, checked, under their paths into a new folder."""
        try:
            with folders.staged(target) as stage:
                for file in self.manifest.files:
                    path = stage / file.path
                    path.parent.mkdir(parents=True, exist_ok=True)
                    self.copy(file, path)
                    path.chmod(0o644)
                folders.write(stage / MANIFEST_PATH, self.derived.manifest)
        except FileExistsError as error:
            raise PackError(f"{target} is there already; name another folder", code="conflict") from error

    def _open(self, file: File) -> IO[bytes]:
        try:
            return folders.open_regular(oci.blob_path(self.path, file.digest))
        except OSError as error:
            raise PackError(
                f"{file.path} is missing from {self.path}: {error.strerror}", code="pack_tampered"
            ) from error


def open_pack(path: Path) -> Pack:
    """Open a pack's folder; raises `PackError` where its descriptions do not fit each other, `NotFound` where none is.

    This says that the pack is whole, not who made it: see `verify`.
    """
    if not path.is_dir():
        raise NotFound(f"{path}: there is no such pack", param="pack")
    if document(path / "oci-layout", 4096) != oci.LAYOUT:
        raise PackError(f"{path} is not an OCI image layout of version 1.0.0 (see its file oci-layout)")
    index = read_json(document(path / "index.json", oci.MAX_DOCUMENT), oci.Index, "index.json")
    entry = next((entry for entry in index.manifests if entry.artifact_type == oci.ARTIFACT_TYPE), None)
    if entry is None:
        raise PackError(f"{path}: index.json names no model of type {oci.ARTIFACT_TYPE}")
    image = blob(path, entry, "the OCI manifest", oci.MAX_DOCUMENT)
    manifest = read_manifest(path, read_json(image, oci.Image, "the OCI manifest"))
    derived = oci.derive(manifest)
    if image != derived.image:
        raise PackError(
            f"{path}: the OCI manifest does not say what pack.json says: it was edited", code="pack_tampered"
        )
    if document(oci.blob_path(path, digest_of(derived.config)), oci.MAX_DOCUMENT) != derived.config:
        raise PackError(f"{path}: the model configuration was edited", code="pack_tampered")
    return Pack(path, entry.digest, manifest, derived)


def read_manifest(path: Path, image: oci.Image) -> Manifest:
    """Return what `pack.json` says, of the pack that an OCI manifest describes."""
    layer = next((layer for layer in image.layers if layer.path == MANIFEST_PATH), None)
    if layer is None:
        raise PackError(
            f"{path} is a ModelPack without pack.json: aigrid did not make it and does not know what it does"
        )
    return decode(blob(path, layer, MANIFEST_PATH, MAX_MANIFEST))


def blob(path: Path, entry: oci.Descriptor, name: str, limit: int) -> bytes:
    """Return the content of a small blob, checked against its descriptor."""
    check_descriptor(entry, name)
    data = document(oci.blob_path(path, entry.digest), min(limit, entry.size))
    if len(data) != entry.size or digest_of(data) != entry.digest:
        raise tampered(name, entry.digest, digest_of(data))
    return data


def check_descriptor(entry: oci.Descriptor, name: str) -> None:
    """Raise `PackError` where a descriptor's digest is none that could be a file name."""
    hexadecimal = entry.digest.removeprefix("sha256:")
    if len(hexadecimal) != 64 or not set(hexadecimal) <= set("0123456789abcdef") or entry.size < 0:
        raise PackError(f"{name}: {entry.digest[:100]!r} with {entry.size} bytes is not a SHA-256 descriptor")


def document(path: Path, limit: int) -> bytes:
    """Return the content of a small file; raises `PackError` where it is missing, no plain file, or too large."""
    try:
        with folders.open_regular(path) as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise PackError(f"{path}: {error.strerror}") from error
    if len(data) > limit:
        raise PackError(f"{path} has more than the {limit:,} bytes that it may have", code="pack_tampered")
    return data


def tampered(name: str, expected: str, found: str) -> PackError:
    """Return what to say about a file that is not what its digest says."""
    return PackError(
        f"{name} was changed: its digest is {found[:19]}…, the pack says {expected[:19]}…; fetch the pack again",
        code="pack_tampered",
    )


def cached(file: File) -> Path:
    """Return the folder that a checked copy of a file lies in."""
    return cache() / "packs" / "files" / file.digest.removeprefix("sha256:")


def forget(manifest: Manifest) -> None:
    """Delete the checked copies of a pack's files; they are made again when they are asked for."""
    for file in manifest.files:
        shutil.rmtree(cached(file), ignore_errors=True)
