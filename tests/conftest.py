import os

import pytest
from hypothesis import HealthCheck, settings

from tests.postgres import postgres_server, postgres_url

__all__ = ["postgres_server", "postgres_url"]

# Tests run side by side, and numpy's threads would wait for each other.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# The same examples at every run, however slow the machine is: what fails here fails everywhere.
settings.register_profile("steady", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("steady")


@pytest.fixture(autouse=True)
def state_in_a_temporary_folder(tmp_path_factory, monkeypatch):
    """No test reads or writes the user's own state, whatever it starts."""
    for name in [name for name in os.environ if name.startswith("AIGRID_")]:
        monkeypatch.delenv(name)
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("AIGRID_HOME", str(home))
    return home
