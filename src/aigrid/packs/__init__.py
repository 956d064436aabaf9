"""Packs: whatever is shipped (a model, an agent, a robot's brain, a guard, an app), in one checked, signed format."""

from aigrid.packs.building import build
from aigrid.packs.checking import Problem, Report, verify
from aigrid.packs.manifest import Base, Data, Figure, File, Manifest, PackError
from aigrid.packs.reading import Pack
from aigrid.packs.reading import open_pack as open
from aigrid.packs.shelf import Decision, Shelf
from aigrid.packs.signing import sign

__all__ = [
    "Base",
    "Data",
    "Decision",
    "Figure",
    "File",
    "Manifest",
    "Pack",
    "PackError",
    "Problem",
    "Report",
    "Shelf",
    "build",
    "open",
    "sign",
    "verify",
]
