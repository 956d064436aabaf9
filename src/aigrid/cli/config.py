"""`aigrid config`: the settings in force."""

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec
import typer

from aigrid.cli.output import Json, emit
from aigrid.core.config import SECTIONS, TABLES, Config, config_file, home, load

if TYPE_CHECKING:
    from rich.console import Console

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def group() -> None:
    """Show the settings in force."""


@app.command("show")
def show(as_json: Json = False) -> None:
    """Show every setting as it is in force: defaults, then the file, then AIGRID_SECTION_KEY variables."""
    config = load()
    value = effective(config)
    emit({"file": str(config_file()), "home": str(home()), "settings": value}, as_json, lambda c: _show(c, value))


def effective(config: Config) -> dict[str, Any]:
    """Return all settings as plain values, with a password in the ledger's URL hidden."""
    value: dict[str, Any] = msgspec.to_builtins(config)
    url = urlsplit(config.ledger.url)
    if url.password:
        value["ledger"]["url"] = config.ledger.url.replace(f":{url.password}@", ":…@")
    return value


def _show(console: "Console", value: dict[str, Any]) -> None:
    """Write the settings as TOML that could be read back."""
    console.print(f"# {config_file()}{'' if config_file().exists() else ' (not there: defaults)'}", markup=False)
    console.print(f"# state in {home()}", markup=False)
    for section in SECTIONS:
        console.print(f"\n[{section}]", markup=False)
        _pairs(console, value[section])
    for table in TABLES:
        for entry in value[table]:
            console.print(f"\n[[{table}]]", markup=False)
            _pairs(console, entry)


def _pairs(console: "Console", pairs: dict[str, Any]) -> None:
    for key, setting in pairs.items():
        if setting is not None:
            console.print(f"{key} = {msgspec.json.encode(setting).decode()}", markup=False)
