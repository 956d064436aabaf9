"""Digests of what goes into a stage and of what comes out: SHA-256 of bytes, and of the bytes of files in a folder."""

import hashlib
import importlib.util
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec

_BLOCK = 1 << 20


def of_file(path: Path) -> str:
    """Return the digest of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def of_folder(folder: Path) -> str:
    """Return the digest of a folder: of its files' names and bytes, whatever their order or times."""
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return of_value({name: of_file(folder / name) for name in files})


def of_value(value: Any) -> str:
    """Return the digest of a value as canonical JSON."""
    return hashlib.sha256(msgspec.json.encode(value, order="deterministic")).hexdigest()


def of_code(stage: ModuleType) -> dict[str, str]:
    """Return what a stage's work depends on beside its input: its modules' text and its packages' versions."""
    found: dict[str, str] = {}
    for name in (stage.__name__, *getattr(stage, "CODE", ())):
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            raise ValueError(f"{stage.__name__} names the module {name}, which there is not")
        origin = Path(spec.origin)
        package = origin.name == "__init__.py" and name != stage.__name__
        for file in sorted(origin.parent.rglob("*.py")) if package else [origin]:
            found[f"{name}/{file.name}"] = of_file(file)
    for package_name in getattr(stage, "PACKAGES", ()):
        try:
            found[package_name] = metadata.version(package_name)
        except metadata.PackageNotFoundError:
            found[package_name] = "absent"
    return found
