"""Who may administer: an admin key, or anyone on this machine when the gateway listens on loopback only.

The open door on loopback is guarded against the two ways in which a web page elsewhere could use it: DNS rebinding
(the `Host` header must name this machine) and cross-site requests (an `Origin` must be our own). No CORS header is
ever sent, so other pages cannot read an answer either.
"""

import base64
import binascii
import ipaddress
from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from aigrid.core.config import Config
from aigrid.core.errors import Forbidden, Unauthorized
from aigrid.engines.base import Engine
from aigrid.gateway.http import Request
from aigrid.ledger.base import Ledger

if TYPE_CHECKING:
    from aigrid.gateway.batches.shift import Shift
    from aigrid.gateway.ingestion import Ingestion
    from aigrid.gateway.knowledge import Knowledge

_PROXY_HEADERS = {b"forwarded", b"via", b"x-real-ip", b"true-client-ip"}
_PROXY_PREFIXES = (b"x-forwarded-", b"x-envoy-", b"cf-")


class AdminGateway(Protocol):
    """What administration needs of the gateway. `started_ns` is since the epoch; requests are counted now."""

    config: Config
    started_ns: int

    knowledge: "Knowledge"
    ingestion: "Ingestion"
    shift: "Shift"

    @property
    def ledger(self) -> Ledger:
        """The record."""

    @property
    def engines(self) -> list[Engine]:
        """All engines, ready or not."""

    @property
    def running(self) -> int:
        """Requests being worked on."""

    @property
    def waiting(self) -> int:
        """Requests waiting for a place."""


def is_loopback(host: str) -> bool:
    """Return whether a host name or address is this machine talking to itself."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]").partition("%")[0]).is_loopback
    except ValueError:
        return False


def host_name(netloc: str) -> str:
    """Return the lower-case host of `host[:port]`, without port and brackets; empty where it is malformed."""
    try:
        return urlsplit(f"//{netloc}").hostname or ""
    except ValueError:
        return ""


def is_proxied(names: Iterable[bytes]) -> bool:
    """Return whether one of these lower-case header names is a proxy's."""
    return any(name in _PROXY_HEADERS or name.startswith(_PROXY_PREFIXES) for name in names)


def is_local(request: Request, gateway: AdminGateway) -> bool:
    """Return whether this machine asks itself: listener and caller on loopback, no proxy's header."""
    ends = (gateway.config.gateway.host, request.address)
    return all(is_loopback(end) for end in ends) and not is_proxied(request.headers)


async def authorise_admin(request: Request, gateway: AdminGateway) -> str:
    """Return the name of who asks, for the audit log.

    Raises `Unauthorized` without a good key where one is needed, `Forbidden` for a key of another scope or a
    request that another web site may have caused. A key that is shown is always checked, on loopback too: as a
    bearer, as the password (or, without one, the name) of `Basic`, or as `x-api-key`.
    """
    secret = _shown(request)
    if secret is not None:
        return await _authorise_key(secret, gateway.ledger)
    if not is_local(request, gateway):
        why = "this came through a proxy" if is_proxied(request.headers) else "administration needs an admin key"
        raise Unauthorized(f"{why}: send `Authorization: Bearer <admin key>`")
    _refuse_foreign_pages(request, gateway.config.gateway.host)
    return "local"


def _shown(request: Request) -> str | None:
    """Return the secret that a request shows in any form, or None; one that cannot be read is as good as wrong."""
    scheme, _, value = request.header(b"authorization").strip().partition(" ")
    value = value.strip()
    if scheme.lower() == "basic":
        try:
            name, _, password = base64.b64decode(value, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return value
        return password or name
    if scheme:
        return value
    return request.header(b"x-api-key").strip() if b"x-api-key" in request.headers else None


async def _authorise_key(secret: str, ledger: Ledger) -> str:
    key = ledger.authenticate(secret) or await ledger.lookup(secret)
    if key is None:
        raise Unauthorized("this key is unknown or revoked; make one with `aigrid keys create --scope admin`")
    if key.scope != "admin":
        raise Forbidden("this key may make tokens but not administer; use a key with the scope `admin`")
    return f"{key.name} ({key.id})" if key.name else key.id


def _refuse_foreign_pages(request: Request, own_host: str) -> None:
    host = request.header(b"host").lower()
    name = host_name(host)
    if not (is_loopback(name) or name == own_host.lower()):
        raise Forbidden(
            f"the Host header names `{name}`, not this machine; call the gateway by its own address",
            code="cross_site_request",
        )
    origin = request.header(b"origin").lower()
    if (origin and origin.partition("://")[2] != host) or request.header(b"sec-fetch-site") in {
        "cross-site",
        "same-site",
    }:
        raise Forbidden("a page of another web site asked for this; it is refused", code="cross_site_request")
