"""What a gateway keeps in its folder: its name, and the keys it knew last, to serve while the database is away.

Secrets are not kept, only their SHA-256; the file is readable by its owner alone.
"""

import logging
import os
from pathlib import Path

import msgspec

from aigrid.core.ids import new_id
from aigrid.ledger.admin import Changes
from aigrid.ledger.base import Key, Tenant
from aigrid.ledger.journal import Journal
from aigrid.ledger.ownership import Lock

log = logging.getLogger(__name__)


class _Known(msgspec.Struct):
    keys: dict[str, tuple[bytes, Key]] = {}
    tenants: dict[str, Tenant] = {}


class KeyFile:
    """The file and what is in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known = _Known()

    def load(self) -> Changes | None:
        """Return the keys and tenants in the file; None if there is none."""
        try:
            self._known = msgspec.json.decode(self.path.read_bytes(), type=_Known)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError) as error:
            log.error("%s cannot be read: %s; it is made anew from the database", self.path, error)
            return None
        return Changes([*self._known.keys.values()], [*self._known.tenants.values()], (0, 0))

    def clear(self) -> None:
        """Forget what was in the file; the next `save` writes it anew."""
        self._known = _Known()

    def save(self, changes: Changes) -> None:
        """Take in changes and write the file; a failure is logged, for the file is only needed in an outage."""
        self._known.keys |= {key.id: (hashed, key) for hashed, key in changes.keys}
        self._known.tenants |= {tenant.name: tenant for tenant in changes.tenants}
        new = self.path.with_suffix(".new")
        try:
            with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(msgspec.json.encode(self._known))
            new.replace(self.path)
        except OSError as error:
            log.error("%s cannot be written: %s", self.path, error)


class Folder:
    """A gateway's folder: its name, its lock, its journals and its `keys.json`."""

    def __init__(self, path: Path) -> None:
        """Make it if need be and take the lock; raises `Conflict` where another process has it."""
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._path = path
        self._lock = Lock(path / "lock")
        self.name = self._name()
        self.keys = KeyFile(path / "keys.json")
        self.left = sorted(path.glob("journal-*"))
        """Journals of earlier runs that are not settled yet."""

    def new_journal(self) -> Journal:
        """Return this run's journal: earlier ones are kept until the database has what is in them."""
        return Journal(self._path / new_id("journal-"))

    def settled(self) -> None:
        """Remove the journals of earlier runs."""
        for path in self.left:
            path.unlink(missing_ok=True)
        self.left = []

    def release(self) -> None:
        """Let go of the lock."""
        self._lock.release()

    def _name(self) -> str:
        path = self._path / "name"
        try:
            return path.read_text().strip()
        except FileNotFoundError:
            name = new_id("gw_")
            path.write_text(f"{name}\n")
            return name
