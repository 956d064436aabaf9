"""The factory's files in AIGRID_HOME."""

import os

import pytest

from aigrid.cli import factory


@pytest.fixture
def no_umask():
    before = os.umask(0)
    yield
    os.umask(before)


def test_what_a_factory_writes_is_for_its_owner_alone(tmp_path, monkeypatch, no_umask):
    home = tmp_path / "home"
    monkeypatch.setenv("AIGRID_HOME", str(home))
    with factory.claim():
        modes = {path.name: path.stat().st_mode & 0o777 for path in (home, *home.iterdir())}
    assert modes == {"home": 0o700, "factory.lock": 0o600}
