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
from aigrid.cli.output import emit, note, warn
from aigrid.cli.progress import working
from aigrid.client.http import Gateway
from aigrid.core.clock import SECOND, mono_ns
from aigrid.core.config import EFFECTIVE, Config, home
from aigrid.core.errors import AigridError, Unavailable
from aigrid.core.supervise import Program, ProgramFailed, Supervisor, dies_with_parent, ended

POLL_S = 0.05
FAILED_S = 3.0
ASK_OPTIONS = ("--temperature", "0", "--max-tokens", "200")
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


async def serve(config: Config, addresses: Path, ask: str, docs: list[str], as_json: bool) -> None:
    """Run the factory until it is told to stop; raises `AigridError` where it cannot start.

    What is asked is asked of `docs`, which become part of the knowledge first; without any, of the model.
    """
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
        factory.announce(addresses, url, console, config.ledger.url)
        log.open()
        added = await _aigrid(["knowledge", "add", *docs], config, secret, as_json) if docs else None
        answer = await _ask(ask, url, bool(docs), config, secret, as_json) if ask else None
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
            "added": added,
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
    found = [Program("gateway", [sys.executable, "-m", "aigrid.cli.gateway"], env, stop_s=drain_s)]
    if config.console.enabled:
        url = factory.http_url(gateway.host, gateway.port)
        options = ["--gateway", url, "--host", gateway.host, "--port", str(config.console.port)]
        found.append(Program("console", [sys.executable, "-m", "aigrid.console", *options], env, stop_s=KILL_MARGIN_S))
    return found


async def _ready(url: str, path: str, tell: Any, config: Config) -> None:
    """Wait until a server answers 200; how long a model takes to load is its own affair.

    Raises `Unavailable` when the engine on this machine has been down, not starting, for `FAILED_S` seconds.
    """
    client = Gateway(url, timeout_s=2.0)
    said = ""
    down_ns = 0
    while True:
        status, body = await asyncio.to_thread(_look, client, path)
        if status == 200:
            return
        engine = body.get("engines", {}).get(config.site.id) if isinstance(body, dict) else None
        if engine and config.engine.kind == "openvino" and not said:
            tell(said := f"Loading {config.engine.model}")
        down_ns = (down_ns or mono_ns()) if engine == "down" else 0
        if down_ns and mono_ns() - down_ns > FAILED_S * SECOND:
            raise Unavailable(_last_words(config), code="engine_failed")
        await asyncio.sleep(POLL_S)


def _look(client: Gateway, path: str) -> tuple[int, Any]:
    """Return status and body; 0 where nothing answers yet."""
    try:
        return client.get(path)
    except AigridError:
        return 0, None


def _last_words(config: Config) -> str:
    """Say why the engine cannot load its model, from the end of its log."""
    path = home() / "run" / f"engine-{config.site.id}.log"
    try:
        lines = path.read_text(errors="replace").strip().splitlines()
    except OSError:
        lines = []
    return f"the engine cannot load {config.engine.model}: {lines[-1] if lines else 'it does not say why'} (see {path})"


async def _ask(text: str, url: str, documents: bool, config: Config, secret: str, as_json: bool) -> Any:
    """Ask one question as any client would; returns its JSON with --json."""
    if not as_json:
        note(f"> {text}")
    command = ["knowledge", "ask", text] if documents else ["chat", text, *ASK_OPTIONS]
    return await _aigrid([*command, "--url", url], config, secret, as_json)


async def _aigrid(command: list[str], config: Config, secret: str, as_json: bool) -> Any:
    """Run another command in a process of its own; returns its JSON with --json. The factory outlives its failure."""
    argv = [sys.executable, "-m", "aigrid.cli", *command]
    env = {**os.environ, "AIGRID_KEY": secret, EFFECTIVE: msgspec.json.encode(config).decode()}
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
        warn(f"`aigrid {' '.join(command[:2])}` failed; the factory serves all the same")
    if process.stdout is None:
        return None
    with process.stdout as answer:
        return msgspec.json.decode(answer.read())
