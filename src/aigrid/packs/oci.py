"""The OCI image layout of a pack, in the media types of CNCF ModelPack; all of it derived from `pack.json`.

OCI image-spec 1.1 and https://github.com/modelpack/model-spec. Each file is one layer, raw: nothing is archived or
compressed, so nothing has to be unpacked before it can be checked, and a tampered file has its own name.
"""

from pathlib import Path

import msgspec

from aigrid.packs.manifest import MANIFEST_PATH, ROLES, File, Manifest, PackError, digest_of, encode

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
ARTIFACT_TYPE = "application/vnd.cncf.model.manifest.v1+json"
CONFIG_TYPE = "application/vnd.cncf.model.config.v1+json"
LAYER_TYPE = "application/vnd.cncf.model.{}.v1.raw"
FILEPATH = "org.cncf.model.filepath"
FILE_METADATA = "org.cncf.model.file.metadata+json"
TITLE = "org.opencontainers.image.title"
ROLE = "org.aigrid.pack.role"
KIND = "org.aigrid.pack.kind"
REF_NAME = "org.opencontainers.image.ref.name"

MAX_DOCUMENT = 4 << 20
"""Most bytes of an index, a manifest or a configuration: what registries take."""

LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'
_EPOCH = "1970-01-01T00:00:00Z"


class Descriptor(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """What a blob is, by digest."""

    media_type: str
    digest: str
    size: int
    artifact_type: str = ""
    annotations: dict[str, str] = {}

    @property
    def path(self) -> str:
        """The path that the file of this layer has; empty where it has none."""
        return self.annotations.get(FILEPATH, "")


class Image(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """An OCI image manifest."""

    schema_version: int
    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]
    artifact_type: str = ""
    annotations: dict[str, str] = {}
    subject: Descriptor | None = None


class Index(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """An OCI image index: `index.json` of a layout, or a registry's list of referrers."""

    schema_version: int
    media_type: str
    manifests: tuple[Descriptor, ...]


class Derived(msgspec.Struct, frozen=True):
    """The documents of a pack, as bytes: they follow from its manifest and from nothing else."""

    manifest: bytes
    config: bytes
    image: bytes
    index: bytes
    layers: tuple[Descriptor, ...]

    @property
    def digest(self) -> str:
        """The digest by which the pack is known: that of its OCI manifest."""
        return digest_of(self.image)

    @property
    def documents(self) -> dict[str, bytes]:
        """Those of the documents that are blobs, by digest."""
        return {digest_of(data): data for data in (self.manifest, self.config, self.image)}


def canonical(value: object) -> bytes:
    """Return a document as JSON with sorted keys and no spaces."""
    return msgspec.json.encode(value, order="sorted")


def derive(manifest: Manifest) -> Derived:
    """Return all documents of the pack that `manifest` describes."""
    data = encode(manifest)
    own = File(path=MANIFEST_PATH, role="config", digest=digest_of(data), size=len(data))
    layers = tuple(_layer(file) for file in sorted((*manifest.files, own), key=lambda file: file.path))
    config = canonical(_config(manifest, layers))
    annotations = {
        TITLE: manifest.name,
        "org.opencontainers.image.version": manifest.version,
        "org.opencontainers.image.created": manifest.created,
        KIND: manifest.kind,
    }
    if manifest.summary:
        annotations["org.opencontainers.image.description"] = manifest.summary
    if manifest.licence:
        annotations["org.opencontainers.image.licenses"] = manifest.licence
    image = canonical(
        Image(
            schema_version=2,
            media_type=MANIFEST_TYPE,
            artifact_type=ARTIFACT_TYPE,
            config=Descriptor(CONFIG_TYPE, digest_of(config), len(config)),
            layers=layers,
            annotations=annotations,
        )
    )
    if len(image) > MAX_DOCUMENT:
        raise PackError(f"{manifest.name}: its OCI manifest has {len(image):,} bytes, more than registries take")
    return Derived(data, config, image, index_of(image, manifest.version), layers)


def index_of(image: bytes, version: str) -> bytes:
    """Return the `index.json` of a layout that holds one pack."""
    entry = Descriptor(MANIFEST_TYPE, digest_of(image), len(image), ARTIFACT_TYPE, {REF_NAME: version})
    return canonical(Index(schema_version=2, media_type=INDEX_TYPE, manifests=(entry,)))


def _layer(file: File) -> Descriptor:
    name = file.path.rsplit("/", 1)[-1]
    metadata = {"name": name, "mode": 0o644, "uid": 0, "gid": 0, "size": file.size, "mtime": _EPOCH, "typeflag": 48}
    annotations = {
        FILEPATH: file.path,
        FILE_METADATA: canonical(metadata).decode(),
        TITLE: file.path,  # by which `oras pull` names the file
        ROLE: file.role,
    }
    return Descriptor(LAYER_TYPE.format(ROLES[file.role]), file.digest, file.size, annotations=annotations)


def _config(manifest: Manifest, layers: tuple[Descriptor, ...]) -> dict[str, object]:
    """Return ModelPack's model configuration."""
    about = {"name": manifest.name, "version": manifest.version, "createdAt": manifest.created}
    about |= {"title": manifest.title} if manifest.title else {}
    about |= {"description": manifest.summary} if manifest.summary else {}
    descriptor: dict[str, object] = dict(about)
    if manifest.licence:
        descriptor["licenses"] = [manifest.licence]
    if manifest.base:
        descriptor["family"] = manifest.base.name
    suffixes = sorted({Path(file.path).suffix[1:] for file in manifest.of_role("weights")} - {""})
    technical = {"format": suffixes[0]} if len(suffixes) == 1 else {}
    return {
        "descriptor": descriptor,
        "config": technical,
        "modelfs": {"type": "layers", "diffIds": [layer.digest for layer in layers]},
    }


def blob_path(folder: Path, digest: str) -> Path:
    """Return where a layout keeps the blob of a digest."""
    return folder / "blobs" / "sha256" / digest.removeprefix("sha256:")
