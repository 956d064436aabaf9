import os

import pytest

from tests.postgres import postgres_server, postgres_url

__all__ = ["postgres_server", "postgres_url"]


@pytest.fixture(autouse=True)
def state_in_a_temporary_folder(tmp_path_factory, monkeypatch):
    """No test reads or writes the user's own state, whatever it starts."""
    for name in [name for name in os.environ if name.startswith("AIGRID_")]:
        monkeypatch.delenv(name)
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("AIGRID_HOME", str(home))
    return home
