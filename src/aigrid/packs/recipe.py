"""A pack made by hand: `pack.toml` says what it is and which files go in."""

import os
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from aigrid.core.errors import AigridError, BadRequest, NotFound
from aigrid.packs import card, sbom
from aigrid.packs.building import build
from aigrid.packs.folders import Progress
from aigrid.packs.manifest import Manifest


class Recipe(msgspec.Struct, frozen=True):
    """What `pack.toml` says: the manifest, the files by role, and what the bill of materials and the card are made of."""

    manifest: Manifest
    files: dict[str, Path]
    software: list[str]
    text: str

    @property
    def bytes(self) -> int:
        """How many bytes will be copied."""
        paths = [inner for path in self.files.values() for inner in (path.rglob("*") if path.is_dir() else [path])]
        return sum(path.stat().st_size for path in paths if path.is_file())


def load(path: Path) -> Recipe:
    """Read a recipe; its paths are relative to it. Raises `BadRequest` that names the field.

    `created` may be left out: it is then SOURCE_DATE_EPOCH, else now, and the pack is another one each time.
    """
    try:
        said = tomllib.loads(path.read_text())
    except FileNotFoundError:
        raise NotFound(f"{path}: there is no such file", param="recipe") from None
    except (tomllib.TOMLDecodeError, UnicodeError, OSError) as error:
        raise BadRequest(f"{path} cannot be read: {error}", param="recipe") from error
    files = {str(role): path.parent / str(place) for role, place in _table(said, "files", path).items()}
    software = said.pop("software", [])
    text = said.pop("text", "")
    said.setdefault("created", _now())
    if isinstance(said["created"], datetime):
        said["created"] = said["created"].astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    try:
        manifest = msgspec.convert(said, Manifest)
        return msgspec.convert({"manifest": manifest, "files": files, "software": software, "text": text}, Recipe)
    except (msgspec.ValidationError, AigridError) as error:
        raise BadRequest(f"{path}: {error}", param="recipe") from error


def make(recipe: Recipe, out: Path, progress: Progress | None = None) -> str:
    """Build the pack of a recipe, with a card and a bill of materials where it names none; return its digest."""
    with written(recipe.manifest, recipe.text, recipe.software) as extra:
        return build(recipe.manifest, extra | recipe.files, out, progress)


@contextmanager
def written(manifest: Manifest, text: str, software: list[str]) -> Iterator[dict[str, Path]]:
    """Yield files, by role, of a card and a bill of materials for a pack; they are gone after the block."""
    with TemporaryDirectory(prefix="aigrid-pack-") as folder:
        made = {"card": Path(folder) / "README.md", "sbom": Path(folder) / "sbom.cdx.json"}
        made["card"].write_text(card.render(manifest, text))
        made["sbom"].write_bytes(sbom.document(manifest, {"aigrid", *software}))
        yield made


def _table(said: dict[str, Any], name: str, path: Path) -> dict[str, Any]:
    found = said.pop(name, {})
    if not isinstance(found, dict) or not found:
        raise BadRequest(f'{path}: name the files in a table `[{name}]`, e.g. weights = "model.gguf"', param=name)
    return found


def _now() -> str:
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    moment = datetime.fromtimestamp(int(epoch), UTC) if epoch.isdigit() else datetime.now(UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
