"""From bytes to text: which encoding it is in, cheaply."""

import codecs
import re

from aigrid.knowledge.parse.base import Unreadable

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_EAST_ASIAN = ("cp932", "euc_jp", "gb18030", "big5hkscs", "cp949")
_SAMPLE = 32_768
_KANA = re.compile("[\u3041-\u3096\u30a1-\u30fa\u30fc\u3001\u3002]")
_COMMON_HAN = re.compile("[\u4e00-\u9fff\uac00-\ud7a3\uff01-\uff5e\u300c-\u3011]")
_UNLIKELY = re.compile("[\uff61-\uff9f\ue000-\uf8ff\u3400-\u4dbf\U00010000-\U0010ffff\x80-\x9f]")
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_FREQUENT = frozenset(
    "的一是不了在人有我他这中大来上国个到说们为子和你地出道也时年得就那要下以生会自着去之过家学对可她里后小么心多天而能好都然没"
    "日于起还发成事只作当想看文无开手十用主行方又如前所本见经头面公同三已老从动两长知民样现分将外但身些与高意进把法此实回二"
    "理美点月明其種時間会社年東京後見行来話国語新聞今分前上下出入生学先何私彼者場合高気手目事思書読聞食飲車電本当"
)


def decode(data: bytes, declared: str = "") -> tuple[str, str]:
    """Return the text of some bytes, with Unix line ends, and the name of its encoding.

    `declared` is what the file says of itself; it is believed where it fits. Raises `Unreadable` for what is no text.
    """
    text, encoding = _decode(data, declared)
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    return text, encoding


def looks_binary(head: bytes) -> bool:
    """Say whether the first bytes of a file are no text in any encoding known here."""
    if any(head.startswith(bom) for bom, _ in _BOMS) or _wide(head):
        return False
    return len(_CONTROL.findall(head)) > len(head) // 200


def _decode(data: bytes, declared: str) -> tuple[str, str]:
    for bom, name in _BOMS:
        if data.startswith(bom):
            return data.decode(name, "replace"), name
    if wide := _wide(data[:4096]):
        return data.decode(wide, "replace"), wide
    if looks_binary(data[:65536]):
        raise Unreadable("it is not text: it is full of control characters")
    if declared and declared.lower().replace("_", "-") not in ("utf-8", "utf8", "us-ascii", "ascii"):
        try:
            return data.decode(declared), declared.lower()
        except (LookupError, ValueError):
            pass
    try:
        return data.decode("utf-8"), "utf-8"
    except UnicodeDecodeError as error:
        # One stray byte, or a character cut in two at the end, does not make a long text another encoding's.
        text = data.decode("utf-8", "replace")
        if text.count("\ufffd") * 200 < sum(byte > 127 for byte in data[:_SAMPLE]) or error.start >= len(data) - 3:
            return text, "utf-8"
    return _legacy(data)


def _legacy(data: bytes) -> tuple[str, str]:
    """Choose among encodings older than Unicode by how much like writing the text looks."""
    sample = _high_part(data)
    best, name = _western(sample), "cp1252"
    for candidate in _EAST_ASIAN:
        try:
            text = codecs.getincrementaldecoder(candidate)().decode(sample)
        except UnicodeDecodeError:
            continue
        score = _east_asian(text)
        if score > best:
            best, name = score, candidate
    try:
        return data.decode(name), name
    except UnicodeDecodeError:
        return data.decode(name if name != "cp1252" else "latin-1", "replace"), name


def _high_part(data: bytes) -> bytes:
    """Return a piece of the data where bytes above 127 are, begun at a line."""
    for at, byte in enumerate(data):
        if byte > 127:
            start = data.rfind(b"\n", max(0, at - 1000), at) + 1
            return data[start if start else at : at + _SAMPLE]
    return data[:_SAMPLE]


def _western(sample: bytes) -> float:
    """Score as Western European: letters with accents stand alone, between plain letters."""
    high = sum(byte > 127 for byte in sample)
    alone = len(re.findall(rb"(?<![\x80-\xff])[\x80-\xff](?![\x80-\xff])", sample))
    return alone / high if high else 1.0


def _east_asian(text: str) -> float:
    """Score as Chinese, Japanese or Korean: characters in daily use, few rare ones."""
    high = sum(character > "\x7f" for character in text)
    if not high:
        return 0.0
    known = len(_KANA.findall(text)) + 0.6 * len(_COMMON_HAN.findall(text))
    frequent = sum(character in _FREQUENT for character in text)
    return (known + 0.6 * frequent - 2 * len(_UNLIKELY.findall(text))) / high


def _wide(head: bytes) -> str:
    """Return the kind of UTF-16 without a byte-order mark that this is, if it is any."""
    head = head[: len(head) & ~1]
    if len(head) < 8 or b"\0" not in head:
        return ""
    even, odd = head[::2].count(0), head[1::2].count(0)
    half = len(head) // 2
    if odd > half * 0.6 and even < half * 0.05:
        return "utf-16-le"
    if even > half * 0.6 and odd < half * 0.05:
        return "utf-16-be"
    return ""
