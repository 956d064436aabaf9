"""What is checked before anything is started, so that what cannot work fails at once, in one sentence."""

import errno
import os
import socket
from urllib.parse import urlsplit

from aigrid.cli.output import warn
from aigrid.client.http import Gateway
from aigrid.core.config import Config, UpstreamConfig
from aigrid.core.errors import AigridError, ConfigError, Conflict, UpstreamError
from aigrid.thinking.policy import Policy

UPSTREAM_WAIT_S = 5.0


def check(config: Config) -> None:
    """Check addresses, ports (0 becomes a free one), the policy and upstreams; raises the first that cannot work."""
    if config.engine.kind == "none" and not config.upstreams:
        raise ConfigError(
            "there is nothing to serve: --engine none needs an upstream, e.g. --upstream lab=http://host:8000"
        )
    scheme = config.ledger.url.partition("://")[0]
    if scheme not in ("sqlite", "postgresql", "postgres"):
        raise ConfigError(f"--ledger must be sqlite or postgresql://user@host/database, not `{config.ledger.url}`")
    host = config.gateway.host
    config.gateway.port = check_port(host, config.gateway.port, "--port")
    if config.console.enabled:
        config.console.port = check_port(host, config.console.port, "--console-port")
        if config.console.port == config.gateway.port:
            raise ConfigError(f"gateway and console cannot share port {config.gateway.port}; change --console-port")
    Policy(config)
    check_upstreams(config)


def check_port(host: str, port: int, option: str) -> int:
    """Return the port on which a server could listen now (a free one for 0); raises where it could not."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, proto, _, address = found[0]
        with socket.socket(family, kind, proto) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            return int(probe.getsockname()[1])
    except socket.gaierror:
        raise ConfigError(f"`{host}` is not an address of this machine; use 127.0.0.1, 0.0.0.0 or one it has") from None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise Conflict(
                f"port {port} on {host} is in use by another program; stop that, or choose another with {option}"
            ) from None
        if error.errno == errno.EACCES:
            raise ConfigError(f"only root may listen on port {port}; choose one above 1023 with {option}") from None
        if error.errno == errno.EADDRNOTAVAIL:
            raise ConfigError(f"this machine has no address {host}; use 127.0.0.1, 0.0.0.0 or one it has") from None
        raise ConfigError(f"cannot listen on {host}:{port}: {error.strerror}") from None


def parse_upstream(text: str) -> UpstreamConfig:
    """Return the upstream that `NAME=URL` names; raises `ConfigError`."""
    name, found, url = text.partition("=")
    parts = urlsplit(url)
    if not found or not name or "://" in name or parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"--upstream wants NAME=URL, e.g. lab=http://10.0.0.5:8000, not `{text}`")
    return UpstreamConfig(name=name, url=url)


def check_upstreams(config: Config) -> None:
    """Warn of each upstream that does not answer; raise where nothing else could serve."""
    if not config.upstreams:
        return
    for upstream in config.upstreams:
        if upstream.key_env and not os.environ.get(upstream.key_env):
            raise ConfigError(f"upstream {upstream.name} takes its key from ${upstream.key_env}, which is not set")
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(len(config.upstreams)) as pool:
        troubles = [trouble for trouble in pool.map(trouble_of, config.upstreams) if trouble]
    if config.engine.kind == "none" and len(troubles) == len(config.upstreams):
        raise UpstreamError(f"no upstream answers, so there is nothing to serve: {'; '.join(troubles)}")
    for trouble in troubles:
        warn(f"{trouble} (it is tried again at each request)")


def trouble_of(upstream: UpstreamConfig) -> str:
    """Say in one clause what is wrong with an upstream; empty where it lists its models."""
    key = os.environ.get(upstream.key_env, "") if upstream.key_env else ""
    try:
        status, _ = Gateway(upstream.url, key, timeout_s=UPSTREAM_WAIT_S).get("/v1/models")
    except AigridError as error:
        return f"upstream {upstream.name} at {upstream.url} does not answer ({_cause(error)})"
    if status in (401, 403):
        return f"upstream {upstream.name} at {upstream.url} refuses its key (HTTP {status}); set key_env in aigrid.toml"
    if status != 200 and not upstream.models:
        return f"upstream {upstream.name} at {upstream.url} does not list its models (HTTP {status} for /v1/models)"
    return ""


def _cause(error: AigridError) -> str:
    return "nothing listens there" if error.status == 503 else error.message.rpartition(": ")[2]
