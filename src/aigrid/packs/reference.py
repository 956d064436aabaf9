"""Where a pack is in a registry, and with whose name and password to go there."""

import base64
import binascii
import os
import re
from pathlib import Path

import msgspec

from aigrid.core.errors import BadRequest, ConfigError

_NAME = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")
_HOST = re.compile(r"(?:localhost|[A-Za-z0-9.-]+\.[A-Za-z0-9-]+|\[[0-9A-Fa-f:]+\]|[A-Za-z0-9.-]+(?=:))(?::\d{1,5})?")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class Reference(msgspec.Struct, frozen=True):
    """A place in a registry, such as `registry.example.org/team/router:1.0` or `…@sha256:…`."""

    host: str
    name: str
    tag: str = ""
    digest: str = ""

    @property
    def version(self) -> str:
        """What is asked for: the digest where one is given, else the tag."""
        return self.digest or self.tag

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{self.host}/{self.name}{tag}" + (f"@{self.digest}" if self.digest else "")


def parse(text: str, tag: str = "") -> Reference:
    """Read `HOST[:PORT]/NAME[:TAG][@DIGEST]`; `tag` is taken where there is neither. Raises `BadRequest`."""
    place, _, digest = text.partition("@")
    host, _, rest = place.partition("/")
    name, _, found = rest.partition(":")
    right = (
        _HOST.fullmatch(host)
        and _NAME.fullmatch(name)
        and len(name) <= 255
        and (not found or _TAG.fullmatch(found))
        and (not digest or _DIGEST.fullmatch(digest))
    )
    if not right or (not found and not digest and not tag):
        raise BadRequest(
            f"{text!r} is not a place in a registry; write it like registry.example.org/team/name:1.0, with a dot or "
            "a port in the host",
            param="reference",
        )
    return Reference(host, name, found or ("" if digest else tag), digest)


def credentials(host: str, user: str = "") -> tuple[str, str] | None:
    """Return the name and password for a registry: of `user` and AIGRID_REGISTRY_PASSWORD, else of `docker login`.

    None where there are none: public registries ask for none.
    """
    if user:
        password = os.environ.get("AIGRID_REGISTRY_PASSWORD", "")
        if not password:
            raise ConfigError(f"put the password of {user} at {host} into the variable AIGRID_REGISTRY_PASSWORD")
        return user, password
    path = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker") / "config.json"
    try:
        auths = msgspec.json.decode(path.read_bytes(), type=dict[str, object]).get("auths", {})
        entry = auths.get(host) if isinstance(auths, dict) else None
        coded = entry.get("auth", "") if isinstance(entry, dict) else ""
        name, colon, password = base64.b64decode(str(coded)).decode().partition(":")
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError, binascii.Error, UnicodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}") from error
    return (name, password) if colon else None
