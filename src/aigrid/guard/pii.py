"""Personal data in texts: what has a form is found by its form and its check digits, names and addresses by what is around.

Rules only, in one pass each, so that it is known why something was found. What has no form of its own (a name without a
title, a village) is found in part: `benchmarks/guard.py` says how much of each kind.
"""

import ipaddress
import re
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple


class Span(NamedTuple):
    """Personal data in a text: from `start` to before `end`, in characters, and what it is."""

    start: int
    end: int
    kind: str


KINDS = (
    "EMAIL", "URL", "IBAN", "CARD", "IP", "SSN", "LICENCE", "PHONE", "ADDRESS", "POSTCODE", "PERSON",
)  # fmt: skip
"""What is looked for, the surest first: of two that overlap the first in this order stands."""

_CAP = r"[A-ZÀ-ÖØ-ÞĀŁŚŠŻŽČĎŘŤŮĄĘÓΆ-ΩА-Я]"
_LOW = r"[a-zß-öø-ÿāąćčďěęğıłńňōőœřśšťůűźżžά-ώа-я'’\-]"
_NAME = rf"{_CAP}(?:{_LOW}{{1,30}}(?:{_CAP}{_LOW}{{1,30}})?|\.)"
_NAMES = rf"{_NAME}(?:[ ](?:(?:de|da|van|von|der|den|del|la|bin|al)[ ])*{_NAME}){{0,3}}"
_COMMON = """
the a an and or but if in on at to of for from with by as is are was were be been has have had do does did will would
can could should may might must i i'm i've i'll you he she it we they this that these those my your his her its our
their who what when where why how which please thank thanks hello hi dear sorry yes no not never always monday tuesday
wednesday thursday friday saturday sunday january february march april june july august september october november
december street road avenue lane drive court square place apt suite box city town village county state country
university school college hospital church museum hotel bank company corporation inc ltd llc gmbh group office
department ministry orchestra club team council act rights english german french spanish italian polish russian dutch
danish swedish european american british north south east west new united states kingdom europe america england phone
email e-mail mail fax website address name zip card number code credit visa mastercard ai api sql python java linux
windows google microsoft openai apple amazon facebook twitter internet web there here then so also just only more most
all some any each every one canada france germany spain italy austria poland norway sweden finland denmark estonia
iceland hungary greece cyprus brazil uruguay chechnya slovenia croatia russia japan china india australia zealand
africa asia ireland netherlands belgium portugal switzerland czechia slovakia romania bulgaria turkey israel egypt
mexico argentina personal info streets re fw two three mr mrs ms miss dr prof let's don't it's that's what's
"""
_NOT_NAMES = frozenset(_COMMON.split())

_FIRM = re.compile(
    r" (?:Inc|Corp|Ltd|LLC|GmbH|Incorporated|Orchestra|Group|Club|Bank|office|Company|Center|University|AG|SE)\b"
)
_STREET = (
    r"(?:street|st\.|road|rd\.|avenue|ave\.?|lane|drive|boulevard|blvd\.?|court|square|terrace|parkway|highway|crescent"
    r"|stra(?:ß|ss)e|gasse|weg|allee|platz|gata|gatan|gade|vej|vegen|veien|katu|tie|straat|laan|rue|via|viale|piazza|calle"
    r"|avenida|rua|ulica|ul\.|utca|út|u\.|tér|ulice|ring|puiestee|tn)"
)
_PATTERNS: dict[str, tuple[str, ...]] = {
    "EMAIL": (r"(?<![\w.+-])[\w.+%-]{1,64}@(?:[\w-]{1,63}\.){1,8}[A-Za-z]{2,24}\b",),
    "URL": (r"\bhttps?://[^\s<>\"')\]]{3,2000}", r"\bwww\.[\w-]{1,63}(?:\.[\w-]{1,63}){1,6}(?:/[^\s<>\"')\]]*)?"),
    "IBAN": (r"(?i)\b[A-Z]{2}\d{2}(?:[ ]?[A-Z0-9]{4}){2,7}(?:[ ]?[A-Z0-9]{1,3})?\b",),
    "CARD": (r"(?<![\d.-])\d(?:[ -]?\d){11,18}(?![\d-])",),
    "IP": (r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?![\d.])", r"(?i)(?<![\w:])(?:[0-9a-f]{0,4}:){2,7}[0-9a-f]{0,4}(?![\w:])"),
    "SSN": (r"(?<![\d-])\d{3}-\d{2}-\d{4}(?![\d-])",),
    "LICENCE": (r"(?i)\b(?:licen[cs]e|passport)(?: (?:number|no\.?|id))?(?: is|:)? ?#?((?=[a-z-]{0,3}[\d-]{4})[a-z0-9-]{6,20})\b",),
    "PHONE": (
        r"(?<![\w.,/-])(?:\+|00)\d{1,3}[ .\-/]?(?:\(0?\d{0,4}\)[ .\-/]?)?\d{1,5}(?:[ .\-/]?\d{2,5}){1,4}(?![\w-]{0,20}\d)",
        r"(?<![\w.,/-])\(\d{1,5}\)[ .\-/]?\d{2,4}(?:[ .\-/]?\d{2,4}){1,3}(?![\w-]{0,20}\d)",
        r"(?<![\w.,/-])0\d{1,4}(?:[ .\-/]\d{2,5}){1,4}(?![\w-]{0,20}\d)",
        r"(?<![\w.,/-])\d{2,3}[ .\-]\d{3}[ .\-]\d{3,4}(?:x\d+)?(?![\w-]{0,20}\d)",
        r"(?<![\w.,/-])\d{2}(?:[ \-]\d{2}){3}(?![\w-]{0,20}\d)",
        r"(?<![\w.,/-])\d{3}[ .\-]\d{4}(?![\w-]{0,20}\d)",
        r"(?i)(?:phone|call|tel|fax|mobile|reach me|number)[^\d\n]{0,24}(\+?\d[\d ().\-/]{5,17}\d)(?![\w-]{0,20}\d)",
    ),
    "ADDRESS": (
        rf"(?i)\b\d{{1,6}}[A-Za-z]?,?[ ](?:[\w.'’\-]{{1,30}}[ ]){{0,4}}[\w.'’\-]{{0,30}}{_STREET}(?![\w])(?:[ ]+\d{{1,6}})?",
        rf"(?i)\b(?:[\w.'’\-]{{1,30}}[ ]){{0,2}}[\w.'’\-]{{0,30}}{_STREET}[ ]+\d{{1,6}}[A-Za-z]?\b\.?",
        rf"\b\d{{1,6}}[ ]{_CAP}[\w.'’\-]{{1,30}}(?:[ ]{_CAP}[\w.'’\-]{{1,30}}){{0,3}}[ ]\d{{1,5}}\b",
        rf"\b{_CAP}[\w.'’\-]{{1,30}}(?:[ ](?:do|da|de|van|den|and)?[ ]?{_CAP}[\w.'’\-]{{1,30}}){{0,2}}[ ]\d{{1,5}}(?=\s*(?:\n|$|,))",
        r"(?i)\b(?:apt\.?|suite|flat|unit)[ ]#?\d{1,5}\b",
        r"(?i)\b(?:p\.?o\.? box|psc)[ ]\d{1,6}(?:,?[ ]box[ ]\d{1,6})?",
    ),
    "POSTCODE": (
        r"(?i)\b(?:zip|post(?:al)?)(?:[ ]?code)?(?:[ ]is|:)?[ ]?(\d{3,5}(?:[ -]\d{2,4})?|[a-z]{1,2}\d[a-z\d]?[ ]?\d[a-z]{2})\b",
        r"\b([A-Z]{1,2}\d[A-Z\d]?[ ]\d[A-Z]{2})\b",
        rf"(?<=[\w,]\n)[ ]*{_CAP}[\w ]{{1,30}}[ ](\d{{4,5}})\b",
    ),
    "PERSON": (
        rf"\b(?:Mr|Mrs|Ms|Miss|Dr|Prof|Sir|Madam|Herr|Frau|Mme)\.?[ ]({_NAMES})",
        rf"(?:[Mm]y name is|[Nn]ame's|[Ii] am|I'm|[Tt]his is|[Cc]all me|named|[Dd]ear|[Nn]ame:|[Aa]ttn:?|[Ss]igned,?|[Ss]peak(?:ing)? (?:to|with)|ask for|follow up with|[Rr]egards,?)\s+({_NAMES})",
        rf"(?<![\w.]){_NAME}(?:[ ](?:(?:de|da|van|von|der|den|del|la|bin|al)[ ])*{_NAME}){{1,3}}",
        rf"\b(?:[Bb]y|[Ww]ith|[Mm]et|[Ll]eave me|[Tt]ell|[Aa]sk|[Ww]hy is|[Ss]aid|[Nn]amed (?:him|her)|[Rr]emember me,|[Mm]aiden name is)[ ]({_NAME})(?=[ ]?[,.;:!?'’\n)]|$| and | or | is | was | has | so | in | to )",
        rf"(?m)^({_NAMES}):[ ]",
        rf"(?<![\w.]){_NAMES}(?=[ ](?:lives|is from|spent|said|wrote|called|was born|and I)\b)",
        r"(?i)\b(?:my name is|name's|name is|i am called|follow up with)[ ]([a-z]{2,20}(?:[ ][a-z]\.?)?[ ][a-z]{2,20})(?=[.,;:!?\n]|$| in | and )",
    ),
}  # fmt: skip
_COMPILED = {kind: tuple(re.compile(pattern) for pattern in patterns) for kind, patterns in _PATTERNS.items()}


def find(text: str, kinds: Iterable[str] = KINDS) -> list[Span]:
    """Return the personal data in a text, in order, none overlapping another."""
    wanted = [kind for kind in KINDS if kind in frozenset(kinds)]
    spans: list[Span] = []
    taken = bytearray(len(text))
    for kind in wanted:
        good = _CHECKS.get(kind)
        for start, end in _matches(kind, text):
            if good is not None and not good(text[start:end]):
                continue
            if taken.find(1, start, end) < 0:
                taken[start:end] = b"\1" * (end - start)
                spans.append(Span(start, end, kind))
    return sorted(spans)


def _matches(kind: str, text: str) -> Iterator[tuple[int, int]]:
    for pattern in _COMPILED[kind]:
        group = 1 if pattern.groups else 0
        for found in pattern.finditer(text):
            start, end = found.span(group)
            if kind == "PERSON":
                yield from _trimmed(text, start, end)
            else:
                yield start, end


def _trimmed(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield the part of some capitalised words that can be a name: without those at its ends that no name has."""
    words = [(found.start() + start, found.end() + start) for found in re.finditer(r"\S+", text[start:end])]
    while words and text[slice(*words[0])].lower().rstrip(".") in _NOT_NAMES:
        words.pop(0)
    while words and text[slice(*words[-1])].lower().rstrip(".") in _NOT_NAMES:
        words.pop()
    if not words or _FIRM.match(text, words[-1][1]):
        return
    if not any(text[slice(*word)].lower() in _NOT_NAMES for word in words):
        yield words[0][0], words[-1][1]


def luhn(digits: str) -> bool:
    """Say whether the check digit of a card number is right (ISO/IEC 7812-1)."""
    total = 0
    for at, digit in enumerate(reversed([int(char) for char in digits if char.isdecimal()])):
        total += digit if at % 2 == 0 else digit * 2 - 9 * (digit > 4)
    return total % 10 == 0


def iban(text: str) -> bool:
    """Say whether the check digits of an IBAN are right (ISO 13616, MOD 97-10)."""
    plain = re.sub(r"\s", "", text).upper()
    if not 15 <= len(plain) <= 34 or not plain.isascii():
        return False
    return int("".join(str(int(char, 36)) for char in plain[4:] + plain[:4])) % 97 == 1


def _address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return text not in ("::", "0.0.0.0")


_CHECKS: dict[str, Callable[[str], bool]] = {
    "IBAN": iban,
    "CARD": lambda text: luhn(text) and len(set(re.sub(r"\D", "", text))) > 1,
    "IP": _address,
    "SSN": lambda text: not text.startswith(("000", "666")) and "-00-" not in text and not text.endswith("0000"),
    "PHONE": lambda text: 6 <= sum(char.isdigit() for char in text) <= 15,
}
