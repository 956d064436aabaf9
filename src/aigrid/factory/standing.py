"""What is in service under a pack's name, unpacked where a candidate can be loaded from it."""

from pathlib import Path

from aigrid import packs
from aigrid.core.config import home
from aigrid.packs import Pack, PackError, Shelf

WORKER, GUARD = "weights", "guard"
"""Where in a pack the candidate's folder is, and its guard's."""


def runtime(pack: Pack) -> dict[str, str]:
    """Return what the pack says about how to run it."""
    return {str(key): str(value) for key, value in pack.manifest.runtime.items()}


def unpacked(pack: Pack) -> Path:
    """Return the folder of a pack's files, checked one by one against the pack when it was made."""
    folder = home() / "factory" / "unpacked" / pack.digest.removeprefix("sha256:")
    if not folder.is_dir():
        try:
            pack.unpack(folder)
        except PackError:
            if not folder.is_dir():  # else another process was first
                raise
    return folder


def before(name: str, worker: str) -> Pack | None:
    """Return the pack that was in service before one with this worker was; None where there was none.

    `worker` is the digest of what the line trained: what a line made must not be compared with itself.
    """
    shelf = Shelf()
    for decision in reversed(shelf.history(name)):
        if decision.action == "withdraw":
            return None
        if decision.version not in shelf.versions(name):
            continue
        pack = packs.open(shelf.folder / name / decision.version)
        if runtime(pack).get("worker") != worker:
            return pack
    return None
