"""The `aigrid` command: composes the command groups and turns errors into one line and an exit code.

Exit codes: 0 done, 1 an error that the message explains, 2 a command line that cannot be understood, 130 Ctrl-C.
"""

import sys
from collections.abc import Sequence
from typing import Annotated

import typer
from typer.main import get_command

from aigrid import __version__
from aigrid.cli import (
    agents,
    batch,
    bench,
    build,
    chat,
    config,
    doctor,
    echo,
    fly,
    keys,
    knowledge,
    ledger,
    models,
    packs,
    packs_evaluate,
    ran,
    router,
    tenants,
    up,
)
from aigrid.cli.output import Json, emit, fail
from aigrid.core.errors import AigridError, BadRequest

app = typer.Typer(
    name="aigrid",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("up")(up.up)
app.command("chat")(chat.chat)
app.add_typer(keys.app, name="keys")
app.add_typer(tenants.app, name="tenants")
app.command("ledger")(ledger.ledger)
app.add_typer(models.app, name="models")
packs.app.command("evaluate")(packs_evaluate.evaluate)
app.add_typer(packs.app, name="pack")
app.add_typer(knowledge.app, name="knowledge")
app.add_typer(agents.app, name="agents")
app.add_typer(ran.app, name="ran")
app.add_typer(batch.app, name="batch")
app.command("build")(build.build)
app.add_typer(build.app, name="line")
app.add_typer(router.app, name="router")
app.command("fly")(fly.fly)
app.command("bench")(bench.bench)
app.command("doctor")(doctor.doctor)
app.command("echo")(echo.echo)
app.add_typer(config.app, name="config")


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
    as_json: Json = False,
) -> None:
    """Run an AI factory: engine, gateway, ledger and console in one command."""
    if version:
        emit({"version": __version__}, as_json, lambda console: console.print(f"aigrid {__version__}"))
        raise typer.Exit
    if context.invoked_subcommand is None:
        raise BadRequest("name a command; `aigrid --help` lists them", code="usage")


def run(args: Sequence[str]) -> int:
    """Run one command line; returns the exit code and prints errors as the command line asks."""
    as_json = "--json" in args
    try:
        code = get_command(app).main(list(args), prog_name="aigrid", standalone_mode=False)
    except AigridError as error:
        fail(error, as_json)
        return 1
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except BrokenPipeError:
        return 1
    except Exception as error:
        if (format_message := getattr(error, "format_message", None)) is None:
            raise
        if type(error).__name__ == "NoArgsIsHelpError":
            print(format_message(), file=sys.stderr)
            return 2
        context = getattr(error, "ctx", None)
        where = f"{context.command_path} --help" if context else "aigrid --help"
        fail(BadRequest(f"{format_message()} See `{where}`.", code="usage"), as_json)
        return int(getattr(error, "exit_code", 2))
    return code if isinstance(code, int) else 0


def main() -> None:
    """Run the command line of this process."""
    sys.exit(run(sys.argv[1:]))
