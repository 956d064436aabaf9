"""Fetching a page: http and https only, within limits of time and size, and no address inside a private network.

The address is looked up once, checked, and connected to as checked, at every redirect anew: a name that means one
thing to the check and another to the connection gets nowhere.
"""

import http.client
import ipaddress
import os
import socket
import ssl
import tempfile
import time
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from aigrid import __version__
from aigrid.core.errors import AigridError, BadRequest

MAX_BYTES = 32 << 20
TIMEOUT_S = 20.0
WHOLE_S = 60.0
REDIRECTS = 5
_BLOCK = 1 << 16
_HEADERS = {
    "user-agent": f"aigrid/{__version__}",
    "accept": "text/html,application/xhtml+xml,text/*,application/pdf,*/*;q=0.5",
    "accept-encoding": "identity",
}
_SUFFIXES = {
    "text/html": ".html",
    "application/xhtml+xml": ".html",
    "text/markdown": ".md",
    "text/plain": ".txt",
    "text/csv": ".csv",
    "application/json": ".json",
    "application/pdf": ".pdf",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": ".docx",
    "application/vnd.openxmlformats-officedocument.presentationml.presentation": ".pptx",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": ".xlsx",
    "message/rfc822": ".eml",
}


class FetchError(AigridError):
    """A page cannot be had; the message says why."""

    status = 502
    type = "upstream_error"
    default_code = "fetch_failed"


def fetch_page(url: str, folder: Path, private: bool = False) -> str:
    """Fetch `url` into a new file in `folder` and return its path.

    `private` allows addresses of private networks and of this machine. Raises `BadRequest` for what is no web
    address, `FetchError` for what cannot be fetched, is refused, too large or too slow.
    """
    until = time.monotonic() + WHOLE_S
    for _ in range(REDIRECTS + 1):
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise BadRequest(f"`{url}` is not a web address; only http and https are fetched")
        if parts.username is not None:
            raise BadRequest(f"`{parts.hostname}`: web addresses with a user name in them are not fetched")
        connection = _connect(parts.scheme, parts.hostname, parts.port, private)
        try:
            path = parts.path or "/"
            connection.request("GET", f"{path}?{parts.query}" if parts.query else path, headers=_HEADERS)
            answer = connection.getresponse()
            if answer.status in (301, 302, 303, 307, 308) and (place := answer.getheader("location")):
                url = urljoin(url, place)
                continue
            if answer.status != 200:
                raise FetchError(f"{url} answered with HTTP status {answer.status}")
            return _save(url, answer, folder, until)
        except (OSError, http.client.HTTPException, UnicodeError) as error:
            raise FetchError(f"{url} cannot be fetched: {error or type(error).__name__}") from None
        finally:
            connection.close()
    raise FetchError(f"{url}: more than {REDIRECTS} redirects")


def _connect(scheme: str, host: str, port: int | None, private: bool) -> http.client.HTTPConnection:
    """Return a connection to the first address of `host`, all of which must be public."""
    port = port or (443 if scheme == "https" else 80)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise FetchError(f"no address is known for {host} ({error})") from None
    addresses = [str(entry[4][0]) for entry in found]
    for address in addresses:
        if not private and not is_public(address):
            raise FetchError(
                f"{host} is {address}, which is not on the public Internet; set knowledge.private_urls to allow it",
                code="private_address",
            )
    connection: http.client.HTTPConnection
    try:
        sock = socket.create_connection((addresses[0], port), TIMEOUT_S)
        if scheme == "https":
            connection = http.client.HTTPSConnection(host, port, timeout=TIMEOUT_S)
            sock = ssl.create_default_context().wrap_socket(sock, server_hostname=host)
        else:
            connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)
    except OSError as error:
        raise FetchError(f"{host} cannot be reached: {error}") from None
    connection.sock = sock
    return connection


def is_public(address: str) -> bool:
    """Return whether an address is on the public Internet, seen through every way of wrapping an IPv4 in an IPv6."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if inner is None and ip in ipaddress.ip_network("64:ff9b::/96"):
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
    return ip.is_global and not ip.is_multicast


def _save(url: str, answer: http.client.HTTPResponse, folder: Path, until: float) -> str:
    kind = answer.headers.get_content_type()
    suffix = _SUFFIXES.get(kind) or os.path.splitext(urlsplit(url).path)[1][:10] or ".txt"
    handle, path = tempfile.mkstemp(suffix, dir=folder)
    size = 0
    with open(handle, "wb") as file:
        while block := answer.read1(_BLOCK):
            size += len(block)
            if size > MAX_BYTES:
                os.unlink(path)
                raise FetchError(f"{url} is larger than {MAX_BYTES >> 20} MiB")
            if time.monotonic() > until:
                os.unlink(path)
                raise FetchError(f"{url} took longer than {WHOLE_S:g} s")
            file.write(block)
    return path
