"""What a text says once its disguises are off: odd letters, hidden characters, digits for letters, encodings.

Nothing here decides anything: each view is one more text for the classifier and the rules to look at.
"""

import base64
import binascii
import codecs
import re
import unicodedata
from collections.abc import Iterator
from urllib.parse import unquote

_LOOKALIKES = str.maketrans("авекмнорстухіјѕԁɡαβεικνορτυχѵｏɑıℓ", "abekmhopctyxijsdgabeiknoptuxvoail")
_ODD = re.compile("[\u0370-\u03ff\u0400-\u052f\u0250-\u02af]")
_WORD = re.compile(r"\w+")
_LATIN = re.compile("[a-z]")
_UNSEEN = re.compile(
    "[\u00ad\u0300-\u036f\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\u20d0-\u20ff"
    "\ufe00-\ufe0f\ufeff\U000e0000-\U000e0fff\ud800-\udfff]+"
)
_TAGS = re.compile("[\U000e0020-\U000e007e]+")
_LEET = str.maketrans("013457@$|", "oieastasl")
_LEET_INSIDE = re.compile(r"[a-z][013457@$|]+[a-z]")
_LEET_WORD = re.compile(r"[\w@$|]+")
_SPACED = re.compile(r"\b(?:\w[ .\-_*]){5,}\w(?!\w)")
_BETWEEN = re.compile(r"(?<=\b\w)[ .\-_*](?=\w\b)")
_BASE64 = re.compile(r"[A-Za-z0-9+/_\-]{24,}={0,2}")
_HEX = re.compile(r"(?<![0-9a-zA-Z])(?:[0-9a-fA-F]{2}[ :]?){16,}")
_ROTATED = (" gur ", " naq ", " lbh ", " nyy ", " bs ", " gb ", " ner ")
_REVERSED = (" eht ", " dna ", " uoy ", " lla ", " fo ", " era ", " suoiverp ")
_MOST_ENCODED = 20_000


def fold(text: str) -> str:
    """Return a text in lower case, with plain letters, one space between words and nothing invisible."""
    if not text.isascii():
        text = _UNSEEN.sub("", unicodedata.normalize("NFKD", text))
        text = unicodedata.normalize("NFKC", text).lower()
        if _ODD.search(text):
            text = _WORD.sub(_unmixed, text)
    return " ".join(text.lower().split())


def _unmixed(word: re.Match[str]) -> str:
    """Return a word of two alphabets in one."""
    found = word[0]
    return found.translate(_LOOKALIKES) if _ODD.search(found) and _LATIN.search(found) else found


def views(text: str) -> Iterator[tuple[str, str]]:
    """Yield the folded text as `plain`, then what disguised parts of it say, by the name of the disguise."""
    plain = fold(text)
    yield "plain", plain
    if not text.isascii() and (tags := "".join(_TAGS.findall(text))):
        yield "invisible", fold("".join(chr(ord(char) - 0xE0000) for char in tags))
    if len(_LEET_INSIDE.findall(plain)) > 2:
        yield "leet", _LEET_WORD.sub(_unleet, plain)
    if _SPACED.search(text):
        yield "spaced", fold(_BETWEEN.sub("", text))
    for name, pattern, decode in (("base64", _BASE64, _from_base64), ("hex", _HEX, _from_hex)):
        said = " ".join(filter(None, (decode(found[0]) for found in pattern.finditer(text[:_MOST_ENCODED]))))
        if said:
            yield name, fold(said)
    if "%" in text and (said := unquote(text)) != text:
        yield "percent", fold(said)
    if sum(word in plain for word in _ROTATED) > 1:
        yield "rot13", codecs.decode(plain, "rot13")
    if sum(word in plain for word in _REVERSED) > 1:
        yield "reversed", plain[::-1]


def _unleet(word: re.Match[str]) -> str:
    """Return a word with letters for the digits that stand for them; numbers stay."""
    return word[0].translate(_LEET) if _LATIN.search(word[0]) else word[0]


def _from_base64(run: str) -> str:
    run = run.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return _words(base64.b64decode(run[: len(run) // 4 * 4] if len(run) % 4 == 1 else run + "=" * (-len(run) % 4)))
    except (binascii.Error, ValueError):
        return ""


def _from_hex(run: str) -> str:
    digits = re.sub(r"[ :]", "", run)
    return _words(bytes.fromhex(digits[: len(digits) // 2 * 2]))


def _words(data: bytes) -> str:
    """Return bytes as text where they are one."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return ""
    return text if text.replace("\n", " ").isprintable() else ""
