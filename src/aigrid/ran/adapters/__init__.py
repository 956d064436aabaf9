"""Other radios' own counters, read as they print them, on the same page of state as the radio here.

`ADAPTERS[kind]()` makes a reader; `base.publish` writes what it reports. What a radio does not tell is assumed to be
busy, so that whoever shares the machine with it yields.
"""

from aigrid.ran.adapters.aerial import Aerial
from aigrid.ran.adapters.base import Adapter, Report, follow, publish
from aigrid.ran.adapters.oai import Oai
from aigrid.ran.adapters.srsran import SrsRan

ADAPTERS: dict[str, type[Adapter]] = {"srsran": SrsRan, "oai": Oai, "aerial": Aerial}

__all__ = ["ADAPTERS", "Adapter", "Report", "follow", "publish"]
