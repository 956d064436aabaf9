"""A client of one repository in a registry: the OCI distribution API 1.1, with its ways to authenticate."""

import asyncio
import base64
import re
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import aiohttp
import msgspec
from multidict import CIMultiDict
from yarl import URL

from aigrid.core.download import tls_context
from aigrid.core.errors import UpstreamError
from aigrid.packs import oci
from aigrid.packs.manifest import PackError, digest_of, read_json
from aigrid.packs.reference import Reference

TRIES = 6
"""How often what may pass is tried."""

_LONGEST_WAIT_S = 30.0
_CHALLENGE = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_ACCEPT = f"{oci.MANIFEST_TYPE}, {oci.INDEX_TYPE}"


class RegistryError(UpstreamError):
    """A registry said no, or could not be reached."""

    default_code = "registry_error"


class Answer(msgspec.Struct, frozen=True):
    """What a registry answered."""

    status: int
    headers: CIMultiDict[str]
    body: bytes
    url: URL


class Registry:
    """One repository. Use it in `async with`; what fails on the way is tried again, what is refused is not."""

    def __init__(
        self, reference: Reference, *, plain_http: bool = False, credentials: tuple[str, str] | None = None
    ) -> None:
        self.reference = reference
        self.base = URL(f"{'http' if plain_http else 'https'}://{reference.host}/v2/{reference.name}/")
        self._credentials = credentials
        self._authorization = ""

    async def __aenter__(self) -> "Registry":
        timeout = aiohttp.ClientTimeout(total=None, connect=30, sock_read=120)
        connector = aiohttp.TCPConnector(ssl=tls_context())
        self.session = aiohttp.ClientSession(
            timeout=timeout,
            connector=connector,
            trust_env=True,
            auto_decompress=False,
            headers={"User-Agent": "aigrid", "Accept-Encoding": "identity"},
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        await self.session.close()

    async def has_blob(self, digest: str) -> bool:
        """Whether the repository has a blob."""
        return (await self.ask("HEAD", f"blobs/{digest}", fine=(200, 404))).status == 200

    async def manifest(self, version: str) -> tuple[bytes, str] | None:
        """Return a manifest by tag or digest, with its media type; None where there is none."""
        answer = await self.ask("GET", f"manifests/{version}", headers={"Accept": _ACCEPT}, fine=(200, 404))
        if answer.status == 404:
            return None
        if version.startswith("sha256:") and digest_of(answer.body) != version:
            raise PackError(f"{self.reference.host} gave another manifest than {version[:19]}…", code="pack_tampered")
        return answer.body, answer.headers.get("Content-Type", "").partition(";")[0].strip()

    async def tags(self) -> list[str]:
        """Return the tags that the repository has; none where there is no such repository."""
        answer = await self.ask("GET", "tags/list", fine=(200, 404))
        if answer.status == 404:
            return []
        found = read_json(answer.body, dict[str, Any], "the list of tags").get("tags")
        return sorted(str(tag) for tag in found) if isinstance(found, list) else []

    async def put_manifest(self, version: str, data: bytes, media_type: str) -> Answer:
        """Store a manifest under a tag or its digest."""
        return await self.ask("PUT", f"manifests/{version}", data=data, headers={"Content-Type": media_type})

    async def referrers(self, digest: str, artifact_type: str) -> list[oci.Descriptor]:
        """Return the manifests that refer to one, such as its signatures, on registries old and new."""
        query = {"artifactType": artifact_type}
        answer = await self.ask("GET", URL(f"referrers/{digest}").with_query(query), fine=(200, 404, 400, 405))
        found = _index(answer.body) if answer.status == 200 else None
        if found is None:
            there = await self.manifest(digest.replace(":", "-"))
            found = _index(there[0]) if there else None
        return [entry for entry in (found.manifests if found else ()) if entry.artifact_type == artifact_type]

    async def refer(self, subject: str, data: bytes, artifact_type: str) -> None:
        """Store a manifest that refers to `subject`; where the registry does not list such, keep the list ourselves."""
        digest = digest_of(data)
        answer = await self.put_manifest(digest, data, oci.MANIFEST_TYPE)
        if "OCI-Subject" in answer.headers:
            return
        tag = subject.replace(":", "-")
        there = await self.manifest(tag)
        listed = (index.manifests if (index := _index(there[0])) else ()) if there else ()
        if not any(entry.digest == digest for entry in listed):
            entry = oci.Descriptor(oci.MANIFEST_TYPE, digest, len(data), artifact_type)
            await self.put_manifest(tag, oci.canonical(oci.Index(2, oci.INDEX_TYPE, (*listed, entry))), oci.INDEX_TYPE)

    async def ask(
        self,
        method: str,
        place: str | URL,
        *,
        data: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        fine: tuple[int, ...] = (200, 201, 202, 204),
        tries: int | None = None,
    ) -> Answer:
        """Ask once more after errors that pass, and with a token where one is wanted; raises `RegistryError`."""
        url = place if isinstance(place, URL) and place.is_absolute() else self.base.join(URL(place))
        asked_for_token = False
        problem = ""
        attempt, most = 0, tries or TRIES
        while attempt < most:
            wait = None
            try:
                async with self.session.request(
                    method, url, data=data, headers={**(headers or {}), **self.own_headers(url)}
                ) as answer:
                    body = await answer.content.read(oci.MAX_DOCUMENT + 1)
                    while len(body) <= oci.MAX_DOCUMENT and (more := await answer.content.read(1 << 20)):
                        body += more
                    if len(body) > oci.MAX_DOCUMENT:
                        raise RegistryError(f"{url.host} answered with more than {oci.MAX_DOCUMENT:,} bytes")
                    if answer.status in fine:
                        return Answer(answer.status, CIMultiDict(answer.headers), body, answer.url)
                    problem = f"HTTP {answer.status}{_said(body)}"
                    if answer.status == 401 and not asked_for_token:
                        asked_for_token = True
                        await self._authenticate(answer.headers.get("WWW-Authenticate", ""))
                        continue
                    if answer.status not in (408, 429) and answer.status < 500:
                        break
                    wait = answer.headers.get("Retry-After")
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                problem = str(error) or type(error).__name__
            attempt += 1
            if attempt < most:
                await pause(attempt, wait)
        hint = "; check the name and your login" if problem.startswith(("HTTP 401", "HTTP 403", "HTTP 404")) else ""
        raise RegistryError(f"{method} {url.with_query(None)}: {problem}{hint}")

    def own_headers(self, url: URL) -> dict[str, str]:
        """Return the authorization, for this registry only: an upload may lead to another host."""
        return (
            {"Authorization": self._authorization} if self._authorization and url.origin() == self.base.origin() else {}
        )

    async def _authenticate(self, challenge: str) -> None:
        scheme, _, rest = challenge.partition(" ")
        basic = f"Basic {base64.b64encode(':'.join(self._credentials).encode()).decode()}" if self._credentials else ""
        if scheme.lower() == "basic":
            self._authorization = basic
        elif scheme.lower() == "bearer":
            asked = dict(_CHALLENGE.findall(rest))
            realm = URL(asked.get("realm", ""))
            if not realm.is_absolute() or (self.base.scheme == "https" and realm.scheme != "https"):
                raise RegistryError(f"{self.reference.host} sends for a token to {realm}, which is not safe")
            query = {"scope": asked.get("scope") or f"repository:{self.reference.name}:pull,push"}
            query |= {"service": asked["service"]} if "service" in asked else {}
            headers = {"Authorization": basic} if basic else {}
            async with self.session.get(realm.update_query(query), headers=headers) as answer:
                if answer.status != 200:
                    raise RegistryError(f"{realm.host} gives no token (HTTP {answer.status}); check your login")
                given = read_json(
                    await answer.content.read(oci.MAX_DOCUMENT), dict[str, Any], f"the token of {realm.host}"
                )
            self._authorization = f"Bearer {given.get('token') or given.get('access_token') or ''}"


def _index(data: bytes) -> oci.Index | None:
    try:
        return read_json(data, oci.Index, "the list of referrers")
    except PackError:
        return None


def _said(body: bytes) -> str:
    """Return what a registry's error says."""
    try:
        errors = read_json(body, dict[str, list[dict[str, Any]]], "the answer").get("errors", [])
        return f" ({'; '.join(str(error.get('message') or error.get('code')) for error in errors)[:200]})"
    except PackError:
        return ""


async def pause(attempt: int, wanted: str | None = None) -> None:
    """Wait as long as the registry wants, else longer with each attempt."""
    seconds = float(wanted) if wanted and wanted.isdigit() else 0.1 * 2**attempt
    await asyncio.sleep(min(seconds, _LONGEST_WAIT_S))
