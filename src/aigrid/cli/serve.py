"""What `aigrid up` does once everything is decided: start the programs, wait for them, say where they are."""

import asyncio
import os
import subprocess
import sys
from collections import deque
from pathlib import Path
from typing import Any

import msgspec

from aigrid import __version__
from aigrid.cli import factory
from aigrid.cli.banner import show
from aigrid.cli.books import books
from aigrid.cli.client import Gateway
from aigrid.cli.output import emit, note, warn
from aigrid.cli.progress import working
from aigrid.core.config import EFFECTIVE, Config, home
from aigrid.core.errors import AigridError
from aigrid.core.supervise import Program, ProgramFailed, Supervisor, dies_with_parent, ended

POLL_S = 0.05
KILL_MARGIN_S = 5.0


class Log:
    """Lines of the programs, on stderr with their names. Those of the start are shown only once it has succeeded."""

    def __init__(self) -> None:
        self._early: deque[tuple[str, str]] | None = deque(maxlen=200)

    def line(self, name: str, text: str) -> None:
        """Take one line of a program."""
        if self._early is None:
            note(f"{name}: {text}")
        else:
            self._early.append((name, text))

    def open(self) -> None:
        """Show what was kept, and from now on each line as it comes."""
        early, self._early = self._early, None
        for name, text in early or ():
            note(f"{name}: {text}")


async def serve(config: Config, addresses: Path, ask: str, as_json: bool) -> None:
    """Run the factory until it is told to stop; raises `AigridError` where it cannot start."""
    log = Log()
    supervisor = Supervisor(programs(config), on_line=log.line, on_event=warn)
    gateway = config.gateway
    url = factory.http_url(gateway.host, gateway.port)
    console = factory.http_url(gateway.host, config.console.port) if config.console.enabled else ""

    async def settle() -> None:
        with working("Starting the gateway") as tell:
            await _ready(url, "/health/ready", tell, config)
        async with books(config) as ledger:
            key = await factory.first_key(ledger)
            secret = await factory.ensure_key(ledger)
        factory.announce(addresses, url, console)
        log.open()
        answer = await _ask(ask, url, secret, as_json) if ask else None
        if console:
            with working("Starting the console") as tell:
                await _ready(console, "/", tell, config)
        models = await asyncio.to_thread(Gateway(url, secret).models)
        value = {
            "version": __version__,
            "url": url,
            "api": f"{url}/v1",
            "console": console or None,
            "models": models,
            "key": key[1] if key else None,
            "key_id": key[0].id if key else None,
            "home": str(home()),
            "pid": os.getpid(),
            "pids": supervisor.pids(),
            "ask": answer,
        }
        emit(value, as_json, lambda out: show(out, value, config))

    try:
        await supervisor.run(settle)
    except ProgramFailed as failure:
        _, _, said = failure.message.partition(": ")
        if said.startswith(("aigrid: ", "error: ")):
            raise AigridError(said.partition(": ")[2], code=failure.code) from None
        log.open()
        raise
    note("stopped")


def programs(config: Config) -> list[Program]:
    """Return the programs of the factory; they get the configuration whole, in the environment."""
    env = {**os.environ, EFFECTIVE: msgspec.json.encode(config).decode(), "PYTHONUNBUFFERED": "1"}
    gateway = config.gateway
    drain_s = gateway.drain_s + KILL_MARGIN_S
    found = [Program("gateway", [sys.executable, "-m", "aigrid.gateway"], env, stop_s=drain_s)]
    if config.console.enabled:
        url = factory.http_url(gateway.host, gateway.port)
        options = ["--gateway", url, "--host", gateway.host, "--port", str(config.console.port)]
        found.append(Program("console", [sys.executable, "-m", "aigrid.console", *options], env, stop_s=KILL_MARGIN_S))
    return found


async def _ready(url: str, path: str, tell: Any, config: Config) -> None:
    """Wait until a server answers 200; how long a model takes to load is its own affair."""
    client = Gateway(url, timeout_s=2.0)
    said = ""
    while True:
        try:
            status, _ = await asyncio.to_thread(client.get, path)
        except AigridError:
            status = 0
        if status == 200:
            return
        if status and path == "/health/ready":
            loading = f"Loading {config.engine.model}" if config.engine.kind == "openvino" else "Starting the engine"
            if loading != said:
                tell(said := loading)
        await asyncio.sleep(POLL_S)


async def _ask(text: str, url: str, secret: str, as_json: bool) -> Any:
    """Ask one question as any client would, in a process of its own; returns its JSON with --json."""
    argv = [sys.executable, "-m", "aigrid.cli", "chat", text, "--url", url]
    env = {**os.environ, "AIGRID_KEY": secret}
    if not as_json:
        note(f"> {text}")
    process = subprocess.Popen(  # noqa: ASYNC220 - forking is quick, and must happen in the main thread
        [*argv, "--json"] if as_json else argv,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if as_json else None,
        process_group=0,
        preexec_fn=dies_with_parent(),
    )
    try:
        await ended(process)
    finally:
        if process.poll() is None:
            process.terminate()
            await ended(process)
    if process.returncode:
        warn("the question was not answered; the factory serves all the same")
    if process.stdout is None:
        return None
    with process.stdout as answer:
        return msgspec.json.decode(answer.read())
