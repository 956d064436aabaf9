"""What a pack says about itself: `pack.json`, from which all its other descriptions are derived."""

import hashlib
import math
import re
import unicodedata
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal, TypeVar, get_args

import msgspec

from aigrid.core.errors import AigridError, BadRequest

Kind = Literal["model", "agent", "brain", "guard", "app"]
_T = TypeVar("_T")
SCHEMA = 1
"""Version of `pack.json`; a reader refuses one that it does not know."""

MAX_MANIFEST = 1 << 20
"""Most bytes of a `pack.json`."""

MAX_FILES = 4000
"""Most files in a pack: with more, its OCI manifest would pass the 4 MiB that registries take."""

MANIFEST_PATH = "pack.json"
ROLES = {
    "weights": "weight",
    "adapter": "weight",
    "guard": "weight",
    "config": "weight.config",
    "prompts": "code",
    "grammar": "code",
    "tools": "code",
    "agent": "code",
    "app": "code",
    "evidence": "doc",
    "card": "doc",
    "sbom": "doc",
    "licence": "doc",
    "data": "dataset",
}
"""What a file is for, and ModelPack's word for such a layer."""

FIXED_PATHS = {"card": "README.md", "sbom": "sbom.cdx.json", "licence": "LICENSE"}
"""Roles of one file that others expect under one name."""

_NAME = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*")
_VERSION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_CREATED = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


class PackError(AigridError):
    """A pack is damaged, was tampered with, or is none; the message names the file."""

    default_code = "bad_pack"


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A part of a manifest: what it does not know is an error, what is not set is not written."""


class Base(_Part, frozen=True):
    """The base model: not in the pack, found by its digest. `source` is as in `aigrid models pull`."""

    name: str
    digest: str
    source: str

    def __post_init__(self) -> None:
        check_digest(self.digest, "base.digest")


class Data(_Part, frozen=True):
    """Data that the pack was made from: its digest and licence, not its content."""

    name: str
    digest: str
    licence: str = ""

    def __post_init__(self) -> None:
        check_digest(self.digest, "data.digest")


class Figure(_Part, frozen=True):
    """One measured figure with its interval, number of cases and the honest baseline beside it."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    n: int = 0
    unit: str = ""
    baseline: float | None = None

    def __post_init__(self) -> None:
        for field in ("value", "low", "high", "baseline"):
            number = getattr(self, field)
            if number is not None and not math.isfinite(number):
                raise BadRequest(f"evidence `{self.name}`: {field} is {number}, not a number", param="evidence")


class File(_Part, frozen=True):
    """A file in the pack, with what it is for."""

    path: str
    role: str
    digest: str
    size: int

    def __post_init__(self) -> None:
        check_path(self.path)
        check_digest(self.digest, self.path)
        if self.role not in ROLES:
            raise BadRequest(f"{self.path}: no role `{self.role}`; there are {', '.join(ROLES)}", param="files")
        if self.size < 0:
            raise BadRequest(f"{self.path}: its size is {self.size}", param="files")


class Manifest(_Part, frozen=True, kw_only=True):
    """All that a pack says about itself; `build` fills in `files`.

    `created` is RFC 3339 in UTC with whole seconds, given by the caller: the same inputs give the same bytes.
    `runtime` is read by whoever runs the pack, e.g. `{"engine": "openvino"}`.
    """

    name: str
    version: str
    kind: Kind
    created: str
    title: str = ""
    summary: str = ""
    licence: str = ""
    base: Base | None = None
    runtime: dict[str, Any] = {}
    data: tuple[Data, ...] = ()
    evidence: tuple[Figure, ...] = ()
    files: tuple[File, ...] = ()
    schema: int = msgspec.field(default=SCHEMA)

    def __post_init__(self) -> None:
        check_name(self.name)
        check_version(self.version)
        if self.schema != SCHEMA:
            raise PackError(f"{self.name}: pack.json is of schema {self.schema}; this aigrid knows {SCHEMA}")
        if self.kind not in get_args(Kind):
            raise BadRequest(f"kind `{self.kind}`: use one of {', '.join(get_args(Kind))}", param="kind")
        if not _is_time(self.created):
            raise BadRequest(f"created `{self.created}`: write it like 2026-01-31T12:00:00Z", param="created")
        if len({figure.name for figure in self.evidence}) < len(self.evidence):
            raise BadRequest("evidence: two figures have the same name", param="evidence")
        check_paths([file.path for file in self.files])

    def of_role(self, role: str) -> list[File]:
        """Return the files that are for `role`."""
        return [file for file in self.files if file.role == role]

    @property
    def size(self) -> int:
        """Bytes of all files, without the base model."""
        return sum(file.size for file in self.files)


def encode(manifest: Manifest) -> bytes:
    """Return the bytes of `pack.json`: the same for the same manifest, whoever writes them."""
    try:
        data = msgspec.json.encode(manifest, order="sorted")
    except (TypeError, RecursionError, ValueError) as error:
        raise BadRequest(f"{manifest.name}: `runtime` cannot be written as JSON: {error}", param="runtime") from error
    if len(data) > MAX_MANIFEST:
        raise BadRequest(f"{manifest.name}: pack.json has {len(data):,} bytes, more than {MAX_MANIFEST:,}")
    return data


def decode(data: bytes) -> Manifest:
    """Read `pack.json`; raises `PackError` where it is none, or not written as `encode` writes it."""
    try:
        manifest = read_json(data, Manifest, MANIFEST_PATH)
        same = encode(manifest) == data
    except BadRequest as error:
        raise PackError(f"pack.json cannot be read: {error}") from error
    if not same:
        raise PackError("pack.json is not in its canonical form: it was edited")
    return manifest


def read_json(data: bytes, kind: type[_T], name: str) -> _T:
    """Read a document of a type; raises `PackError` that names it where it is damaged in whatever way."""
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise PackError(f"{name} cannot be read: {error}") from error


def digest_of(data: bytes) -> str:
    """Return `sha256:` and the digest of `data` in hexadecimal."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def check_name(name: str) -> str:
    """Return a pack's name; raises `BadRequest` where registries would not take it."""
    if not _NAME.fullmatch(name) or len(name) > 128:
        raise BadRequest(
            f"name {name!r}: use up to 128 small letters and digits, with single dots, dashes or underscores between",
            param="name",
        )
    return name


def check_version(version: str) -> str:
    """Return a pack's version; raises `BadRequest` where registries would not take it as a tag."""
    if not _VERSION.fullmatch(version):
        raise BadRequest(
            f"version {version!r}: use up to 128 letters, digits, dots, dashes and underscores, not a dot or dash first",
            param="version",
        )
    return version


def check_digest(digest: str, where: str) -> str:
    """Return a digest; raises `BadRequest` where it is not `sha256:` and 64 small hexadecimal digits."""
    if not _DIGEST.fullmatch(digest):
        raise BadRequest(f"{where}: {digest!r} is not a digest; write `sha256:` and 64 hexadecimal digits", param=where)
    return digest


def check_path(path: str) -> str:
    """Return a file's path within a pack; raises `BadRequest` where it could lead elsewhere or is ambiguous."""
    parts = path.split("/")
    bad = (
        any(part in ("", ".", "..") or len(part.encode(errors="replace")) > 255 for part in parts)
        or len(path.encode(errors="replace")) > 1024
        or "\\" in path
        or any(unicodedata.category(char) in ("Cc", "Cs", "Cf") for char in path)
        or unicodedata.normalize("NFC", path) != path
    )
    if bad:
        raise BadRequest(
            f"{path!r} cannot be a path in a pack: use a relative path in composed Unicode (NFC), without `..`, "
            "backslashes or invisible characters",
            param="files",
        )
    return path


def check_paths(paths: Sequence[str]) -> None:
    """Raise `BadRequest` where paths are too many, not sorted, or two cannot stand beside each other on any disk."""
    if len(paths) > MAX_FILES:
        raise BadRequest(f"{len(paths)} files: a pack holds at most {MAX_FILES}; put small ones into an archive")
    if list(paths) != sorted(paths):
        raise BadRequest("files are not in the order of their paths", param="files")
    taken = {MANIFEST_PATH.casefold()}
    folders: set[str] = set()
    for path in paths:
        folded = path.casefold()
        above = ["/".join(folded.split("/")[:end]) for end in range(1, folded.count("/") + 1)]
        if folded in taken or folded in folders or taken.intersection(above):
            raise BadRequest(f"{path!r} cannot stand beside another file of the pack: their paths collide")
        taken.add(folded)
        folders.update(above)


def _is_time(text: str) -> bool:
    try:
        return bool(_CREATED.fullmatch(text)) and datetime.fromisoformat(text) is not None
    except ValueError:
        return False
