"""Blobs to and from a registry: each once, in pieces where large, and going on where they broke off."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import IO

import aiohttp
from yarl import URL

from aigrid.packs import folders, oci
from aigrid.packs.folders import Progress
from aigrid.packs.manifest import PackError
from aigrid.packs.registry import TRIES, Answer, Registry, RegistryError, pause

CHUNK = 16 << 20
"""Bytes per request of an upload; a smaller blob goes in one."""

_TYPE = {"Content-Type": "application/octet-stream"}
_Show = Callable[[int], None]


async def put_blob(registry: Registry, digest: str, source: Path | bytes, progress: Progress | None = None) -> bool:
    """Store a blob unless it is there; return whether it was sent."""
    size = len(source) if isinstance(source, bytes) else os.stat(source).st_size
    show = _position(progress)
    if await registry.has_blob(digest):
        show(size)
        return False
    for attempt in range(TRIES):
        begun = await registry.ask("POST", "blobs/uploads/", fine=(202,))
        place, chunk = _location(begun), max(CHUNK, int(begun.headers.get("OCI-Chunk-Min-Length", "0")))
        data = b""
        if isinstance(source, bytes):
            data = source
        elif size <= chunk:
            data = await asyncio.to_thread(source.read_bytes)
        elif (sent := await _put_chunks(registry, place, source, size, chunk, show)) is not None:
            place = sent
        else:
            await pause(attempt)
            continue
        done = await registry.ask("PUT", _close(place, digest), data=data, headers=_TYPE, fine=(201, 404))
        if done.status == 201:
            show(size)
            return True
        await pause(attempt)  # the registry has forgotten the upload
    raise RegistryError(f"{registry.reference.host} forgot the upload of {digest[:19]}… {TRIES} times; try again later")


async def _put_chunks(registry: Registry, place: URL, source: Path, size: int, chunk: int, show: _Show) -> URL | None:
    """Send a large blob in pieces; return where to close the upload, None where it has to begin anew."""
    at = broken = 0
    with source.open("rb") as file:
        while at < size:
            file.seek(at)
            data = await asyncio.to_thread(file.read, chunk)
            headers = _TYPE | {"Content-Range": f"{at}-{at + len(data) - 1}"}
            try:
                answer = await registry.ask("PATCH", place, data=data, headers=headers, tries=1)
                place, at, broken = _location(answer), at + len(data), 0
            except RegistryError:
                if (broken := broken + 1) == TRIES:
                    raise
                await pause(broken)
                status = await registry.ask("GET", place, fine=(204, 404))
                if status.status == 404:
                    return None
                place, at = _location(status, place), _received(status)
            show(at)
    return place


async def get_blob(registry: Registry, entry: oci.Descriptor, target: Path, progress: Progress | None = None) -> None:
    """Fetch a blob to `target`, checked; what is there of it in `target`.part is not fetched again."""
    part = target.with_name(f"{target.name}.part")
    show = _position(progress)
    name = entry.path or f"{entry.digest[:19]}…"
    problem = ""
    for attempt in range(TRIES):
        resumed = _size(part)
        try:
            if resumed < entry.size or not resumed:
                await _fetch(registry, entry, part, resumed, show)
        except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
            problem = str(error) or type(error).__name__
        if _size(part) >= entry.size:
            with part.open("rb") as file:
                found = await asyncio.to_thread(folders.hash_file, file)
            if found == entry.digest:
                os.replace(part, target)
                return
            os.unlink(part)
            show(0)
            problem = f"its digest is {found[:19]}…"
            if not resumed:  # not an old piece that did not fit: what the registry gives is wrong
                raise PackError(f"{name} from {registry.reference} is damaged: {problem}", code="pack_tampered")
        await pause(attempt)
    raise RegistryError(
        f"{name} could not be fetched from {registry.reference} in {TRIES} tries ({problem}); what came is kept: try again"
    )


async def _fetch(registry: Registry, entry: oci.Descriptor, part: Path, have: int, show: _Show) -> None:
    """Append what is missing to `part`."""
    await registry.ask("HEAD", f"blobs/{entry.digest}")  # so that there is a token, and a plain message without one
    url = registry.base.join(URL(f"blobs/{entry.digest}"))
    headers = registry.own_headers(url) | ({"Range": f"bytes={have}-"} if have else {})
    async with registry.session.get(url, headers=headers) as answer:
        if answer.status not in (200, 206):
            raise aiohttp.ClientError(f"HTTP {answer.status}")
        at = have if answer.status == 206 else 0  # 200: it does not give pieces
        with _open_at(part, at) as file:
            async for block in answer.content.iter_chunked(1 << 20):
                if at + len(block) > entry.size:
                    file.truncate(0)
                    raise PackError(
                        f"{entry.path or entry.digest} from {registry.reference} is longer than the {entry.size:,} bytes "
                        "that the pack says",
                        code="pack_tampered",
                    )
                file.write(block)
                at += len(block)
                show(at)
            folders.sync(file)


def _position(progress: Progress | None) -> _Show:
    """Return a function that tells `progress` where one blob is now."""
    told = 0

    def show(now: int) -> None:
        nonlocal told
        if progress:
            progress(now - told)
        told = now

    return show


def _open_at(part: Path, at: int) -> IO[bytes]:
    """Open a file for writing from `at` on; what it had beyond is cut off."""
    file = open(os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644), "r+b")  # noqa: SIM115 - the caller closes it
    file.seek(at)
    file.truncate()
    return file


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _location(answer: Answer, otherwise: URL | None = None) -> URL:
    """Return where an upload goes on."""
    place = answer.headers.get("Location", "")
    if not place and otherwise is not None:
        return otherwise
    return answer.url.join(URL(place, encoded=True))


def _close(place: URL, digest: str) -> URL:
    """Return where an upload is closed; what its URL says already stays as it is written, for it may be signed."""
    text = str(place)
    return URL(f"{text}{'&' if '?' in text else '?'}digest={digest}", encoded=True)


def _received(answer: Answer) -> int:
    """Return how many bytes of an upload the registry has."""
    last = answer.headers.get("Range", "").rpartition("-")[2]
    return int(last) + 1 if last.isdigit() and last != "0" else 0
