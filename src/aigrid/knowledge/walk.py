"""Finding files: every regular file below a folder, without following links and without hidden or generated folders."""

import hashlib
import os
import stat
from collections.abc import Iterator

import msgspec

MAX_BYTES = 256 << 20
"""The largest file that is read, in bytes."""

LINK = "a link: links are not followed, add what it points to"

GENERATED = frozenset({"node_modules", "__pycache__", "venv", "site-packages"})


class Found(msgspec.Struct, frozen=True):
    """A file to read, or (with `refused`, in words) one that will not be."""

    path: str
    bytes: int = 0
    modified_ns: int = 0
    refused: str = ""


class Walk:
    """The files below one target; `unseen` are folders that could not be looked into."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.unseen: list[str] = []

    def __iter__(self) -> Iterator[Found]:
        """Yield files in the order of their paths. A root that is itself a file, or a link to one, is taken as it is.

        Raises `OSError` where the root is not there.
        """
        if not stat.S_ISDIR(os.stat(self.root).st_mode):
            yield look(self.root)
            return
        for folder, folders, files in os.walk(self.root, onerror=self._missed):
            folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in GENERATED)
            for name in sorted([*files, *(name for name in folders if os.path.islink(os.path.join(folder, name)))]):
                path = os.path.join(folder, name)
                if name.startswith("."):
                    continue
                if os.path.islink(path):
                    yield Found(path if path.isprintable() else ascii(path)[1:-1], refused=LINK)
                else:
                    yield look(path)

    def _missed(self, error: OSError) -> None:
        self.unseen.append(error.filename or self.root)


def look(path: str) -> Found:
    """Return what is known of a file without reading it."""
    if not path.isprintable():
        return Found(ascii(path)[1:-1], refused="its name is not valid UTF-8, or has control characters")
    try:
        status = os.stat(path)
    except OSError as error:
        return Found(path, refused=error.strerror or str(error))
    if not stat.S_ISREG(status.st_mode):
        return Found(path, refused="not a file: a device, pipe or socket")
    refused = ""
    if status.st_size > MAX_BYTES:
        refused = f"larger than {MAX_BYTES >> 20} MiB"
    return Found(path, status.st_size, status.st_mtime_ns, refused)


def digest(path: str) -> str:
    """Return the SHA-256 of a file's bytes, read no further than `MAX_BYTES`; raises `OSError`."""
    sha = hashlib.sha256()
    left = MAX_BYTES + 1
    with open(path, "rb") as file:
        while left > 0 and (block := file.read(min(1 << 20, left))):
            sha.update(block)
            left -= len(block)
    return sha.hexdigest()
