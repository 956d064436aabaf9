"""Makes this blueprint's data: what the handbook says, what people really write, and an examination of both.

Everything is invented (CC0-1.0). People's words in the examination come partly from templates that no rating was made
from, so that it asks more than memory. `python make_data.py` writes the same files each time.
"""

import json
import random
from pathlib import Path

HERE = Path(__file__).parent
THINGS = ["router", "modem", "box", "wifi box", "fibre line", "booster"]
ROOMS = ["kitchen", "attic", "office", "bedroom", "garden", "basement"]
BEFORE = ["", "", "hi, ", "hello, ", "hey ", "sorry but ", "please help: ", "question: "]
AFTER = ["", "", "", "?", " thanks", " pls", " ...", " asap"]
MONTHS = ["march", "april", "may", "june", "july", "august"]
HANDBOOK = {
    "outage": [
        "There is a service outage affecting the {thing}.",
        "The {thing} reports a loss of service in the {room}.",
    ],
    "slow": [
        "The {thing} provides reduced bandwidth in the {room}.",
        "Bandwidth at the {room} is below the agreed rate.",
    ],
    "invoice": ["Please explain the invoice of {month}.", "I request a copy of the invoice for {month}."],
    "cancel": [
        "I wish to terminate the contract in {month}.",
        "Please confirm termination of the contract for {month}.",
    ],
    "move": [
        "I am relocating the connection to new premises in {month}.",
        "Please transfer the {thing} to new premises.",
    ],
    "return": ["I wish to return the {thing} as hardware.", "How is hardware such as the {thing} sent back?"],
}
PEOPLE = {
    "outage": [
        "no internet since this morning", "the {thing} is dead again", "red light on my {thing}, nothing loads",
        "nothing works in the {room}", "we are offline!! help", "{thing} keeps blinking and there is no connection",
        "my net is gone", "pages do not open at all in the {room}", "is the whole street down?", "tv and net both gone since {month}",
    ],
    "slow": [
        "videos keep buffering in the {room}", "why is it so sluggish in the evening", "{thing} crawls since {month}",
        "speed test says 3 mbit in the {room}", "games lag like mad", "downloading takes ages in the {room}",
        "netflix is all pixels", "the {thing} is way too slow", "zoom freezes in the {room} every day", "it takes forever to load a page",
    ],
    "invoice": [
        "why did you take 60 euros in {month}", "i was charged twice in {month}", "what is this fee on my account?",
        "my bill went up since {month}", "cant find my bill for {month}", "who do i ask about a wrong charge",
        "you debited me for the {thing}, why", "money left my account in {month}, what for", "the amount for {month} is wrong", "send me the paper about what i pay",
    ],
    "cancel": [
        "i want out by {month}", "how do i quit", "i am leaving you guys in {month}", "stop my plan please",
        "i found somebody cheaper, end it in {month}", "when can i get rid of this plan", "i do not need you any more after {month}",
        "close my account", "no longer want the {thing}, shut everything off", "how long am i tied to you?",
    ],
    "move": [
        "new flat in {month}, can i take it with me", "we are moving house in {month}", "i changed my address",
        "can the {thing} come along to our new home", "my new place has no socket for the {thing}", "moving van comes in {month}, what about the net",
        "taking the line to another town", "i will live elsewhere from {month}", "same plan, other street?", "what do i do with the {thing} when we change flats",
    ],
    "return": [
        "where do i send the old {thing}", "i have a {thing} here that you want back", "need a label for the parcel with the {thing}",
        "do you take the old {thing} back", "which shop takes my {thing}", "i boxed up the {thing}, what now",
        "the postman refused my parcel with the {thing}", "got a new {thing}, what about the old one", "must i give the {thing} back", "drop off point for the {thing}?",
    ],
}  # fmt: skip
SEEN = 7
"""Templates of each intent that ratings are made from; the examination has the others too."""


def said(template: str, rng: random.Random, around: bool) -> str:
    """Fill a template in; people put words around it."""
    before, after = (rng.choice(BEFORE), rng.choice(AFTER)) if around else ("", "")
    return before + template.format(thing=rng.choice(THINGS), room=rng.choice(ROOMS), month=rng.choice(MONTHS)) + after


def drawn(templates: dict[str, list[str]], each: int, rng: random.Random, taken: set[str]) -> list[tuple[str, str]]:
    """Draw different texts for each intent, none of which is taken."""
    found = []
    for intent, texts in templates.items():
        count = tries = 0
        while count < each and tries < 1000:
            text, tries = said(rng.choice(texts), rng, templates is not HANDBOOK), tries + 1
            if text not in taken:
                taken.add(text)
                found.append((text, intent))
                count += 1
    rng.shuffle(found)
    return found


def main() -> None:
    """Write the three files."""
    rng, taken = random.Random(5), set[str]()
    exam = drawn(PEOPLE, 30, rng, taken) + drawn(HANDBOOK, 5, rng, taken)
    lessons = drawn(HANDBOOK, 18, rng, taken)
    ratings = drawn({intent: texts[:SEEN] for intent, texts in PEOPLE.items()}, 34, rng, taken)[:200]
    rows = {"lessons": lessons, "examination": exam, "ratings": ratings}
    for name, found in rows.items():
        lines = [json.dumps({"input": text, "output": intent}) + "\n" for text, intent in found]
        (HERE / "data" / f"{name}.jsonl").write_text("".join(lines))
        print(f"{name}: {len(found)}")


if __name__ == "__main__":
    main()
