"""What holds for every command: help, errors in one line, one JSON document."""

import json
import subprocess
import sys

import pytest
from typer.main import get_command

from aigrid import __version__
from aigrid.cli.app import app


def commands(command=None, path=()):
    command = command or get_command(app)
    children = getattr(command, "commands", None)
    if not children:
        return [(path, command)]
    return [found for name, child in children.items() for found in commands(child, (*path, name))]


ALL = [pytest.param(path, command, id=" ".join(path)) for path, command in commands()]


@pytest.mark.parametrize(("path", "command"), ALL)
def test_every_command_has_json_and_explains_itself(path, command, aigrid):
    options = {name: param for param in command.params for name in getattr(param, "opts", [])}
    assert "--json" in options
    result = aigrid(*path, "--help")
    assert result.code == 0
    assert command.help
    for param in command.params:
        assert param.help or param.name == "help", f"{' '.join(path)} {param.name} has no help"


@pytest.mark.parametrize(("path", "command"), ALL)
def test_an_unknown_option_is_one_line_and_exit_code_2(path, command, aigrid):
    result = aigrid(*path, "--frobnicate")
    assert result.code == 2
    assert result.out == ""
    assert result.err.startswith("aigrid: ")
    assert result.err.count("\n") == 1
    assert "--frobnicate" in result.err
    assert f"aigrid {' '.join(path)} --help" in result.err


@pytest.mark.parametrize(("path", "command"), ALL)
def test_with_json_an_error_is_one_document_of_the_one_shape(path, command, aigrid):
    result = aigrid(*path, "--json", "--frobnicate")
    assert result.code == 2
    assert set(result.json["error"]) == {"message", "type", "param", "code"}
    assert result.err == ""


def test_a_mistyped_command_is_named(aigrid):
    result = aigrid("lodger")
    assert (result.code, result.out) == (2, "")
    assert "lodger" in result.err


def test_no_command_prints_the_help(aigrid):
    result = aigrid()
    assert result.code == 2
    assert "Commands:" in result.err


def test_the_version_is_told(aigrid):
    assert aigrid("--version").out == f"aigrid {__version__}\n"
    assert aigrid("--version", "--json").json == {"version": __version__}


def test_a_bad_configuration_is_one_line(aigrid, monkeypatch):
    monkeypatch.setenv("AIGRID_GATEWAY_PROT", "1")
    result = aigrid("config", "show")
    assert result.code == 1
    assert result.err.startswith("aigrid: unknown setting `gateway.prot`")
    assert aigrid("config", "show", "--json").json["error"]["param"] == "gateway.prot"


def test_the_settings_in_force_can_be_read_back(aigrid, monkeypatch, tmp_path):
    monkeypatch.setenv("AIGRID_GATEWAY_PORT", "9999")
    shown = aigrid("config", "show").out
    (tmp_path / "aigrid.toml").write_text(shown)
    monkeypatch.delenv("AIGRID_GATEWAY_PORT")
    monkeypatch.setenv("AIGRID_CONFIG", str(tmp_path / "aigrid.toml"))
    assert aigrid("config", "show", "--json").json["settings"]["gateway"]["port"] == 9999


def test_a_password_in_the_ledgers_url_is_not_shown(aigrid, monkeypatch):
    monkeypatch.setenv("AIGRID_LEDGER_URL", "postgresql://me:hunter2@db/aigrid")
    for args in (("config", "show"), ("config", "show", "--json")):
        result = aigrid(*args)
        assert "hunter2" not in result.out
        assert "me:…@db" in result.out


def test_nothing_heavy_is_imported_for_the_help():
    code = "import sys; sys.argv = ['aigrid', '--help']\ntry:\n from aigrid.cli import main; main()\n"
    code += "except SystemExit: pass\n"
    code += "print('MODULES', *sorted({name.split('.')[0] for name in sys.modules}))"
    found = subprocess.check_output([sys.executable, "-c", code], text=True)
    modules = found.rpartition("MODULES ")[2].split()
    assert not {"openvino", "openvino_genai", "nicegui", "uvicorn", "asyncpg", "psycopg", "numpy", "rich"} & set(
        modules
    )


def test_the_command_is_installed_and_runs_as_a_module():
    run = subprocess.run([sys.executable, "-m", "aigrid.cli", "--version", "--json"], capture_output=True, text=True)
    assert json.loads(run.stdout)["version"] == __version__
