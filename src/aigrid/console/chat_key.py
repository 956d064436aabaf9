"""The console's own key for `/v1`: made once, kept in AIGRID_HOME where only its owner can read it."""

import asyncio
import os
from pathlib import Path

from aigrid.console.gateway import Gateway, GatewayRefused
from aigrid.core.config import home

TENANT = NAME = "console"
_making = asyncio.Lock()


def key_file() -> Path:
    """Return where the key is kept."""
    return home() / "console.key"


async def chat_key(gateway: Gateway, refused: str | None = None) -> str:
    """Return the console's key, making one where there is none or where the gateway `refused` the one we had."""
    async with _making:
        path = key_file()
        try:
            kept = path.read_text().strip()
        except OSError:
            kept = ""
        if kept and kept != refused:
            return kept
        made = await gateway.post("/admin/keys", {"tenant": TENANT, "name": NAME})
        secret: str = made["key"]
        _write_private(path, secret + "\n")
        return secret


async def known_key(gateway: Gateway) -> str:
    """Return a key that the gateway takes, making a new one where it does not know the one kept."""
    key = await chat_key(gateway)
    try:
        await gateway.models(key)
    except GatewayRefused as refusal:
        if refusal.status != 401:
            raise
        key = await chat_key(gateway, refused=key)
    return key


def _write_private(path: Path, text: str) -> None:
    """Write a file that never was readable by others, in one step."""
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    os.replace(draft, path)
