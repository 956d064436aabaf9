"""Push packs to a registry and pull them: only what is missing is sent, what broke off goes on, all is checked."""

import asyncio
import os
import shutil
from collections.abc import Callable, Coroutine, Iterable
from pathlib import Path

import msgspec

from aigrid.core.config import cache
from aigrid.core.download import disk_error, lock
from aigrid.core.errors import NotFound
from aigrid.packs import folders, oci, signing
from aigrid.packs.blobs import get_blob, put_blob
from aigrid.packs.checking import digests
from aigrid.packs.folders import Progress
from aigrid.packs.keys import PublicKey
from aigrid.packs.manifest import MANIFEST_PATH, MAX_FILES, MAX_MANIFEST, PackError, decode, digest_of, read_json
from aigrid.packs.reading import Pack, check_descriptor, open_pack
from aigrid.packs.registry import Registry

_AT_ONCE = 3
_MOST_SIGNATURES = 16
_EMPTY = b"{}"
_EMPTY_TYPE = "application/vnd.oci.empty.v1+json"


class Pushed(msgspec.Struct, frozen=True):
    """What a push did: the pack's digest, and the bytes sent and those that were there."""

    digest: str
    sent: int
    skipped: int


async def push(path: Path, registry: Registry, progress: Progress | None = None) -> Pushed:
    """Send a pack, and its signature where it has one, to the tag of the registry's reference or its own version.

    Raises `PackError` before anything is sent where the pack is damaged, `RegistryError` where the registry says no.
    """
    pack = open_pack(path)
    await asyncio.to_thread(digests, pack)
    sizes = {file.digest: file.size for file in pack.manifest.files}
    sizes |= {digest: len(data) for digest, data in pack.derived.documents.items() if digest != pack.digest}
    limit = asyncio.Semaphore(_AT_ONCE)
    sent = 0

    async def one(digest: str) -> None:
        nonlocal sent
        async with limit:
            if await put_blob(registry, digest, oci.blob_path(path, digest), progress):
                sent += sizes[digest]

    await _all([one(digest) for digest in sorted(sizes)])
    tag = registry.reference.tag or pack.manifest.version
    await registry.put_manifest(tag, pack.derived.image, oci.MANIFEST_TYPE)
    if signing.read(path) is not None:
        await _push_signature(pack, (path / signing.SIGNATURE).read_bytes(), registry)
    return Pushed(pack.digest, sent, sum(sizes.values()) - sent)


async def _push_signature(pack: Pack, data: bytes, registry: Registry) -> None:
    """Store the signature as an artifact that refers to the pack."""
    for blob in (data, _EMPTY):
        await put_blob(registry, digest_of(blob), blob)
    image = oci.Image(
        schema_version=2,
        media_type=oci.MANIFEST_TYPE,
        artifact_type=signing.BUNDLE_TYPE,
        config=oci.Descriptor(_EMPTY_TYPE, digest_of(_EMPTY), len(_EMPTY)),
        layers=(
            oci.Descriptor(
                signing.BUNDLE_TYPE,
                digest_of(data),
                len(data),
                annotations={oci.TITLE: signing.SIGNATURE},
            ),
        ),
        subject=oci.Descriptor(oci.MANIFEST_TYPE, pack.digest, len(pack.derived.image)),
        annotations={"dev.sigstore.bundle.content": "dsse-envelope"},
    )
    await registry.refer(pack.digest, oci.canonical(image), signing.BUNDLE_TYPE)


async def pull(
    registry: Registry,
    keys: Iterable[PublicKey],
    progress: Progress | None = None,
    sized: Callable[[int], None] | None = None,
) -> Path:
    """Fetch a pack and return its folder in the cache; what was fetched before, whole or in part, is kept.

    Each blob is checked against its digest; whether to trust the pack is for `verify` to say. Of several signatures
    one by a key of `keys` is preferred. `sized` is called with the bytes in all, once they are known. Put the folder
    on the shelf with `move=True`.
    """
    reference = registry.reference
    found = await registry.manifest(reference.version)
    if found is None:
        tags = [tag for tag in await registry.tags() if not tag.startswith("sha256-")]
        there = f"; there are: {', '.join(tags[:20])}" if tags else ""
        raise NotFound(f"{reference}: the registry has no such pack{there}", param="reference")
    data, _ = found
    image = _image(data, str(reference))
    digest = digest_of(data)
    target = cache() / "packs" / "pulled" / digest.removeprefix("sha256:")
    target.parent.mkdir(parents=True, exist_ok=True)
    with lock(target.with_name(f"{target.name}.lock")):
        blobs = target / "blobs" / "sha256"
        blobs.mkdir(parents=True, exist_ok=True)
        try:
            derived = await _manifest_first(image, data, blobs, registry)
            _check_space(image, target)
            if sized:
                sized(sum({entry.digest: entry.size for entry in (image.config, *image.layers)}.values()))
            await _blobs(image, blobs, registry, progress)
            folders.write(oci.blob_path(target, digest), data)
            folders.write(target / "oci-layout", oci.LAYOUT)
            folders.write(target / "index.json", derived.index)
            signature = await _signature(digest, registry, list(keys))
            if signature:
                folders.write(target / signing.SIGNATURE, signature)
            else:
                (target / signing.SIGNATURE).unlink(missing_ok=True)
        except OSError as error:
            raise disk_error(error, target) from error
    return target


def _image(data: bytes, where: str) -> oci.Image:
    """Read an OCI manifest; raises `PackError` where it is not that of a pack."""
    image = read_json(data, oci.Image, f"the OCI manifest of {where}")
    if image.artifact_type != oci.ARTIFACT_TYPE or image.config.media_type != oci.CONFIG_TYPE:
        shown = image.artifact_type or image.config.media_type or "nothing"
        raise PackError(f"{where} is not a pack: it is of type {shown[:100]!r}, a pack is {oci.ARTIFACT_TYPE}")
    if len(image.layers) > MAX_FILES + 1:
        raise PackError(f"{where} has {len(image.layers)} files; a pack has at most {MAX_FILES}")
    for entry in (image.config, *image.layers):
        check_descriptor(entry, where)
    return image


async def _manifest_first(image: oci.Image, data: bytes, blobs: Path, registry: Registry) -> oci.Derived:
    """Fetch `pack.json` and compare it with the OCI manifest, before anything large is fetched."""
    layer = next((layer for layer in image.layers if layer.path == MANIFEST_PATH), None)
    if layer is None:
        raise PackError(f"{registry.reference} is a ModelPack without pack.json: aigrid did not make it")
    if layer.size > MAX_MANIFEST:
        raise PackError(f"{registry.reference}: pack.json has {layer.size:,} bytes, more than {MAX_MANIFEST:,}")
    path = blobs / layer.digest.removeprefix("sha256:")
    if not path.exists():
        await get_blob(registry, layer, path)
    derived = oci.derive(decode(path.read_bytes()))
    if derived.image != data:
        raise PackError(
            f"{registry.reference}: the OCI manifest does not say what pack.json says: it was edited",
            code="pack_tampered",
        )
    return derived


async def _blobs(image: oci.Image, blobs: Path, registry: Registry, progress: Progress | None) -> None:
    limit = asyncio.Semaphore(_AT_ONCE)

    async def one(entry: oci.Descriptor) -> None:
        path = blobs / entry.digest.removeprefix("sha256:")
        async with limit:
            if not path.exists():
                await get_blob(registry, entry, path, progress)
            elif progress:
                progress(entry.size)

    wanted = {entry.digest: entry for entry in (image.config, *image.layers)}
    await _all([one(entry) for entry in wanted.values()])
    for name in os.listdir(blobs):  # pieces of another pull, or what does not belong here
        if f"sha256:{name}" not in wanted:
            os.unlink(blobs / name)


async def _signature(digest: str, registry: Registry, keys: list[PublicKey]) -> bytes:
    """Return the signature to keep with the pack: one by a trusted key, else any that can be read, else nothing."""
    best = b""
    for entry in (await registry.referrers(digest, signing.BUNDLE_TYPE))[:_MOST_SIGNATURES]:
        found = await registry.manifest(entry.digest)
        try:
            image = read_json(found[0], oci.Image, "a signature") if found else None
            if image is None or image.subject is None or image.subject.digest != digest or not image.layers:
                continue
            check_descriptor(image.layers[0], "a signature")
            if image.layers[0].size > oci.MAX_DOCUMENT:
                continue
            data = (await registry.ask("GET", f"blobs/{image.layers[0].digest}")).body
            signature = signing.parse(data)
        except PackError:
            continue
        key = signature.key(keys)
        if key and key.verifies(signature.value, signature.message):
            return data
        best = best or data
    return best


def _check_space(image: oci.Image, target: Path) -> None:
    needed = sum(layer.size for layer in image.layers)
    there = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    free = shutil.disk_usage(target).free
    if needed - there > free:
        raise PackError(
            f"the pack needs {needed / 1e9:.2f} GB, {free / 1e9:.2f} GB are free at {target}", code="no_space"
        )


async def _all(tasks: list[Coroutine[None, None, None]]) -> None:
    """Run tasks at once; the first error ends them all and is raised as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            for task in tasks:
                group.create_task(task)
    except BaseExceptionGroup as group_error:
        raise group_error.exceptions[0] from None
