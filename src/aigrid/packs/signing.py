"""The signature of a pack, in OpenSSF model-signing's format 1.0: `pack.sig` beside the layout.

A Sigstore bundle around a DSSE envelope around an in-toto statement that names every file with its digest. The
library of the same name reads and writes the same: `model_signing verify key PACK --signature PACK/pack.sig …`.
"""

import base64
import binascii
import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec

from aigrid.packs import folders
from aigrid.packs.folders import Progress
from aigrid.packs.keys import PublicKey, own, public_pem, sign_bytes
from aigrid.packs.manifest import PackError
from aigrid.packs.oci import MAX_DOCUMENT

SIGNATURE = "pack.sig"
BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
_STATEMENT = "https://in-toto.io/Statement/v1"
_PREDICATE = "https://model_signing/signature/v1.0"


class _Strict(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    pass


class _Key(_Strict, frozen=True):
    hint: str


class _Material(_Strict, frozen=True):
    public_key: _Key
    tlog_entries: tuple[()] = ()


class _Signed(_Strict, frozen=True):
    sig: str
    keyid: str = ""


class _Envelope(_Strict, frozen=True):
    payload: str
    payload_type: str
    signatures: tuple[_Signed]


class _Bundle(_Strict, frozen=True):
    media_type: str
    verification_material: _Material
    dsse_envelope: _Envelope


class _Resource(msgspec.Struct, frozen=True):
    name: str
    digest: str
    algorithm: str


class _Predicate(msgspec.Struct, frozen=True):
    serialization: dict[str, Any]
    resources: tuple[_Resource, ...]


class _Subject(msgspec.Struct, frozen=True):
    name: str
    digest: dict[str, str]


class _Statement(msgspec.Struct, frozen=True, rename={"type_": "_type", "predicate_type": "predicateType"}):
    type_: str
    subject: tuple[_Subject]
    predicate_type: str
    predicate: _Predicate


class Signature(msgspec.Struct, frozen=True):
    """What a signature says, before anybody has checked it: the digests of files, by path."""

    key_id: str
    files: dict[str, str]
    message: bytes
    value: bytes

    def key(self, keys: Iterable[PublicKey]) -> PublicKey | None:
        """Return the one of `keys` that the signature says made it."""
        return next((key for key in keys if key.id == self.key_id), None)


def sign(path: Path, key: ec.EllipticCurvePrivateKey | None = None, progress: Progress | None = None) -> str:
    """Sign a pack's folder with a private key, by default this installation's; return the id of the key.

    The pack is checked first: nothing that is damaged gets a signature. One that is there is replaced.
    """
    from aigrid.packs.checking import digests
    from aigrid.packs.reading import open_pack

    pack = open_pack(path)
    return write(path, pack.manifest.name, digests(pack, progress), key)


def write(path: Path, name: str, files: Mapping[str, str], key: ec.EllipticCurvePrivateKey | None = None) -> str:
    """Write the signature over `files` (digests by path) into a pack's folder; return the id of the key."""
    key = key or own()
    # As the library does it: the paths in their parts' order, and one digest over all digests.
    ordered = sorted(files.items(), key=lambda item: PurePosixPath(item[0]))
    resources = [
        {"name": name, "algorithm": "sha256", "digest": digest.removeprefix("sha256:")} for name, digest in ordered
    ]
    root = hashlib.sha256(b"".join(bytes.fromhex(resource["digest"]) for resource in resources)).hexdigest()
    statement = {
        "_type": _STATEMENT,
        "subject": [{"name": name, "digest": {"sha256": root}}],
        "predicateType": _PREDICATE,
        "predicate": {
            "serialization": {
                "method": "files",
                "hash_type": "sha256",
                "allow_symlinks": False,
                "ignore_paths": [SIGNATURE],
            },
            "resources": resources,
        },
    }
    payload = msgspec.json.encode(statement)
    id = hashlib.sha256(public_pem(key.public_key())).hexdigest()
    bundle = _Bundle(
        BUNDLE_TYPE,
        _Material(_Key(id)),
        _Envelope(_text(payload), PAYLOAD_TYPE, (_Signed(_text(sign_bytes(key, _message(payload)))),)),
    )
    folders.write(path / SIGNATURE, msgspec.json.encode(bundle))
    return id


def read(path: Path) -> Signature | None:
    """Read a pack's signature without checking it; None where there is none, `PackError` where it is damaged."""
    try:
        with folders.open_regular(path / SIGNATURE) as file:
            data = file.read(MAX_DOCUMENT + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise PackError(f"{SIGNATURE}: {error.strerror}", code="bad_signature") from error
    return parse(data)


def parse(data: bytes) -> Signature:
    """Read the bytes of a signature; raises `PackError` for anything that two readers could read differently."""
    try:
        if len(data) > MAX_DOCUMENT:
            raise ValueError(f"it has more than {MAX_DOCUMENT:,} bytes")
        bundle = msgspec.json.decode(data, type=_Bundle)
        envelope = bundle.dsse_envelope
        payload = _bytes(envelope.payload)
        value = _bytes(envelope.signatures[0].sig)
        statement = msgspec.json.decode(payload, type=_Statement)
        resources = statement.predicate.resources
        files = {resource.name: f"sha256:{resource.digest}" for resource in resources}
        root = hashlib.sha256(b"".join(bytes.fromhex(resource.digest) for resource in resources)).hexdigest()
        right = (
            bundle.media_type == BUNDLE_TYPE
            and envelope.payload_type == PAYLOAD_TYPE
            and statement.type_ == _STATEMENT
            and statement.predicate_type == _PREDICATE
            and statement.predicate.serialization.get("method") == "files"
            and all(resource.algorithm == "sha256" for resource in resources)
            and len(files) == len(resources)
            and statement.subject[0].digest == {"sha256": root}
            and envelope.signatures[0].keyid == ""
        )
        if not right:
            raise ValueError("it is not of the format model-signing 1.0 with a key")
    except (msgspec.DecodeError, ValueError, binascii.Error, RecursionError) as error:
        raise PackError(f"{SIGNATURE} cannot be read: {error}", code="bad_signature") from error
    return Signature(bundle.verification_material.public_key.hint, files, _message(payload), value)


def _message(payload: bytes) -> bytes:
    """Return what is signed: DSSE's pre-authentication encoding."""
    return b"DSSEv1 %d %s %d %s" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), len(payload), payload)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bytes(text: str) -> bytes:
    """Decode base64; the same bytes in another spelling are refused."""
    data = base64.b64decode(text, validate=True)
    if _text(data) != text:
        raise ValueError("its base64 is not in the canonical form")
    return data
