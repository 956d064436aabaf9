"""One operation of an HTTP API, as an OpenAPI 3 file describes it.

The server is the file's or the agent's, never the model's: what the model says fills in parameters, each encoded so
that it cannot become another path. Redirects are not followed.
"""

import os
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import aiohttp
import msgspec
from yarl import URL

from aigrid.agents.spec import HttpTool
from aigrid.agents.tools.base import Built, Call, Site, ToolError
from aigrid.core.errors import ConfigError

_METHODS = ("get", "put", "post", "delete", "patch", "head", "options")
_SAFE = ("get", "head", "options")
_IDEMPOTENT = (*_SAFE, "put", "delete")
"""Methods that may be repeated (RFC 9110, section 9.2.2)."""
_MOST_BYTES = 4 << 20


def build(tool: HttpTool, site: Site) -> Built:
    """Find the operation; raises `ConfigError` where the file has none of that id, or no server."""
    document = _read(site.folder / tool.file)
    path, method, shared, operation = _operation(document, tool)
    base = tool.url or next((each.get("url", "") for each in document.get("servers", [])), "")
    if not base.startswith(("http://", "https://")):
        raise ConfigError(f"{tool.file} names no server by its http address; state `url` for `{tool.operation}`")
    parameters = [_resolved(each, document) for each in (*shared, *operation.get("parameters", []))]
    places = {each["name"]: each["in"] for each in parameters if each["in"] in ("path", "query", "header")}
    properties = {
        each["name"]: {**each.get("schema", {}), **_described(each)} for each in parameters if each["name"] in places
    }
    required = [each["name"] for each in parameters if each.get("required") and each["name"] in places]
    body = _resolved(operation.get("requestBody", {}), document)
    if shape := (body.get("content") or {}).get("application/json", {}).get("schema"):
        if "body" in properties:
            raise ConfigError(f"`{tool.operation}` has both a parameter `body` and a body, which cannot be told apart")
        properties["body"] = shape
        required += ["body"] if body.get("required") else []
    schema = {"type": "object", "properties": properties, "required": required}
    parts = document.get("components", {}).get("schemas", {})
    schema = _local(schema) | ({"$defs": _local(parts)} if "#/components/schemas/" in str(schema) else {})

    async def work(arguments: dict[str, Any], call: Call) -> Any:
        filled, headers = _fill(path, places, arguments)
        headers["idempotency-key"] = call.idempotency_key
        if tool.key_env:
            headers["authorization"] = f"Bearer {os.environ.get(tool.key_env, '')}"
        data = msgspec.json.encode(arguments["body"]) if "body" in arguments and "body" not in places else None
        if data is not None:
            headers["content-type"] = "application/json"
        return await _send(method, URL(base.rstrip("/") + filled, encoded=True), headers, data, tool.timeout_s)

    about = operation.get("summary") or operation.get("description") or f"{method.upper()} {path}"
    return Built(about, schema, method in _SAFE, method in _IDEMPOTENT, work)


def _read(path: Path) -> dict[str, Any]:
    import yaml

    try:
        text = path.read_text()
        found = msgspec.json.decode(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError, msgspec.DecodeError) as error:
        raise ConfigError(f"cannot read the OpenAPI file {path}: {error}") from None
    if not isinstance(found, dict) or not isinstance(found.get("paths"), dict):
        raise ConfigError(f"{path} is no OpenAPI file: it has no `paths`")
    return found


def _operation(document: dict[str, Any], tool: HttpTool) -> tuple[str, str, list[Any], dict[str, Any]]:
    known = []
    for path, item in document["paths"].items():
        for method in _METHODS:
            operation = item.get(method)
            if operation is not None:
                known.append(str(operation.get("operationId")))
                if known[-1] == tool.operation:
                    return path, method, item.get("parameters", []), operation
    raise ConfigError(f"{tool.file} has no operation `{tool.operation}`; it has: {', '.join(known) or 'none'}")


def _resolved(value: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
    """Return what a local `$ref` stands for."""
    for _ in range(16):
        if "$ref" not in value:
            return value
        found: Any = document
        for part in str(value["$ref"]).removeprefix("#/").split("/"):
            found = found.get(part, {}) if isinstance(found, dict) else {}
        value = found
    raise ConfigError("the OpenAPI file has references that go in a circle")


def _local(value: Any) -> Any:
    """Return a schema whose references are within itself."""
    if isinstance(value, dict):
        return {
            name: item.replace("#/components/schemas/", "#/$defs/")
            if name == "$ref" and isinstance(item, str)
            else _local(item)
            for name, item in value.items()
        }
    return [_local(item) for item in value] if isinstance(value, list) else value


def _described(parameter: dict[str, Any]) -> dict[str, Any]:
    return {"description": parameter["description"]} if "description" in parameter else {}


def _fill(path: str, places: dict[str, str], arguments: dict[str, Any]) -> tuple[str, dict[str, str]]:
    """Return the path with its query, and the headers."""
    query: list[tuple[str, str]] = []
    headers: dict[str, str] = {}
    for name, place in places.items():
        if name not in arguments:
            continue
        values = [_text(each) for each in (arguments[name] if isinstance(arguments[name], list) else [arguments[name]])]
        if place == "query":
            query += [(name, value) for value in values]
        elif any(value in ("", ".", "..") for value in values) and place == "path":
            raise ToolError(f"`{name}` cannot be empty, `.` or `..`")
        elif place == "path":
            path = path.replace(f"{{{name}}}", quote(",".join(values), safe=""))
        elif any(ord(char) < 32 or ord(char) == 127 for value in values for char in value):
            raise ToolError(f"`{name}` cannot hold control characters")
        else:
            headers[name] = ",".join(values)
    return path + (f"?{urlencode(query)}" if query else ""), headers


def _text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


async def _send(method: str, url: URL, headers: dict[str, str], data: bytes | None, timeout_s: float) -> Any:
    timeout = aiohttp.ClientTimeout(total=timeout_s)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.request(method, url, headers=headers, data=data, allow_redirects=False) as response,
        ):
            body, status = b"", response.status
            async for piece in response.content.iter_chunked(1 << 16):
                body += piece
                if len(body) > _MOST_BYTES:
                    raise ToolError(f"{url.host} answered with more than {_MOST_BYTES:,} bytes")
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise ToolError(f"{url.host} could not be asked: {error or type(error).__name__}") from None
    text = body.decode(errors="replace")
    if status >= 300:
        raise ToolError(f"{url.host} answered with status {status}: {text[:2000]}")
    try:
        return msgspec.json.decode(body)
    except msgspec.DecodeError:
        return text
