"""What was added: folders, files and URLs with their readers, and what in them was taken out again.

The nearest root above a file says who may read it, so that a file that appears tomorrow in a folder for one tenant
is that tenant's, and a folder inside it may be another's.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from aigrid.core.errors import ConfigError
from aigrid.knowledge.base import EVERYONE

Readers = tuple[str, ...]


class _File(msgspec.Struct):
    roots: dict[str, Readers] = {}
    left_out: list[str] = []


def is_url(target: str) -> bool:
    """Return whether a target is a web address rather than a path."""
    return target.lower().startswith(("http://", "https://"))


def absolute(target: str) -> str:
    """Return a target as it is remembered: a URL as it is, a path absolute and without `..`."""
    return target if is_url(target) else os.path.abspath(os.path.expanduser(target))


def within(path: str, root: str) -> bool:
    """Return whether `path` is `root` or below it; both as `absolute` returns them."""
    return path == root or (not is_url(root) and path.startswith(root.rstrip("/") + "/"))


class Roots:
    """The remembered targets of one library, in a small JSON file that is replaced whole."""

    def __init__(self, file: Path) -> None:
        """Read `file`; raises `ConfigError` where it is damaged: guessing could open what was closed."""
        self._path = file
        try:
            self._file = msgspec.json.decode(file.read_bytes(), type=_File)
        except FileNotFoundError:
            self._file = _File()
        except msgspec.DecodeError as error:
            raise ConfigError(f"{file} is damaged ({error}); mend it, or delete it and add everything again") from None

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._file.roots))

    def add(self, target: str, readers: Readers | None) -> None:
        """Remember a target; None leaves its readers as they are, which is everyone where nothing says otherwise."""
        covered = self.covers(target)
        if readers is not None or not covered or self.left_out(target):
            before = self.readers(target) if covered else (EVERYONE,)
            self._file.roots[target] = before if readers is None else readers
        self._file.left_out = [path for path in self._file.left_out if path != target]
        self._save()

    def remove(self, target: str) -> None:
        """Forget a target and what is below it; inside a root that stays, it is left out from now on."""
        self._file.roots = {root: who for root, who in self._file.roots.items() if not within(root, target)}
        self._file.left_out = [path for path in self._file.left_out if not within(path, target)]
        if self.covers(target):
            self._file.left_out.append(target)
        self._save()

    def covers(self, path: str) -> bool:
        """Return whether a root holds `path`."""
        return any(within(path, root) for root in self._file.roots)

    def left_out(self, path: str) -> bool:
        """Return whether `path` was taken out of the root that holds it, and has not been added since."""
        return len(_nearest(path, self._file.left_out)) > len(_nearest(path, self._file.roots))

    def readers(self, path: str) -> Readers:
        """Return who may read `path`: the readers of the nearest root above it; nobody where there is none."""
        return self._file.roots.get(_nearest(path, self._file.roots), ())

    def _save(self) -> None:
        rough = self._path.with_name(self._path.name + ".new")
        rough.write_bytes(msgspec.json.format(msgspec.json.encode(self._file), indent=2))
        os.replace(rough, self._path)


def _nearest(path: str, above: Iterable[str]) -> str:
    """Return the longest of some paths that hold `path`; empty where none does."""
    return max((each for each in above if within(path, each)), key=len, default="")
