"""Keys that sign packs, and those whose signatures are trusted: PEM files in AIGRID_HOME/keys.

`sign.pem` (mode 0600) is this installation's own private key, made on first use, with `sign.pub` beside it;
`trusted/NAME.pub` are the public keys of others. ECDSA on P-256, as OpenSSF model-signing has it.
"""

import contextlib
import hashlib
import os
import re
import stat
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from aigrid.core.config import home
from aigrid.core.errors import BadRequest, ConfigError, Conflict
from aigrid.packs import folders

OWN = "this installation"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_HASHES: dict[int, hashes.HashAlgorithm] = {256: hashes.SHA256(), 384: hashes.SHA384(), 521: hashes.SHA512()}
_MAX_KEY = 16_384


class PublicKey(msgspec.Struct, frozen=True):
    """A key that signatures are checked with, and whose it is."""

    name: str
    pem: bytes

    @property
    def id(self) -> str:
        """The key's id: the SHA-256 of its PEM text, which is what model-signing writes into a signature."""
        return hashlib.sha256(self.pem).hexdigest()

    def verifies(self, signature: bytes, message: bytes) -> bool:
        """Whether `signature` over `message` was made with this key's private half."""
        key = _elliptic(serialization.load_pem_public_key(self.pem), self.name)
        try:
            key.verify(signature, message, ec.ECDSA(_HASHES[key.key_size]))
        except InvalidSignature:
            return False
        return True


def folder() -> Path:
    """Return the folder of the keys."""
    return home() / "keys"


def own() -> ec.EllipticCurvePrivateKey:
    """Return this installation's private key, made where there is none."""
    path = folder() / "sign.pem"
    if not path.exists():
        _make(path)
    return load_private(path)


def load_private(path: Path) -> ec.EllipticCurvePrivateKey:
    """Read a private key; raises `ConfigError` where it is none, or where others than its owner can read it."""
    try:
        with folders.open_regular(path) as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                raise ConfigError(
                    f"{path} can be read by others: run `chmod 600 {path}`; make a new key if it was seen"
                )
            key = serialization.load_pem_private_key(file.read(_MAX_KEY), None)
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"cannot read the private key {path}: {error}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.key_size not in _HASHES:
        raise ConfigError(f"{path}: use an elliptic-curve key on P-256, P-384 or P-521")
    return key


def own_public() -> PublicKey:
    """Return this installation's public key, made with the private one where there is none."""
    return PublicKey(OWN, public_pem(own().public_key()))


def trusted() -> list[PublicKey]:
    """Return the keys whose signatures count: this installation's, where it has one, and those it was told to trust."""
    found = []
    if (folder() / "sign.pem").exists():
        found.append(own_public())
    return found + [load_public(path, path.stem) for path in sorted((folder() / "trusted").glob("*.pub"))]


def trust(path: Path, name: str) -> PublicKey:
    """Trust the signatures of a public key from now on, under a name; raises `Conflict` where another has the name."""
    if not _NAME.fullmatch(name):
        raise BadRequest(f"{name!r}: use up to 64 letters, digits, dots, dashes, underscores and @", param="name")
    key = load_public(path, name)
    target = folder() / "trusted" / f"{name}.pub"
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if target.exists() and load_public(target, name).id != key.id:
        raise Conflict(f"another key is trusted as {name}: remove {target} first if it is not to be trusted any more")
    folders.write(target, key.pem)
    return key


def load_public(path: Path, name: str) -> PublicKey:
    """Read a public key in PEM; raises `BadRequest` where it is none that signatures here can be made with."""
    try:
        with path.open("rb") as file:
            key = _elliptic(serialization.load_pem_public_key(file.read(_MAX_KEY)), str(path))
    except (OSError, ValueError) as error:
        raise BadRequest(f"cannot read the public key {path}: {error}", param="key") from error
    return PublicKey(name, public_pem(key))


def public_pem(key: ec.EllipticCurvePublicKey) -> bytes:
    """Return a public key as PEM text."""
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def sign_bytes(key: ec.EllipticCurvePrivateKey, message: bytes) -> bytes:
    """Sign `message` as the key's curve has it: with the same bytes each time (RFC 6979) where OpenSSL 3.2 is there."""
    try:
        return key.sign(message, ec.ECDSA(_HASHES[key.key_size], deterministic_signing=True))
    except UnsupportedAlgorithm:
        return key.sign(message, ec.ECDSA(_HASHES[key.key_size]))


def _elliptic(key: object, where: str) -> ec.EllipticCurvePublicKey:
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.key_size not in _HASHES:
        raise BadRequest(f"{where}: use an elliptic-curve key on P-256, P-384 or P-521", param="key")
    return key


def _make(path: Path) -> None:
    """Make a key pair; of two processes that do so at once, one wins and both use its key."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    key = ec.generate_private_key(ec.SECP256R1())
    form = serialization.PrivateFormat.PKCS8
    pem = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    rough = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    folders.write(rough, pem, 0o600)
    try:
        with contextlib.suppress(FileExistsError):
            os.link(rough, path)
    finally:
        rough.unlink()
    folders.write(path.with_suffix(".pub"), public_pem(load_private(path).public_key()))
