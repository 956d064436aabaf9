"""Where the real data for measurements is: beside the repository, never in it."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


class NoData(Exception):
    """A file of the shared data is not on this machine."""


def shared(path: str) -> Path:
    """Return a file below `../shared/data`; raises `NoData` that says where it was looked for."""
    found = ROOT.parent / "shared" / "data" / path
    if not found.exists():
        raise NoData(f"{found} is not here: this measurement needs it (its README says where it comes from)")
    return found
