"""`aigrid up`: the whole factory in one command."""

from typing import Annotated, Literal

import typer

from aigrid.cli import factory, preflight
from aigrid.cli.output import Json
from aigrid.core.config import Config, load
from aigrid.core.errors import ConfigError


def up(
    host: Annotated[str, typer.Option(help="Address to listen on.", show_default="127.0.0.1")] = "",
    port: Annotated[
        int | None, typer.Option(help="Port of the API; 0 takes a free one.", min=0, max=65535, show_default="8470")
    ] = None,
    console_port: Annotated[
        int | None, typer.Option(help="Port of the console; 0 takes a free one.", min=0, max=65535, show_default="8471")
    ] = None,
    no_console: Annotated[bool, typer.Option("--no-console", help="Start without the console.")] = False,
    engine: Annotated[
        Literal["openvino", "echo", "none"] | None,
        typer.Option(help="Engine to run on this machine.", show_default="openvino"),
    ] = None,
    model: Annotated[
        str, typer.Option(help="Model to serve: an id from `aigrid models list`, or a source.", metavar="ID")
    ] = "",
    upstream: Annotated[
        list[str] | None,
        typer.Option(help="An OpenAI-compatible server behind the gateway; repeat for several.", metavar="NAME=URL"),
    ] = None,
    ledger: Annotated[
        str, typer.Option(help="Where the ledger is: sqlite or postgresql://user@host/db.", show_default="sqlite")
    ] = "",
    ask: Annotated[
        str, typer.Option(help="Ask this once all is up; print the answer (200 tokens at most) and what it cost.")
    ] = "",
    docs: Annotated[
        list[str] | None,
        typer.Option(help="Add this to the knowledge, and ask that; repeat for several.", metavar="PATH|URL"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Start the factory.

    Gateway, engine, ledger and console, in one command. Ctrl-C stops it gracefully, twice at once.

    Options override aigrid.toml for this run. The first start fetches the model and makes a first API key.
    """
    import asyncio

    from aigrid.cli.serve import serve

    config = load()
    gateway = config.gateway
    gateway.host = host or gateway.host
    gateway.port = gateway.port if port is None else port
    config.console.port = config.console.port if console_port is None else console_port
    config.console.enabled = config.console.enabled and not no_console
    config.engine.kind = engine or config.engine.kind
    config.engine.model = model or config.engine.model
    config.ledger.url = ledger or config.ledger.url
    for text in upstream or []:
        _add_upstream(config, text)
    with factory.claim() as addresses:
        preflight.check(config)
        if config.engine.kind == "openvino":
            _fetch_model(config)
        asyncio.run(serve(config, addresses, ask, docs or [], as_json))


def _add_upstream(config: Config, text: str) -> None:
    new = preflight.parse_upstream(text)
    for known in config.upstreams:
        if known.name == new.name:
            known.url = new.url
            return
    config.upstreams.append(new)


def _fetch_model(config: Config) -> None:
    from aigrid.cli.progress import fetch
    from aigrid.core.models import resolve
    from aigrid.engines import gguf

    path = fetch(resolve(config.engine.model, config))
    if path.is_file():
        gguf.check(path)
    elif not (path / "openvino_model.xml").exists():
        raise ConfigError(f"{path} holds no openvino_model.xml: name a GGUF file, or a folder exported for OpenVINO")
