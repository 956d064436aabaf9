"""A search in the documents that the caller may read."""

from typing import Any

import msgspec

from aigrid.agents.spec import KnowledgeTool
from aigrid.agents.tools.base import Built, Call, Site, ToolError

SCHEMA = {
    "type": "object",
    "properties": {"query": {"type": "string", "minLength": 1, "maxLength": 2000, "description": "A question."}},
    "required": ["query"],
}


def build(tool: KnowledgeTool, site: Site) -> Built:
    """Return the search; what it finds are passages with their places."""

    async def work(arguments: dict[str, Any], call: Call) -> Any:
        if site.world is None:
            raise ToolError("there are no documents to search here")
        return msgspec.to_builtins(await site.world.search(arguments["query"], tool.limit))

    return Built("Find passages of the documents that suit a question.", SCHEMA, True, True, work)
