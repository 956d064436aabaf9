import contextlib
import os
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aigrid.core import config
from aigrid.core.config import SECTIONS, TABLES, Config, load
from aigrid.core.errors import ConfigError


def write(folder, text):
    path = folder / "aigrid.toml"
    path.write_text(text)
    return path


def test_without_a_file_everything_has_its_default():
    assert load(env={}) == Config()


def test_the_file_is_read(tmp_path):
    path = write(tmp_path, '[gateway]\nport = 9000\n[[upstreams]]\nname = "lab"\nurl = "http://lab:8000"\n')
    found = load(path, {})
    assert found.gateway.port == 9000
    assert [upstream.name for upstream in found.upstreams] == ["lab"]


def test_the_environment_wins_over_the_file(tmp_path):
    path = write(tmp_path, "[gateway]\nport = 9000\nmax_running = 7\n")
    found = load(path, {"AIGRID_GATEWAY_PORT": "9001", "AIGRID_CONSOLE_ENABLED": "false"})
    assert (found.gateway.port, found.gateway.max_running, found.console.enabled) == (9001, 7, False)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[gatway]\nport = 1\n", r"unknown setting `gatway` in .*; did you mean `gateway`\?"),
        ("[gateway]\nprot = 1\n", r"unknown setting `gateway.prot` in .*; did you mean `gateway.port`\?"),
        ("[[upstreams]]\nname='a'\nurll='b'\n", r"unknown setting `upstreams.urll` .*did you mean `upstreams.url`\?"),
        ("[gateway]\nzzz = 1\n", r"unknown setting `gateway.zzz` .*; known: .*max_running"),
        ("[gateway\n", "is not valid TOML"),
        ("[gateway]\nport = 70000\n", r"gateway\.port"),
        ("[gateway]\nport = 'x'\n", r"gateway\.port"),
        ("[[upstreams]]\nname = 'a'\n", "url"),
        ("[engine]\nkind = 'abacus'\n", "abacus"),
        ("gateway = 3\n", "gateway"),
        ("upstreams = 3\n", "upstreams"),
        ("[[prices]]\ntier = 'slow'\n", r"slow.*prices\[.*tier"),
        ("[site]\nid = 'a/b'\n", r"site\.id is 'a/b', which cannot be a name: it holds '/'"),
        ("[site]\nid = 'a\\b'\n", r"site\.id .* it holds "),
        ("[site]\nid = '..'\n", r"site\.id .* it holds `\.\.`"),
        ("[site]\nid = ' '\n", r"site\.id .* it is empty"),
        ('[site]\nid = "a\\r\\nb"\n', r"site\.id .* it holds '\\r'"),
        ('[site]\nid = "a\\u202eb"\n', r"site\.id .* it holds '\\u202e'"),
        ("[site]\nenergy_usd_per_kwh = inf\n", r"site\.energy_usd_per_kwh is inf; it must be a finite number"),
        ("[gateway]\nmax_wait_s = inf\n", r"gateway\.max_wait_s is inf"),
        ("[[prices]]\nprompt_usd_per_mtok = nan\n", r"prices\[0\]\.prompt_usd_per_mtok"),
        (
            "[[upstreams]]\nname='a'\nurl='b'\n[[upstreams]]\nname='a'\nurl='c'\n",
            r"upstreams\[1\]\.name is `a`, and so is upstreams\[0\]\.name",
        ),
        ("[[upstreams]]\nname='local'\nurl='b'\n", r"upstreams\[0\]\.name is `local`, and so is site\.id"),
        ("[[upstreams]]\nname='a/b'\nurl='b'\n", r"upstreams\[0\]\.name is 'a/b'"),
    ],
)
def test_a_mistake_in_the_file_is_named(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        load(write(tmp_path, text), {})


def test_a_mistake_in_the_environment_is_named():
    with pytest.raises(ConfigError, match=r"AIGRID_GATEWAY_PROT.*did you mean `gateway.port`"):
        load(env={"AIGRID_GATEWAY_PROT": "1"})


def test_a_named_file_must_exist(tmp_path):
    with pytest.raises(ConfigError, match="does not exist"):
        load(env={"AIGRID_CONFIG": str(tmp_path / "none.toml")})


def test_the_nearest_file_is_taken(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert config.config_file() == config.home() / "aigrid.toml"
    write(tmp_path, "")
    assert config.config_file() == Path("aigrid.toml")
    assert config.config_file({"AIGRID_CONFIG": "/x.toml"}) == Path("/x.toml")


def test_children_get_the_decided_configuration_whole():
    decided = Config()
    decided.gateway.port = 1234
    decided.upstreams.append(config.UpstreamConfig(name="lab", url="http://lab"))
    env = {config.EFFECTIVE: msgspec.json.encode(decided).decode(), "AIGRID_GATEWAY_PORT": "1"}
    assert load(env=env) == decided


@pytest.mark.parametrize(
    "text", ["{", "[]", "null", '{"gateway": {"port": "x"}}', '{"nothing": 1}', '{"site": {"id": "/"}}', "\udc80"]
)
def test_a_configuration_that_was_not_handed_down_whole_is_refused_in_a_sentence(text):
    with pytest.raises(ConfigError, match=r"^AIGRID_EFFECTIVE is not a configuration: .*; `aigrid up` sets it"):
        load(env={config.EFFECTIVE: text})


def test_two_configurations_share_nothing():
    Config().upstreams.append(config.UpstreamConfig(name="lab", url="http://lab"))
    assert Config().upstreams == []


def test_home_is_private_and_made_at_first_use(tmp_path, monkeypatch):
    monkeypatch.setenv("AIGRID_HOME", str(tmp_path / "a" / "b"))
    assert config.home().stat().st_mode & 0o777 == 0o700


def test_a_home_that_cannot_be_made_is_said_plainly(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("AIGRID_HOME", str(tmp_path / "file" / "below"))
    with pytest.raises(ConfigError, match="set AIGRID_HOME to a folder you can write"):
        config.home()


def test_without_aigrid_home_state_is_in_the_users_data_folder(tmp_path, monkeypatch):
    monkeypatch.delenv("AIGRID_HOME")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert config.home() == tmp_path / "aigrid"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert config.cache() == tmp_path / "cache" / "aigrid"


@pytest.mark.parametrize("section", [*SECTIONS.values(), *TABLES.values()])
def test_every_setting_says_what_it_is(section):
    for name, kind, default, text in config.describe(section):
        assert text, f"{section.__name__}.{name} has no description"
        assert kind
        assert default


keys = st.text(max_size=8) | st.sampled_from([*SECTIONS, *TABLES])


@given(st.dictionaries(keys, st.integers() | st.text(max_size=8) | st.lists(st.integers()), max_size=4))
def test_nothing_but_a_configuration_error_comes_from_any_content(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("toml") / "aigrid.toml"
    path.write_text(
        "".join(f"{msgspec.json.encode(k).decode()} = {msgspec.json.encode(v).decode()}\n" for k, v in content.items())
    )
    with contextlib.suppress(ConfigError):
        load(path, {"AIGRID_GATEWAY_PORT": "1"})


def test_the_fixture_keeps_the_users_own_state_away():
    assert "home" in os.environ["AIGRID_HOME"]


def test_a_file_that_cannot_be_read_is_named_in_one_sentence(tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match=f"cannot read {tmp_path}: Is a directory"):
        load(tmp_path, {})

    def refused(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", refused)
    with pytest.raises(ConfigError, match="Permission denied"):
        load(tmp_path / "aigrid.toml", {})


def test_every_setting_of_the_configuration_is_a_section_or_a_table():
    assert [*SECTIONS, *TABLES] == list(Config.__struct_fields__)
    assert SECTIONS["gateway"] is config.GatewayConfig
    assert TABLES["prices"] is config.PriceConfig
