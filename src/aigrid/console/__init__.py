"""The web console: its own process, which talks to the gateway over HTTP only."""

from aigrid.console.settings import ConsoleSettings

__all__ = ["ConsoleSettings", "run"]


def run(
    gateway_url: str,
    host: str = "127.0.0.1",
    port: int = 8471,
    *,
    tls_cert: str | None = None,
    tls_key: str | None = None,
) -> None:
    """Serve the console until interrupted; a process can do this once.

    `gateway_url` is the API's base address, e.g. `http://127.0.0.1:8470`. With both `tls_cert` and `tls_key`
    (PEM files) the console speaks https. Raises `ConfigError` for an address that cannot be.
    """
    from aigrid.console.app import serve

    serve(ConsoleSettings(gateway_url, host, port, tls_cert, tls_key))
