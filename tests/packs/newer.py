"""A small registry as the OCI distribution spec 1.1 allows: tokens, referrers, uploads that go on, blobs elsewhere."""

import hashlib
import itertools
import json
import re

from aiohttp import web


class Newer:
    """In memory; `fails` is how many pieces of an upload it takes half of and then fails."""

    def __init__(self, fails=0):
        self.fails = fails
        self.blobs, self.manifests, self.uploads, self.seen = {}, {}, {}, []
        self.ids = itertools.count()
        app = web.Application(client_max_size=1 << 30)
        app.router.add_route("*", "/{path:.*}", self.answer)
        self.app = app

    async def __aenter__(self):
        self.runner = web.AppRunner(self.app)
        await self.runner.setup()
        site = web.TCPSite(self.runner, "127.0.0.1", 0)
        await site.start()
        self.port = self.runner.addresses[0][1]
        self.url = f"127.0.0.1:{self.port}"
        return self

    async def __aexit__(self, *_):
        await self.runner.cleanup()

    async def answer(self, request):
        path = request.path
        self.seen.append((request.method, path, request.headers.get("Authorization", "")))
        if path == "/token":
            if not request.headers.get("Authorization", "").startswith("Basic "):
                return web.Response(status=401)
            return web.json_response({"token": f"for {request.query['scope']}"})
        if path.startswith("/elsewhere/"):
            return web.Response(body=self.blobs[path.removeprefix("/elsewhere/")])
        if request.headers.get("Authorization") != "Bearer for repository:team/x:pull,push":
            challenge = f'Bearer realm="http://{self.url}/token",service="here",scope="repository:team/x:pull,push"'
            return web.Response(status=401, headers={"WWW-Authenticate": challenge})
        kind, _, rest = path.removeprefix("/v2/team/x/").partition("/")
        if kind == "blobs":
            return await self.blob(request, rest)
        if kind == "referrers":
            return await self.referrers(request, rest)
        return await (self.put_manifest(request, rest) if request.method == "PUT" else self.get_manifest(rest))

    async def referrers(self, request, digest):
        found = []
        for name, data in self.manifests.items():
            image = json.loads(data)
            if image.get("subject", {}).get("digest") == digest:
                about = {"mediaType": image["mediaType"], "digest": name, "size": len(data)}
                found.append(about | {"artifactType": image["artifactType"]})
        index = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": found}
        return web.json_response(index)

    async def get_manifest(self, name):
        data = self.manifests.get(name)
        if data is None:
            return web.Response(status=404)
        return web.Response(body=data, content_type="application/vnd.oci.image.manifest.v1+json")

    async def put_manifest(self, request, name):
        data = await request.read()
        self.manifests[name] = self.manifests[f"sha256:{hashlib.sha256(data).hexdigest()}"] = data
        subject = json.loads(data).get("subject")
        return web.Response(status=201, headers={"OCI-Subject": subject["digest"]} if subject else {})

    async def blob(self, request, rest):
        if request.method in ("HEAD", "GET") and not rest.startswith("uploads/"):
            if rest not in self.blobs:
                return web.Response(status=404)
            if request.method == "HEAD":
                return web.Response()
            return web.Response(status=307, headers={"Location": f"http://localhost:{self.port}/elsewhere/{rest}"})
        if request.method == "POST":
            id = str(next(self.ids))
            self.uploads[id] = b""
            return web.Response(status=202, headers={"Location": f"/v2/team/x/blobs/uploads/{id}?state=a%2Fb"})
        id = rest.removeprefix("uploads/")
        assert request.rel_url.raw_query_string.startswith("state=a%2Fb")
        if request.method == "GET":
            return web.Response(status=204, headers={"Range": f"0-{len(self.uploads[id]) - 1}"})
        data = await request.read()
        if request.method == "PATCH":
            start, end = map(int, re.fullmatch(r"(\d+)-(\d+)", request.headers["Content-Range"]).groups())
            if start != len(self.uploads[id]) or end - start + 1 != len(data):
                return web.Response(status=416)
            if self.fails:
                self.fails -= 1
                self.uploads[id] += data[: len(data) // 2]
                return web.Response(status=500)
            self.uploads[id] += data
            return web.Response(status=202, headers={"Location": request.raw_path})
        content = self.uploads.pop(id) + data
        assert request.query["digest"] == f"sha256:{hashlib.sha256(content).hexdigest()}"
        self.blobs[request.query["digest"]] = content
        return web.Response(status=201)
