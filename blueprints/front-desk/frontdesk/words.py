"""What a customer's words say by rule: what they want, and what goes into a form. No model is asked here.

The rules are for the forms of this desk and in English. They are strict rather than clever: where the words leave two
readings, nothing is chosen, so that the desk asks the customer or lets a model choose among the readings.
"""

import datetime
import re
from collections.abc import Iterable, Mapping

from aigrid.knowledge.language import STOP_WORDS, terms

_SAME = ((re.compile(r"\bbike(s?)\b", re.IGNORECASE), r"bicycle\1"), (re.compile("’"), "'"))

_PERSON = re.compile(
    r"\b(human|real person|to a person|a colleague|representative|your (manager|boss)"
    r"|(talk|speak)\b.{0,12}\b(to|with)\b|put (me|us) through|transfer me|call me( back)?)\b"
    r"|\b(i|we) (want|wish|would like|'d like|have) to complain|\bmake a complaint"
    r"|\b(hurt|injur\w*|accident|hospital|lawyer|solicitor|sue|court|police|newspaper|journalist|compensation)\b"
    r"|\b(other|another|the|that|which) customer('s|s)?\b",
    re.IGNORECASE,
)
_RETURN = re.compile(
    r"\b(return(ed|ing)?|refund\w*|money back|exchange|(send|give|take|bring|taken|sent|giving|sending)\b.{0,60}\bback)\b",
    re.IGNORECASE,
)
_APPOINTMENT = re.compile(
    r"\b(appointment|book|fit (me|us) in|service|inspection|puncture|flat tyre|bring\b.{0,30}\bin\b)", re.IGNORECASE
)
_REQUEST = re.compile(
    r"\b(i|we)( would|'d| want| need| wish)\b|\bplease\b|\brequest\b|\bneeds?\b|\b(book|fit|make) (me|us)\b",
    re.IGNORECASE,
)
_ASKS = re.compile(
    r"(?:^|[.!?,]\s+)(how|what|when|who|whose|which|where|why|within|after how|up to|is there|do you|does|are (you|there))\b",
    re.IGNORECASE,
)
_ORDER = re.compile(r"\bLC[-\s]?(\d{4})\b", re.IGNORECASE)

REASONS = {
    "faulty": r"broken|defect\w*|faulty|(does|do|did) ?n[o']t work|not work\w*|crack\w*|leak\w*|flicker\w*|torn|ripped"
    r"|damaged|scratched|stopped|squeak\w*|loose",
    "wrong size": r"too (small|big|large|tight|long|short|wide|narrow)|(does|do) ?n[o']t fit|wrong size|another size",
    "wrong goods": r"wrong (colou?r|item|one|model|product|goods|article)|not (the one|what) (i|we) ordered|(i|we) ordered an?",
    "not wanted": r"no longer (need|want)\w*|do ?n[o']t (want|need|like)|changed my mind|by mistake|no use for",
}
SERVICES = {
    "small service": r"small service|quick (check|service)|(check|adjust)\w* (of )?(the |my )?(brakes|gears)",
    "full service": r"(full|big|complete|large) service|overhaul",
    "puncture": r"puncture|flat (tyre|tire)|(tyre|tire) is flat",
}
_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_MONTHS = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
]
_DATE = re.compile(
    rf"\b(?P<iso>\d{{4}}-\d\d-\d\d)\b|\b(?P<day>\d{{1,2}})(st|nd|rd|th)? (of )?(?P<month>{'|'.join(_MONTHS)})\b"
    rf"|\b(?P<month2>{'|'.join(_MONTHS)}) (?P<day2>\d{{1,2}})\b",
    re.IGNORECASE,
)
_KNOWN = frozenset(
    terms("return send give take bring back refund money order number item thing something buy bought get got make book "
          "appointment service bicycle workshop shop please hello thank thanks want need like wish request day date")
)  # fmt: skip


def plain(text: str) -> str:
    """Return a customer's words with those of the handbook where they differ."""
    for pattern, word in _SAME:
        text = pattern.sub(word, text)
    return " ".join(text.split())


def wanted(text: str) -> tuple[str, ...]:
    """Return what a text may want, the likeliest first: answer, return, appointment, person; one where it is clear."""
    if _PERSON.search(text):
        return ("person",)
    ordered, asks = bool(_ORDER.search(text)), bool(_ASKS.search(text))
    if _RETURN.search(text) or (ordered and found(REASONS, text)):
        if ordered or (_REQUEST.search(text) and not asks):
            return ("return",)
        return ("answer",) if asks or text.endswith("?") else ("answer", "return")
    if _APPOINTMENT.search(text):
        dated = bool(_DATE.search(text) or re.search(rf"\b({'|'.join(_DAYS)}|tomorrow|today)\b", text, re.IGNORECASE))
        if not asks and (dated or _REQUEST.search(text)):
            return ("appointment",)
        return ("answer",) if asks or text.endswith("?") else ("answer", "appointment")
    return ("answer",)


def asks(text: str) -> bool:
    """Return whether a text is a question about how things are, rather than an answer to one."""
    return bool(_ASKS.search(text))


def found(choices: Mapping[str, str], text: str) -> list[str]:
    """Return the choices that a text speaks of."""
    return [name for name, cue in choices.items() if re.search(rf"\b({cue})\b", text, re.IGNORECASE)]


def orders(text: str) -> list[str]:
    """Return the order numbers in a text, as they are written in the books."""
    return list(dict.fromkeys(f"LC-{digits}" for digits in _ORDER.findall(text)))


def items(names: Iterable[str], text: str) -> list[str]:
    """Return the items of an order that a text names: by all their words, else by some."""
    said = frozenset(terms(text))
    sets = {name: frozenset(terms(name)) for name in names}
    whole = [name for name, words in sets.items() if words <= said]
    named = [name for name in whole if not any(sets[name] < sets[other] for other in whole)]
    return named or [name for name, words in sets.items() if words & said] or (list(sets) if len(sets) == 1 else [])


def days(text: str, today: datetime.date) -> list[datetime.date]:
    """Return the days that a text names, from today on."""
    low, ahead = text.lower(), []
    if "day after tomorrow" in low:
        ahead.append(today + datetime.timedelta(2))
        low = low.replace("day after tomorrow", "")
    for word, count in (("tomorrow", 1), ("today", 0)):
        if re.search(rf"\b{word}\b", low):
            ahead.append(today + datetime.timedelta(count))
    for number, name in enumerate(_DAYS):
        if re.search(rf"\b{name}\b", low):
            ahead.append(today + datetime.timedelta((number - today.weekday() - 1) % 7 + 1))
    dated = (_date(match, today) for match in _DATE.finditer(low))
    ahead += [day for day in dated if day is not None]
    return list(dict.fromkeys(ahead))


def _date(match: re.Match[str], today: datetime.date) -> datetime.date | None:
    try:
        if match["iso"]:
            return datetime.date.fromisoformat(match["iso"])
        month = _MONTHS.index(match["month"] or match["month2"]) + 1
        day = datetime.date(today.year, month, int(match["day"] or match["day2"]))
        return day if day >= today else day.replace(year=today.year + 1)
    except ValueError:
        return None


def leaves_more(text: str, known: Iterable[str]) -> bool:
    """Return whether a text says more than what is known from it already: something that a model could judge."""
    used = _KNOWN.union(*(terms(each) for each in known))
    said = {word for word in re.findall(r"[a-z']{3,}", text.lower()) if word not in STOP_WORDS}
    return len({term for word in said for term in terms(word)} - used) >= 2
