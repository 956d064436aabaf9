"""Where another radio's lines come from: the end of a log that grows, or a page that is asked for every second."""

import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from aigrid.core.errors import BadRequest, NotFound, Unavailable
from aigrid.ran.adapters import ADAPTERS, follow
from aigrid.ran.adapters.aerial import Aerial
from aigrid.ran.adapters.base import Adapter
from aigrid.ran.adapters.oai import Oai
from aigrid.ran.state import Page

LOOK_S, ASK_S, TIMEOUT_S = 0.2, 1.0, 5.0
MOST_BYTES = 16 << 20


def adapter(kind: str, prb: int) -> Adapter:
    """Return a reader of one kind of radio."""
    if kind not in ADAPTERS:
        raise BadRequest(f"no adapter reads {kind!r}; there are {', '.join(sorted(ADAPTERS))}", param="kind")
    return Oai(prb) if kind == "oai" else Aerial(prb) if kind == "aerial" else ADAPTERS[kind]()


def watch_radio(kind: str, source: str, prb: int, seconds: float, page: Page) -> Iterator[int]:
    """Publish what a radio says until `seconds` are over (0: for ever); yields the reports of each look."""
    reader = adapter(kind, prb)
    pieces = scrape(source) if kind == "aerial" else tail(Path(source))
    end = time.monotonic() + seconds if seconds else float("inf")
    for lines in pieces:
        yield follow(reader, lines, page)
        if time.monotonic() >= end:
            return
        time.sleep(ASK_S if kind == "aerial" else LOOK_S)


def tail(path: Path) -> Iterator[list[str]]:
    """Yield the whole lines that a file has got since the last look; one that shrank is read from its beginning."""
    at, rest = 0, b""
    while True:
        try:
            with path.open("rb") as file:
                if file.seek(0, 2) < at:
                    at, rest = 0, b""
                file.seek(at)
                data = rest + file.read(MOST_BYTES)
                at = file.tell()
        except OSError as error:
            raise NotFound(f"cannot read the radio's log {path}: {error.strerror}") from error
        *lines, rest = data.split(b"\n")
        yield [line.decode(errors="replace") for line in lines]


def scrape(url: str) -> Iterator[list[str]]:
    """Yield a metrics page every time it is asked for."""
    if urlsplit(url).scheme not in ("http", "https"):
        raise BadRequest(f"{url!r} is not the address of a metrics page; give http://HOST:PORT/metrics", param="source")
    while True:
        try:
            with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:
                text = answer.read(MOST_BYTES).decode(errors="replace")
        except (OSError, urllib.error.URLError) as error:
            raise Unavailable(f"the radio's metrics page {url} does not answer: {error}") from error
        yield [line for line in text.splitlines() if line.strip()] + ["# EOF"]
