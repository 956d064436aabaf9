"""Who may administer: an admin key, or anyone on this machine when the gateway listens on loopback only.

The open door on loopback is guarded against the two ways in which a web page elsewhere could use it: DNS rebinding
(the `Host` header must name this machine) and cross-site requests (an `Origin` must be our own). No CORS header is
ever sent, so other pages cannot read an answer either.
"""

import ipaddress
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from aigrid.core.config import Config
from aigrid.core.errors import Forbidden, Unauthorized
from aigrid.engines.base import Engine
from aigrid.gateway.http import Request
from aigrid.ledger.base import Ledger

if TYPE_CHECKING:
    from aigrid.gateway.ingestion import Ingestion
    from aigrid.gateway.knowledge import Knowledge

FORWARDED = (b"forwarded", b"x-forwarded-for", b"x-real-ip")


class AdminGateway(Protocol):
    """What administration needs of the gateway. `started_ns` is since the epoch; requests are counted now."""

    config: Config
    started_ns: int

    knowledge: "Knowledge"
    ingestion: "Ingestion"

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


async def authorise_admin(request: Request, gateway: AdminGateway) -> str:
    """Return the name of who asks, for the audit log.

    Raises `Unauthorized` without a good key where one is needed, `Forbidden` for a key of another scope or a
    request that another web site may have caused. A key that is shown is always checked, on loopback too.
    """
    scheme, _, secret = request.header(b"authorization").partition(" ")
    if secret and scheme.lower() == "bearer":
        return await _authorise_key(secret.strip(), gateway.ledger)
    if not is_loopback(gateway.config.gateway.host) or not is_loopback(request.address):
        raise Unauthorized("administration needs an admin key: send `Authorization: Bearer <admin key>`")
    if any(name in request.headers for name in FORWARDED):
        raise Unauthorized("this request came through a proxy: send `Authorization: Bearer <admin key>`")
    _refuse_foreign_pages(request, gateway.config.gateway.host)
    return "local"


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
