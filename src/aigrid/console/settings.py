"""What one console process is told when it starts."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from aigrid.core.errors import ConfigError


@dataclass(frozen=True)
class ConsoleSettings:
    """The gateway's address, and where the console itself listens."""

    gateway_url: str
    host: str = "127.0.0.1"
    port: int = 8471
    tls_cert: str | None = None
    tls_key: str | None = None

    def __post_init__(self) -> None:
        parts = urlsplit(self.gateway_url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ConfigError(
                f"the gateway's address must look like http://127.0.0.1:8470, not `{self.gateway_url}`", param="gateway"
            )
        if not 0 < self.port < 65536:
            raise ConfigError(f"the console's port must be from 1 to 65535, not {self.port}", param="port")
        if bool(self.tls_cert) != bool(self.tls_key):
            raise ConfigError("https needs both a certificate and its key", param="tls-cert")

    @property
    def base(self) -> str:
        """The gateway's address without a slash at its end."""
        return self.gateway_url.rstrip("/")
