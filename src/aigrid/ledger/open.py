"""Opens the ledger that the configuration names."""

from aigrid.core.config import Config, home
from aigrid.core.errors import ConfigError
from aigrid.ledger.base import Ledger
from aigrid.ledger.energy import Meter, find_meter
from aigrid.ledger.recovery import Recover
from aigrid.ledger.sqlite import SqliteLedger


def open_ledger(config: Config, *, owner: bool, meter: Meter | None = None, recover: Recover | None = None) -> Ledger:
    """Return the ledger that `ledger.url` names, not opened yet.

    The `owner` may hold and settle; others read and administer. `meter` is by default the best this machine has;
    `recover` asks the engines about holds that a crash left open.
    """
    url = config.ledger.url
    folder = home() / "ledger"
    if owner and meter is None:
        meter = find_meter(config.site.tdp_w)
    if url == "sqlite":
        return SqliteLedger(folder, config, owner=owner, meter=meter, recover=recover)
    if url.startswith(("postgresql://", "postgres://")):
        from aigrid.ledger.postgres import PostgresLedger

        return PostgresLedger(url, config, owner=owner, meter=meter, recover=recover)
    raise ConfigError(f"ledger.url is {url!r}; write `sqlite` or `postgresql://user@host/database`", param="ledger.url")
