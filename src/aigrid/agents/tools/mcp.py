"""One tool of an MCP server; both ages of the protocol are spoken, the newer one first.

A connection lasts for one call, so a server that goes away between two steps of a long run is no trouble.
"""

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aigrid.agents.spec import McpTool
from aigrid.agents.tools.base import Built, Call, Site, ToolError
from aigrid.core.errors import ConfigError

_MOST_PAGES = 100


async def build(tool: McpTool, site: Site) -> Built:
    """Ask the server for the tool; raises `ConfigError` where it has none of that name, or cannot be reached."""
    name = tool.tool
    if not name:
        raise ConfigError("a tool of kind mcp needs `tool`: its name at the server")
    try:
        async with _connected(tool, site.folder) as client:
            listed = await _listed(client)
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(f"cannot ask the MCP server {_shown(tool)} for its tools: {_why(error)}") from None
    found = next((each for each in listed if each.name == name), None)
    if found is None:
        known = ", ".join(each.name for each in listed) or "none"
        raise ConfigError(f"the MCP server {_shown(tool)} has no tool `{name}`; it has: {known}")

    async def work(arguments: dict[str, Any], call: Call) -> Any:
        try:
            async with _connected(tool, site.folder) as client:
                result = await client.call_tool(
                    name, arguments, meta={"io.aigrid/idempotencyKey": call.idempotency_key}
                )
        except Exception as error:
            raise ToolError(f"the MCP server {_shown(tool)} failed: {_why(error)}") from None
        text = "\n".join(part.text for part in result.content if part.type == "text")
        if result.is_error:
            raise ToolError(text or f"{name} failed and did not say why")
        structured: Any = result.structured_content
        return structured if structured is not None else text

    # What a server says about its own tools (`readOnlyHint`) is a hint; only the agent's file makes it so.
    about = found.description or found.title or name
    return Built(about, dict(found.input_schema), safe_to_retry=False, idempotent=False, work=work)


async def _listed(client: Any) -> list[Any]:
    found: list[Any] = []
    cursor = None
    for _ in range(_MOST_PAGES):
        page = await client.list_tools(cursor=cursor)
        found += page.tools
        cursor = page.next_cursor
        if not cursor:
            break
    return found


@asynccontextmanager
async def _connected(tool: McpTool, folder: Path) -> AsyncGenerator[Any, None]:
    import httpx2
    from mcp.client.client import Client
    from mcp.client.stdio import StdioServerParameters
    from mcp.client.streamable_http import streamable_http_client

    if not isinstance(tool.server, str):
        command, *args = tool.server
        server = StdioServerParameters(command=command, args=args, cwd=folder)
        async with Client(server, read_timeout_seconds=tool.timeout_s) as client:
            yield client
        return
    headers = {"authorization": f"Bearer {_key(tool)}"} if tool.key_env else {}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=tool.timeout_s) as http,
        Client(streamable_http_client(tool.server, http_client=http), read_timeout_seconds=tool.timeout_s) as client,
    ):
        yield client


def _key(tool: McpTool) -> str:
    key = os.environ.get(tool.key_env, "")
    if not key:
        raise ConfigError(f"the environment variable {tool.key_env} is not set; it holds the key of {_shown(tool)}")
    return key


def _shown(tool: McpTool) -> str:
    return tool.server if isinstance(tool.server, str) else tool.server[0]


def _why(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return str(error) or type(error).__name__
