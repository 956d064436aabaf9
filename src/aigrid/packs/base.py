"""The base model of a pack, found by its digest: it is not in the pack, and what is here is not fetched again."""

from pathlib import Path

import msgspec

from aigrid.core import models
from aigrid.core.config import Config
from aigrid.core.download import Progress
from aigrid.core.download import digest as digest_of_file
from aigrid.core.models import Model
from aigrid.packs.manifest import Base, PackError


def model(base: Base, config: Config) -> Model:
    """Return where a base model is or would be on this machine: any model here of its digest, else its source."""
    pinned = base.digest.removeprefix("sha256:")
    here = next((found for found in models.catalogue(config) if found.sha256 == pinned), None)
    if here:
        return here
    return msgspec.structs.replace(models.resolve(base.source, config), sha256=pinned)


def find(base: Base, config: Config, progress: Progress | None = None) -> Path:
    """Return the path of a base model, fetched where it is not here; raises `PackError` where it is another one.

    What the catalogue pins was checked when it was fetched; of any other source the file itself is checked.
    """
    found = model(base, config)
    path = models.pull(found, progress)
    if any(known.path == path and known.sha256 == found.sha256 for known in models.catalogue(config)):
        return path
    if path.is_dir():
        raise PackError(
            f"the base model {base.name} is a folder ({path}), which has no digest of its own: name a single file, or "
            "a folder in a wheel",
            code="wrong_digest",
        )
    if (digest := digest_of_file(path)) != found.sha256:
        raise PackError(
            f"the base model {base.name} at {path} has the digest {digest[:12]}…, the pack was made with "
            f"{found.sha256[:12]}…: fetch that one (`aigrid models pull {base.source}`)",
            code="wrong_digest",
        )
    return path
