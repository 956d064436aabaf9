"""What `aigrid up` prints when the factory is up: addresses, a first key, and what to do with them."""

import json
from typing import TYPE_CHECKING, Any

from aigrid.core.config import Config
from aigrid.gateway.admin_access import is_loopback

if TYPE_CHECKING:
    from rich.console import Console


def show(out: "Console", value: dict[str, Any], config: Config) -> None:
    """Print where the factory is, its first key where it was made just now, and a line to paste."""
    out.print()
    if value["console"]:
        _row(out, "Console", value["console"])
    _row(out, "API", value["api"])
    _row(out, "Models", ", ".join(value["models"]) or "none yet")
    if value["key"]:
        _row(out, "API key", f"{value['key']}  (tenant default; shown this once)")
    if not is_loopback(config.gateway.host):
        _row(out, "Admin", "from elsewhere the console wants a key: aigrid keys create --tenant ops --scope admin")
    out.print()
    if value["key"] and value["models"]:
        out.print(curl(value["api"], value["key"], value["models"][0]), markup=False)
        out.print()
    out.print("Serving. Ctrl-C stops it gracefully.", style="dim")


def curl(api: str, key: str, model: str) -> str:
    """Return a command line that asks the model something."""
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "What is a token?"}]})
    return (
        f"curl {api}/chat/completions -H 'Authorization: Bearer {key}' -H 'Content-Type: application/json' -d '{body}'"
    )


def _row(out: "Console", name: str, text: str) -> None:
    out.print(f"{name:<9}", style="bold", end="")
    out.print(text, markup=False)
