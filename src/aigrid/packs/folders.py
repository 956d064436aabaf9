"""Folders that appear whole or not at all, whatever is killed; files that are copied and checked in one pass."""

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

Progress = Callable[[int], None]
"""Called with the bytes done since the last call."""

_BLOCK = 1 << 20
_SUFFIX = ".part"


@contextlib.contextmanager
def staged(target: Path) -> Iterator[Path]:
    """Yield a new folder that becomes `target` when the block ends well; raises `FileExistsError` where that exists.

    Leftovers of processes that were killed in such a block are removed; those of living ones are not.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with _locked(target.parent):
        sweep(target.parent)
        stage = Path(tempfile.mkdtemp(prefix=".", suffix=_SUFFIX, dir=target.parent))
        held = _open_locked(stage)
    try:
        yield stage
        stage.chmod(0o755)
        _sync(stage)
        _rename(stage, target)
    except BaseException:
        shutil.rmtree(stage, ignore_errors=True)
        raise
    finally:
        os.close(held)


def sweep(folder: Path) -> None:
    """Remove what killed processes left unfinished in `folder`."""
    for left in folder.glob(f".*{_SUFFIX}"):
        with contextlib.suppress(OSError):
            held = _open_locked(left)
            shutil.rmtree(left, ignore_errors=True)
            os.close(held)


def write(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Write a file that appears whole or not at all."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with open(handle, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            sync(file)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    _sync(path.parent)


def copy(source: IO[bytes], out: IO[bytes], progress: Progress | None = None, limit: int | None = None) -> str:
    """Copy a file, at most `limit` bytes and one more, and return its digest as `sha256:…`."""
    sha = hashlib.sha256()
    left = -1 if limit is None else limit + 1
    while left and (block := source.read(_BLOCK if left < 0 else min(_BLOCK, left))):
        sha.update(block)
        out.write(block)
        left -= len(block) if left > 0 else 0
        if progress:
            progress(len(block))
    return f"sha256:{sha.hexdigest()}"


def hash_file(source: IO[bytes], progress: Progress | None = None) -> str:
    """Return the digest of an open file as `sha256:…`."""
    sha = hashlib.sha256()
    while block := source.read(_BLOCK):
        sha.update(block)
        if progress:
            progress(len(block))
    return f"sha256:{sha.hexdigest()}"


def open_regular(path: Path) -> IO[bytes]:
    """Open a regular file for reading; a link, a pipe or a device raises `OSError` rather than being followed."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    file = open(handle, "rb")  # noqa: SIM115 - the caller closes it
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "is not a regular file", str(path))
    return file


def sync(file: IO[bytes]) -> None:
    """Make sure that what was written is on the disk."""
    file.flush()
    os.fsync(file.fileno())


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold a lock on a folder itself, so that no file has to be left behind for it."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _open_locked(folder: Path) -> int:
    """Open and lock a folder; raises `BlockingIOError` where a living process has it."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        raise
    return handle


def _rename(stage: Path, target: Path) -> None:
    try:
        os.rename(stage, target)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise FileExistsError(errno.EEXIST, "is there already", str(target)) from None
        raise
    _sync(target.parent)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
