"""The tool that runs Python which the model writes: in a process that can open no file, reach no network, start nothing."""

from typing import Any

from aigrid.agents.spec import SandboxTool
from aigrid.agents.tools.base import Built, Call, Site, ToolError
from aigrid.core.sandbox import SandboxError, run

SCHEMA = {
    "type": "object",
    "properties": {"code": {"type": "string", "minLength": 1, "maxLength": 50_000, "description": "Python 3."}},
    "required": ["code"],
}
ABOUT = (
    "Run Python with its standard library alone: no files, no network. What it prints, and the value of a last line "
    "that is an expression, comes back."
)


def build(tool: SandboxTool, site: Site) -> Built:
    """Return the tool; each call is a new process."""

    async def work(arguments: dict[str, Any], call: Call) -> Any:
        try:
            return await run(arguments["code"], tool.cpu_s, tool.memory_mb << 20, tool.timeout_s)
        except SandboxError as error:
            raise ToolError(error.message) from None

    return Built(ABOUT, SCHEMA, safe_to_retry=True, idempotent=True, work=work)
