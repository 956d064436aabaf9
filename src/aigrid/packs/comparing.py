"""What is different between two packs: what they say, which files they hold, and how well they do."""

from typing import Any, Literal

import msgspec

from aigrid.packs.manifest import Figure
from aigrid.packs.reading import Pack


class Field(msgspec.Struct, frozen=True):
    """A field of the manifest that is not the same in both, as `a.b.c` where it lies deeper."""

    name: str
    before: Any
    after: Any


class FileChange(msgspec.Struct, frozen=True):
    """A file that is not the same in both; sizes are in bytes, 0 where there is none."""

    path: str
    change: Literal["added", "removed", "changed"]
    before: int
    after: int


class Evidence(msgspec.Struct, frozen=True):
    """One figure of both packs, None where one lacks it; `gain` is the later value less the earlier."""

    name: str
    before: Figure | None
    after: Figure | None

    @property
    def gain(self) -> float | None:
        """The later value less the earlier."""
        return self.after.value - self.before.value if self.before and self.after else None


class Difference(msgspec.Struct, frozen=True):
    """All that is different between two packs, and their figures side by side."""

    fields: tuple[Field, ...]
    files: tuple[FileChange, ...]
    evidence: tuple[Evidence, ...]


def compare(before: Pack, after: Pack) -> Difference:
    """Return how `after` differs from `before`."""
    left, right = _flat(before), _flat(after)
    names = [*left, *(name for name in right if name not in left)]
    fields = [Field(name, left.get(name), right.get(name)) for name in names if left.get(name) != right.get(name)]
    files = {file.path: file for file in before.manifest.files}
    others = {file.path: file for file in after.manifest.files}
    changes = []
    for path in sorted(files.keys() | others.keys()):
        old, new = files.get(path), others.get(path)
        if old and new and old.digest != new.digest:
            changes.append(FileChange(path, "changed", old.size, new.size))
        elif not old and new:
            changes.append(FileChange(path, "added", 0, new.size))
        elif old and not new:
            changes.append(FileChange(path, "removed", old.size, 0))
    figures = {figure.name: figure for figure in before.manifest.evidence}
    newer = {figure.name: figure for figure in after.manifest.evidence}
    both = [*figures, *(name for name in newer if name not in figures)]
    evidence = [Evidence(name, figures.get(name), newer.get(name)) for name in both]
    return Difference(tuple(fields), tuple(changes), tuple(evidence))


def _flat(pack: Pack) -> dict[str, Any]:
    """Return the manifest's fields, without files and evidence, by their dotted names."""
    found: dict[str, Any] = {}

    def add(name: str, value: Any) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                add(f"{name}.{key}" if name else str(key), inner)
        else:
            found[name] = value

    said = msgspec.to_builtins(pack.manifest)
    said["data"] = {data["name"]: data["digest"] for data in said.pop("data", [])}
    add("", {name: value for name, value in said.items() if name not in ("files", "evidence")})
    return found
