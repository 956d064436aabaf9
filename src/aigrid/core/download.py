"""Fetch one file over HTTP: resumable, checked, and safe when two processes want the same file.

Bytes go to `NAME.part` beside the target, under a lock on `NAME.lock`; a cut connection, Ctrl-C or a crash keeps
them, and the next try asks the server for the rest. Only a complete file with the right digest gets its name.
"""

import errno
import fcntl
import hashlib
import http.client
import os
import shutil
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from aigrid.core.errors import AigridError

Progress = Callable[[int, int | None], None]
"""Called with (bytes done, bytes in total or None where the server does not say)."""

_BLOCK = 1 << 20
_TRIES = 6
_CA_VARIABLES = ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE")


class DownloadError(AigridError):
    """A file could not be fetched, or is not what was promised."""

    default_code = "download_failed"


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follow redirects, keep the headers seen on the way, and never carry credentials to another host."""

    def __init__(self) -> None:
        self.seen: dict[str, str] = {}

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        self.seen |= {key.lower(): value for key, value in headers.items()}
        after = super().redirect_request(req, fp, code, msg, headers, newurl)
        if after is not None and after.host != req.host:
            after.remove_header("Authorization")
        return after


def open_url(url: str, headers: Mapping[str, str] | None = None, timeout_s: float = 60.0) -> Any:
    """Open `url` for reading; proxies and certificates come from the environment. Raises `DownloadError`.

    The answer's `seen` holds the headers of all redirects on the way, in lower case.
    """
    redirects = _Redirects()
    opener = urllib.request.build_opener(redirects, urllib.request.HTTPSHandler(context=tls_context()))
    request = urllib.request.Request(url, headers={"User-Agent": "aigrid", **(headers or {})})
    try:
        answer = opener.open(request, timeout=timeout_s)
    except urllib.error.HTTPError as error:
        error.close()
        hint = {
            401: "the server wants credentials (for Hugging Face set HF_TOKEN)",
            403: "access is refused (a gated model needs its licence accepted and HF_TOKEN set)",
            404: "there is no such file; check the name and the revision",
        }.get(error.code, "try again later")
        raise DownloadError(f"cannot fetch {url}: HTTP {error.code}; {hint}", code=f"http_{error.code}") from error
    except (urllib.error.URLError, OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise DownloadError(
            f"cannot reach {url}: {reason}; check the network and the proxy settings "
            "(HTTPS_PROXY, SSL_CERT_FILE), then try again: what was fetched is kept"
        ) from error
    answer.seen = redirects.seen
    return answer


def tls_context() -> ssl.SSLContext:
    """Return what certificates are checked with: the bundle that the environment names, else the system's."""
    bundle = next((os.environ[name] for name in _CA_VARIABLES if os.path.isfile(os.environ.get(name, ""))), None)
    return ssl.create_default_context(cafile=bundle)


def digest(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def lock(path: Path, waiting: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold an exclusive lock on `path` between processes; `waiting` is called five times a second until then."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if waiting:
                    waiting()
                time.sleep(0.2)
        yield


def fetch(
    url: str,
    target: Path,
    *,
    sha256: str = "",
    headers: Mapping[str, str] | None = None,
    progress: Progress | None = None,
    timeout_s: float = 60.0,
) -> Path:
    """Make `target` the content of `url` and return it; a file already there is taken as it is.

    An empty `sha256` takes the digest from the server where it states one (Hugging Face does for large files).
    Raises `DownloadError` when the network, the disk or the digest says no.
    """
    part = target.with_name(target.name + ".part")
    tell = progress or (lambda done, total: None)
    with lock(target.with_name(target.name + ".lock"), lambda: tell(_size(part), None)):
        if target.exists():
            return target
        resumed = _size(part) > 0
        try:
            found, promised = _fill(url, part, dict(headers or {}), tell, timeout_s, resume_blind=bool(sha256))
            if found != (sha256 or promised or found) and resumed:
                part.unlink()  # what was kept may stem from another version: once more from the start
                found, promised = _fill(url, part, dict(headers or {}), tell, timeout_s, resume_blind=False)
        except OSError as error:
            raise disk_error(error, target) from error
        if found != (sha256 or promised or found):
            part.unlink()
            raise DownloadError(
                f"{url} has SHA-256 {found}, expected {sha256 or promised}; the file was deleted: it is damaged, or "
                "the source has changed and is not the one that was pinned",
                code="wrong_digest",
            )
        _etag_file(part).unlink(missing_ok=True)
        os.replace(part, target)
    return target


def _fill(
    url: str, part: Path, headers: dict[str, str], tell: Progress, timeout_s: float, *, resume_blind: bool
) -> tuple[str, str]:
    """Append to `part` until it is complete; return its digest and the digest that the server promised, or ''."""
    etag = _etag_file(part)
    for attempt in range(_TRIES):
        have = _size(part)
        ask = dict(headers)
        if have and (resume_blind or etag.exists()):
            ask["Range"] = f"bytes={have}-"
            if etag.exists():
                ask["If-Range"] = etag.read_text()
        try:
            answer = open_url(url, ask, timeout_s)
        except DownloadError as error:
            if error.code == "http_416":  # nothing beyond what we have: complete, or longer than the file
                return digest(part), ""
            if (error.code or "").startswith("http_4") or attempt == _TRIES - 1:
                raise
            time.sleep(min(0.25 * 2**attempt, 8))
            continue
        with answer:
            start = have if answer.status == 206 else 0
            length = answer.headers.get("Content-Length")
            total = start + int(length) if length and length.isdigit() else None
            seen = {**answer.seen, **{key.lower(): value for key, value in answer.headers.items()}}
            if tag := answer.headers.get("ETag", ""):
                etag.write_text(tag)
            _check_space(part, (total or start) - start)
            sha, whole = _copy(answer, part, start, total, tell)
        if whole:
            promised = seen.get("x-linked-etag", "").strip('"')
            return sha, promised if len(promised) == 64 else ""
        if _size(part) == have:
            time.sleep(min(0.25 * 2**attempt, 8))
    raise DownloadError(
        f"{url}: the connection broke {_TRIES} times; try again, {_size(part) / 1e6:.0f} MB are kept and will not be "
        "fetched twice"
    )


def _copy(answer: Any, part: Path, start: int, total: int | None, tell: Progress) -> tuple[str, bool]:
    """Write the answer's body at `start` of `part`; return the digest of all and whether nothing is missing."""
    sha = hashlib.sha256()
    with part.open("r+b" if start else "wb") as file:
        for _ in range(start // _BLOCK + 1):
            sha.update(file.read(min(_BLOCK, start - file.tell())) if start else b"")
        done = start
        tell(done, total)
        try:
            while block := answer.read1(_BLOCK):
                file.write(block)
                sha.update(block)
                done += len(block)
                tell(done, total)
        except (http.client.HTTPException, ssl.SSLError, TimeoutError, ConnectionError):
            return "", False
        if total is None or done == total:
            file.flush()
            os.fsync(file.fileno())
            return sha.hexdigest(), True
    return "", False


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _etag_file(part: Path) -> Path:
    return part.with_name(part.name + ".etag")


def _check_space(path: Path, needed: int) -> None:
    free = shutil.disk_usage(path.parent).free
    if free < needed:
        raise OSError(errno.ENOSPC, f"{needed / 1e9:.2f} GB needed, {free / 1e9:.2f} GB free")


def disk_error(error: OSError, target: Path) -> DownloadError:
    """Return what to say where `target` cannot be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DownloadError(
            f"no space for {target} ({error.strerror}); free some, or set XDG_CACHE_HOME to a larger disk, then try "
            "again: what was fetched is kept",
            code="no_space",
        )
    return DownloadError(f"cannot write {target}: {error.strerror or error}; check the folder's permissions")
