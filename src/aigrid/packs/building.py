"""Make a pack: the same manifest and files give the same bytes, on any machine, at any time."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import msgspec

from aigrid.core.download import disk_error
from aigrid.core.errors import BadRequest, Conflict
from aigrid.packs import folders, oci
from aigrid.packs.folders import Progress
from aigrid.packs.manifest import FIXED_PATHS, ROLES, File, Manifest


def build(manifest: Manifest, files: Mapping[str, Path], out: Path, progress: Progress | None = None) -> str:
    """Make the pack's folder `out`, an OCI image layout, and return its digest.

    `files` maps a role (`weights`, `card` …) or `role/path` to a file, or to a folder whose files are all taken.
    Raises `BadRequest` for what cannot be in a pack, `Conflict` where `out` holds another pack.
    """
    found = collect(files)
    if manifest.files:
        raise BadRequest("leave `files` of the manifest empty: they are read from the files given", param="files")
    try:
        with folders.staged(out) as stage:
            blobs = stage / "blobs" / "sha256"
            blobs.mkdir(parents=True)
            listed = tuple(_store(path, role, source, blobs, progress) for path, (role, source) in found.items())
            derived = oci.derive(msgspec.structs.replace(manifest, files=listed))
            for digest, data in derived.documents.items():
                folders.write(oci.blob_path(stage, digest), data)
            folders.write(stage / "oci-layout", oci.LAYOUT)
            folders.write(stage / "index.json", derived.index)
    except FileExistsError:
        try:
            same = (out / "index.json").read_bytes() == derived.index
        except OSError:
            same = False
        if not same:
            raise Conflict(f"{out} is there already and is another pack; remove it or name another folder") from None
    except OSError as error:
        raise disk_error(error, out) from error
    return derived.digest


def collect(files: Mapping[str, Path]) -> dict[str, tuple[str, Path]]:
    """Return, by path in the pack and in its order, each file's role and where it is now."""
    found: dict[str, tuple[str, Path]] = {}
    for key, source in files.items():
        role, _, inside = key.partition("/")
        if role not in ROLES:
            raise BadRequest(f"no role `{role}`; there are {', '.join(ROLES)}", param="files")
        if source.is_dir():
            pairs = [(f"{key}/{path.relative_to(source).as_posix()}", path) for path in _walk(source)]
        elif source.is_file():
            pairs = [(key if inside else FIXED_PATHS.get(role, f"{role}/{source.name}"), source)]
        else:
            raise BadRequest(f"{source}: there is no such file or folder (for `{key}`)", param="files")
        for path, place in pairs:
            if path in found:
                raise BadRequest(f"two files would be {path}: {found[path][1]} and {place}", param="files")
            found[path] = (role, place)
    return dict(sorted(found.items()))


def _walk(folder: Path) -> list[Path]:
    """Return the files below a folder; raises `BadRequest` for links, which may lead out of it."""
    found = []
    for path in folder.rglob("*"):
        if path.is_symlink():
            raise BadRequest(f"{path} is a link; a pack holds files only: copy what it points to", param="files")
        if path.is_file():
            found.append(path)
    return found


def _store(path: str, role: str, source: Path, blobs: Path, progress: Progress | None) -> File:
    """Copy a file into the blobs under its digest."""
    inside: IO[bytes]
    with source.open("rb") as inside, tempfile.NamedTemporaryFile(dir=blobs, delete=False) as out:
        digest = folders.copy(inside, out, progress)
        folders.sync(out)
        size = out.tell()
    rough = Path(out.name)
    rough.chmod(0o644)
    rough.replace(blobs / digest.removeprefix("sha256:"))
    return File(path=path, role=role, digest=digest, size=size)
