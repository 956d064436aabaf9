"""The local catalogue of packs, AIGRID_HOME/packs/NAME/VERSION, and which version of each is in service.

A version appears whole or not at all. What is in service is told by `service.json`: a history that only grows, so a
roll-back is one step and every decision stays on record.
"""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec

from aigrid.core.clock import iso, now_ns
from aigrid.core.config import home
from aigrid.core.download import disk_error
from aigrid.core.errors import AigridError, Conflict, NotFound
from aigrid.packs import folders
from aigrid.packs.checking import digests
from aigrid.packs.manifest import check_name, check_version, read_json
from aigrid.packs.reading import Pack, forget, open_pack
from aigrid.packs.signing import SIGNATURE

_SERVICE = "service.json"


class Decision(msgspec.Struct, frozen=True):
    """One decision about what is in service: what was done, when (RFC 3339), why, and by whom or what."""

    action: Literal["serve", "roll_back", "withdraw"]
    version: str
    digest: str
    at: str
    why: str
    by: str


class Shelf:
    """The packs of a state folder. Any number of processes may use it at once."""

    def __init__(self, state: Path | None = None) -> None:
        self.folder = (state or home()) / "packs"

    def put(self, path: Path, *, move: bool = False) -> Pack:
        """Put a pack on the shelf, checked file by file, and return it there; the same pack again changes nothing.

        With `move` its folder is moved rather than copied. Raises `Conflict` where another pack has its name and
        version, `PackError` where it is damaged.
        """
        pack = open_pack(path)
        target = self._place(pack.manifest.name, pack.manifest.version)
        if target.exists():
            return self._same(pack, target)
        digests(pack)
        try:
            with folders.staged(target) as stage:
                if move:
                    for child in path.iterdir():
                        shutil.move(child, stage / child.name)  # which copies where it is on another disk
                    path.rmdir()
                else:
                    shutil.copytree(path, stage, dirs_exist_ok=True)
                digests(open_pack(stage))  # what was copied, not what was there a moment ago
        except FileExistsError:
            return self._same(pack, target)
        except OSError as error:
            raise disk_error(error, target) from error
        return open_pack(target)

    def get(self, name: str, version: str = "") -> Pack:
        """Return a pack: the version named, else the one in service, else the one made last; raises `NotFound`."""
        return open_pack(self.find(name, version))

    def find(self, name: str, version: str = "") -> Path:
        """Return the folder of a pack as `get` chooses it, whether or not it is whole; raises `NotFound`."""
        check_name(name)
        if version:
            check_version(version)
        else:
            version = self._default(name)
        path = self._place(name, version)
        if not path.is_dir():
            there = ", ".join(self.versions(name)) or "none"
            raise NotFound(f"no version `{version}` of the pack {name} here; there are: {there}", param="pack")
        return path

    def packs(self) -> list[Pack]:
        """Return all packs, by name and then by when they were made; damaged ones are left out (`verify` names them)."""
        found = []
        for folder in sorted(self.folder.glob("[!.]*/")):
            for version in self.versions(folder.name):
                with contextlib.suppress(AigridError):
                    found.append(open_pack(folder / version))
        return sorted(found, key=lambda pack: (pack.manifest.name, pack.manifest.created, pack.manifest.version))

    def versions(self, name: str) -> list[str]:
        """Return the versions of a pack that are here."""
        return sorted(path.name for path in (self.folder / name).glob("[!.]*/") if (path / "index.json").is_file())

    def remove(self, name: str, version: str) -> int:
        """Delete a version and return the bytes freed; raises `Conflict` where it is in service."""
        pack_folder = self._place(check_name(name), check_version(version))
        with self._locked(name):
            if not pack_folder.is_dir():
                raise NotFound(f"no version `{version}` of the pack {name} here", param="pack")
            now = self.in_service(name)
            if now and now.version == version:
                raise Conflict(
                    f"{name}:{version} is in service; put another version into service first, or withdraw it"
                )
            with contextlib.suppress(AigridError):
                forget(open_pack(pack_folder).manifest)
            freed = sum(path.lstat().st_size for path in pack_folder.rglob("*") if path.is_file())
            gone = pack_folder.with_name(f".{version}.part")  # swept by whoever comes next, if this process is killed
            os.rename(pack_folder, gone)
            shutil.rmtree(gone)
        return freed

    def history(self, name: str) -> list[Decision]:
        """Return all decisions about what of a pack is in service, oldest first."""
        try:
            data = (self.folder / check_name(name) / _SERVICE).read_bytes()
        except FileNotFoundError:
            return []
        return read_json(data, list[Decision], str(self.folder / name / _SERVICE))

    def in_service(self, name: str) -> Decision | None:
        """Return the decision by which a version is in service, None where none is."""
        standing = _standing(self.history(name))
        return standing[-1] if standing else None

    def serve(self, name: str, version: str, *, why: str, by: str) -> Decision:
        """Put a version into service; raises `NotFound` where it is not here."""
        pack = self.get(name, version)
        with self._locked(name):
            return self._record(name, Decision("serve", version, pack.digest, iso(now_ns()), why, by))

    def roll_back(self, name: str, *, why: str, by: str) -> Decision:
        """Put back what was in service before; raises `Conflict` where there is nothing to go back to."""
        with self._locked(name):
            standing = _standing(self.history(name))
            if len(standing) < 2:
                raise Conflict(f"nothing to go back to: no other version of {name} was in service before this one")
            before = standing[-2]
            self.get(name, before.version)
            return self._record(name, Decision("roll_back", before.version, before.digest, iso(now_ns()), why, by))

    def withdraw(self, name: str, *, why: str, by: str) -> Decision:
        """Take a pack out of service altogether; raises `Conflict` where none is in service."""
        with self._locked(name):
            now = self.in_service(name)
            if now is None:
                raise Conflict(f"no version of {name} is in service")
            return self._record(name, Decision("withdraw", now.version, now.digest, iso(now_ns()), why, by))

    def _record(self, name: str, decision: Decision) -> Decision:
        data = msgspec.json.format(msgspec.json.encode([*self.history(name), decision]), indent=2)
        folders.write(self.folder / name / _SERVICE, data)
        return decision

    def _default(self, name: str) -> str:
        now = self.in_service(name)
        if now:
            return now.version
        here = [pack for pack in self.packs() if pack.manifest.name == name]
        if not here:
            names = sorted({pack.manifest.name for pack in self.packs()})
            raise NotFound(f"no pack `{name}` here; there are: {', '.join(names) or 'none'}", param="pack")
        return here[-1].manifest.version

    def _place(self, name: str, version: str) -> Path:
        return self.folder / name / version

    def _same(self, pack: Pack, target: Path) -> Pack:
        """Return the pack on the shelf where it is the one to be put; a signature that it lacks is added."""
        there = open_pack(target)
        name = f"{pack.manifest.name}:{pack.manifest.version}"
        if there.digest != pack.digest:
            raise Conflict(f"another pack is {name} already ({there.digest[:19]}…); give this one another version")
        signature = pack.path / SIGNATURE
        if signature.is_file() and not (target / SIGNATURE).exists():
            folders.write(target / SIGNATURE, signature.read_bytes())
        return there

    @contextlib.contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        """Hold the lock on a pack's folder among all processes."""
        folder = self.folder / check_name(name)
        if not folder.is_dir():
            raise NotFound(f"no pack `{name}` here", param="pack")
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)


def _standing(history: list[Decision]) -> list[Decision]:
    """Return what would be in service after each roll-back in turn: the last one is in service now."""
    standing: list[Decision] = []
    for decision in history:
        if decision.action == "serve":
            standing.append(decision)
        elif decision.action == "roll_back":
            standing.pop()
        else:
            standing.clear()
    return standing
