"""Configuration: one `aigrid.toml` plus environment variables, read here and nowhere else.

The file is `$AIGRID_CONFIG`, else `./aigrid.toml`, else `$AIGRID_HOME/aigrid.toml`. A scalar setting
`[section] key` is overridden by `AIGRID_SECTION_KEY`. Unknown keys are errors that suggest the nearest known one.
Its sections are in `config_sections`.

`aigrid up` decides once and hands its children the result whole, as JSON in `AIGRID_EFFECTIVE`.
"""

import difflib
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import msgspec

from aigrid.core.config_check import check
from aigrid.core.config_sections import (
    ConsoleConfig,
    EnergyPriceConfig,
    EngineConfig,
    GatewayConfig,
    GuardConfig,
    GuardTenantConfig,
    KnowledgeConfig,
    LedgerConfig,
    ModelConfig,
    OvernightConfig,
    PriceConfig,
    SiteConfig,
    ThinkingConfig,
    TierConfig,
    TracesConfig,
    UpstreamConfig,
)
from aigrid.core.errors import ConfigError

__all__ = [
    "EFFECTIVE",
    "SECTIONS",
    "TABLES",
    "Config",
    "ConfigError",
    "ConsoleConfig",
    "EnergyPriceConfig",
    "EngineConfig",
    "GatewayConfig",
    "GuardConfig",
    "GuardTenantConfig",
    "KnowledgeConfig",
    "LedgerConfig",
    "ModelConfig",
    "OvernightConfig",
    "PriceConfig",
    "SiteConfig",
    "ThinkingConfig",
    "TierConfig",
    "TracesConfig",
    "UpstreamConfig",
    "cache",
    "config_file",
    "describe",
    "home",
    "load",
]


class Config(msgspec.Struct, forbid_unknown_fields=True):
    """Everything that can be set."""

    gateway: GatewayConfig = msgspec.field(default_factory=GatewayConfig)
    console: ConsoleConfig = msgspec.field(default_factory=ConsoleConfig)
    ledger: LedgerConfig = msgspec.field(default_factory=LedgerConfig)
    engine: EngineConfig = msgspec.field(default_factory=EngineConfig)
    site: SiteConfig = msgspec.field(default_factory=SiteConfig)
    overnight: OvernightConfig = msgspec.field(default_factory=OvernightConfig)
    knowledge: KnowledgeConfig = msgspec.field(default_factory=KnowledgeConfig)
    thinking: ThinkingConfig = msgspec.field(default_factory=ThinkingConfig)
    guard: GuardConfig = msgspec.field(default_factory=GuardConfig)
    traces: TracesConfig = msgspec.field(default_factory=TracesConfig)
    upstreams: list[UpstreamConfig] = []
    prices: list[PriceConfig] = []
    energy_prices: list[EnergyPriceConfig] = []
    tiers: list[TierConfig] = []
    models: list[ModelConfig] = []
    guards: list[GuardTenantConfig] = []


_FIELDS = {field.name: field.type for field in msgspec.structs.fields(Config)}
SECTIONS: dict[str, type[msgspec.Struct]] = {name: kind for name, kind in _FIELDS.items() if get_origin(kind) is None}
TABLES: dict[str, type[msgspec.Struct]] = {
    name: get_args(kind)[0] for name, kind in _FIELDS.items() if get_origin(kind)
}

EFFECTIVE = "AIGRID_EFFECTIVE"
"""The environment variable in which a parent hands its children the configuration, decided and checked."""


def home() -> Path:
    """Return the folder that holds all state: `$AIGRID_HOME`, else the user's data directory. Made if missing."""
    base = os.environ.get("AIGRID_HOME")
    if not base:
        base = os.path.join(os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share"), "aigrid")
    path = Path(base).expanduser().absolute()
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise ConfigError(
            f"cannot make the state folder {path}: {error.strerror}; set AIGRID_HOME to a folder you can write"
        ) from error
    return path


def cache() -> Path:
    """Return the folder for downloads: `$XDG_CACHE_HOME/aigrid`, else `~/.cache/aigrid`. Made if missing."""
    path = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "aigrid"
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"cannot make the download folder {path}: {error.strerror}; set XDG_CACHE_HOME to a folder you can write"
        ) from error
    return path


def config_file(env: Mapping[str, str] = os.environ) -> Path:
    """Return the path of the configuration file that is or would be read."""
    if env.get("AIGRID_CONFIG"):
        return Path(env["AIGRID_CONFIG"]).expanduser()
    local = Path("aigrid.toml")
    return local if local.exists() else home() / "aigrid.toml"


def load(path: Path | None = None, env: Mapping[str, str] = os.environ) -> Config:
    """Read the configuration; raises `ConfigError` that names the key and suggests the nearest known one."""
    if path is None and env.get(EFFECTIVE):
        return _effective(env[EFFECTIVE])
    path = path or config_file(env)
    data: dict[str, Any] = {}
    try:
        data = tomllib.loads(path.read_text())
    except FileNotFoundError:
        if env.get("AIGRID_CONFIG"):
            raise ConfigError(f"AIGRID_CONFIG names {path}, which does not exist") from None
    except OSError as error:
        raise ConfigError(
            f"cannot read {path}: {error.strerror}; correct that, or name another in AIGRID_CONFIG"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error
    _refuse_unknown(data, str(path))
    _overlay(data, env)
    try:
        config = msgspec.convert(data, Config, strict=False)
        check(config)
    except (msgspec.ValidationError, ConfigError) as error:
        raise ConfigError(f"{path} or AIGRID_*: {error}") from error
    return config


def _effective(text: str) -> Config:
    try:
        config = msgspec.json.decode(text, type=Config)
        check(config)
    except (msgspec.DecodeError, UnicodeError, ConfigError) as error:
        raise ConfigError(f"{EFFECTIVE} is not a configuration: {error}; `aigrid up` sets it, nobody else") from error
    return config


def _refuse_unknown(data: dict[str, Any], where: str) -> None:
    _check_keys(data, [*SECTIONS, *TABLES], "", where)
    for name, section in SECTIONS.items():
        if isinstance(data.get(name), dict):
            _check_keys(data[name], list(section.__struct_fields__), f"{name}.", where)
    for name, table in TABLES.items():
        entries = data.get(name)
        for entry in entries if isinstance(entries, list) else []:
            if isinstance(entry, dict):
                _check_keys(entry, list(table.__struct_fields__), f"{name}.", where)


def _check_keys(found: Mapping[str, Any], known: list[str], prefix: str, where: str) -> None:
    for key in found:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
            hint = f"; did you mean `{prefix}{near[0]}`?" if near else f"; known: {', '.join(sorted(known))}"
            raise ConfigError(f"unknown setting `{prefix}{key}` in {where}{hint}", param=f"{prefix}{key}")


def _overlay(data: dict[str, Any], env: Mapping[str, str]) -> None:
    for variable, value in env.items():
        for name, section in SECTIONS.items():
            prefix = f"AIGRID_{name.upper()}_"
            if variable.startswith(prefix):
                key = variable[len(prefix) :].lower()
                _check_keys({key: value}, list(section.__struct_fields__), f"{name}.", f"the environment ({variable})")
                section_data = data.setdefault(name, {})
                if isinstance(section_data, dict):
                    section_data[key] = value


def describe(section: type[msgspec.Struct]) -> list[tuple[str, str, str, str]]:
    """Return (name, type, default, description) of each setting of a section, for the reference page."""
    rows = []
    for field in msgspec.structs.fields(section):
        metas = field.type.__metadata__ if get_origin(field.type) is Annotated else ()
        base = get_args(field.type)[0] if metas else field.type
        default = "required" if field.required else repr(field.default)
        text = next((m.description for m in metas if m.description), "")
        if field.default_factory is not msgspec.NODEFAULT:
            default = repr(field.default_factory())
        name = base.__name__ if isinstance(base, type) and not get_args(base) else str(base).replace("typing.", "")
        rows.append((field.name, name, default, text))
    return rows
