"""Small tasks that a rung can learn: intents with strangers among them, and bookings."""

import itertools
from collections.abc import Iterator

from aigrid.factory.rows import Row

ASKS = {
    "weather": ["will it rain {}", "what is the weather {}", "is it sunny {}", "do i need an umbrella {}"],
    "alarm": ["wake me up {}", "set an alarm for {}", "i need an alarm {}", "make an alarm ring {}"],
    "music": ["play some jazz {}", "put on a song {}", "play my playlist {}", "i want to hear music {}"],
}
WHEN = ["today", "tomorrow", "on monday", "on friday", "tonight", "at noon", "next week", "at seven", "later", "now"]
STRANGE = ["how tall is {}", "who wrote {}", "sell my {}", "the colour of {}"]
THINGS = ["the eiffel tower", "hamlet", "bicycle", "an old oak", "the moon"]
GUESTS = ["a table for {people} {date}", "{people} people {date} please", "book {date} for {people}", "{date} {people}"]
DAYS = ["on Monday", "next Friday", "tomorrow", "on the 3rd of May", "on Sunday", "next Tuesday"]
PEOPLE = ["2", "3", "4", "five", "six", "10"]


def intents() -> list[Row]:
    """Return 140 rows of three intents and of none, a quarter of them in `dev` and an eighth in `test`."""
    said = [(ask.format(when), label) for label, asks in ASKS.items() for ask in asks for when in WHEN]
    said += [(ask.format(thing), "none") for ask in STRANGE for thing in THINGS]
    return list(_split(said))


def bookings() -> list[Row]:
    """Return 144 bookings and 24 rows that book nothing."""
    said: list[tuple[str, object]] = [
        (guest.format(people=people, date=date), {"people": people, "date": date})
        for guest, people, date in itertools.product(GUESTS, PEOPLE, DAYS)
    ]
    said += [(f"do you have {what} {how}", {}) for what in ("parking", "wine", "a garden") for how in "abcdefgh"]
    return list(_split(said))


def _split(said: list[tuple[str, object]]) -> Iterator[Row]:
    for at, (text, output) in enumerate(said):
        yield Row(text, output, split="test" if at % 8 == 0 else "dev" if at % 4 == 1 else "train", origin="test")
