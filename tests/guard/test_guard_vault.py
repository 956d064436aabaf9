import stat

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aigrid.core.errors import ConfigError
from aigrid.guard.vault import Vault, owner_key

KEY, OTHER = bytes(range(32)), bytes(32)
PIECES = st.sampled_from(
    [
        "ann@mail.example",
        " ",
        "<EMAIL_1>",
        "<EMAIL_",
        "1>",
        "<",
        ">",
        "+49 30 901820",
        "My name is Ines Carvalho.",
        "<TEXT_1>",
    ]
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.lists(PIECES | st.text(max_size=20), max_size=12).map("".join))
def test_what_is_replaced_is_restored_for_every_text(tmp_path, text):
    vault = Vault(tmp_path / "never-saved", KEY)
    assert vault.restore(vault.replace(text)) == text


def test_a_value_has_one_token_in_all_texts_and_after_a_restart(tmp_path):
    path = tmp_path / "people.vault"
    with Vault(path, KEY) as vault:
        assert vault.replace("ann@mail.example and bo@mail.example") == "<EMAIL_1> and <EMAIL_2>"
    with Vault(path, KEY) as vault:
        assert vault.replace("bo@mail.example, cy@mail.example") == "<EMAIL_2>, <EMAIL_3>"
        assert vault.restore("to <EMAIL_1> and <EMAIL_9>") == "to ann@mail.example and <EMAIL_9>"


def test_without_the_key_nothing_is_restored(tmp_path):
    path = tmp_path / "people.vault"
    with Vault(path, KEY) as vault:
        vault.replace("ann@mail.example")
    assert b"ann" not in path.read_bytes()
    with pytest.raises(ConfigError, match="not its key"):
        Vault(path, OTHER)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(ConfigError, match="was changed"):
        Vault(path, KEY)


def test_the_key_is_made_once_and_for_its_owner_only(tmp_path, monkeypatch):
    monkeypatch.setenv("AIGRID_HOME", str(tmp_path))
    key = owner_key()
    assert len(key) == 32
    assert owner_key() == key
    assert stat.S_IMODE((tmp_path / "keys" / "pii.key").stat().st_mode) == 0o600
    (tmp_path / "keys" / "pii.key").write_bytes(b"short")
    with pytest.raises(ConfigError, match="no key"):
        owner_key()
