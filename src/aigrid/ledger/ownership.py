"""One process owns a ledger: a lock on a file that the kernel lets go when the process ends, however it ends."""

import fcntl
import os
from pathlib import Path

from aigrid.core.errors import Conflict


class Lock:
    """An exclusive lock on `path`, which names the owner's process id."""

    def __init__(self, path: Path) -> None:
        """Take the lock; raises `Conflict` that names the process that has it."""
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            owner = os.pread(self._fd, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(self._fd)
            raise Conflict(
                f"the ledger in {path.parent} is in use by process {owner}; stop that one, or set AIGRID_HOME to "
                "another folder"
            ) from None
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let go of the lock."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
