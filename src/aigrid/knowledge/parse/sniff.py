"""What a file is, by what is in it; its name only decides between kinds of text."""

import re

from aigrid.knowledge.parse.base import Unreadable
from aigrid.knowledge.parse.code import LANGUAGES
from aigrid.knowledge.parse.encoding import looks_binary

_REFUSED: tuple[tuple[int, bytes, str], ...] = (
    (
        0,
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
        "an old (.doc, .xls, .ppt) or encrypted Office file; save it anew",
    ),
    (0, b"\x89PNG\r\n", "a PNG image"),
    (0, b"\xff\xd8\xff", "a JPEG image"),
    (0, b"GIF8", "a GIF image"),
    (0, b"II*\0", "a TIFF image"),
    (0, b"MM\0*", "a TIFF image"),
    (0, b"BM", "a bitmap image"),
    (0, b"\0\0\1\0", "an icon"),
    (0, b"RIFF", "a sound, video or WebP file"),
    (0, b"OggS", "a sound or video file"),
    (0, b"ID3", "a sound file"),
    (0, b"fLaC", "a sound file"),
    (0, b"\x1aE\xdf\xa3", "a video file"),
    (4, b"ftyp", "a video or HEIC file"),
    (0, b"\x7fELF", "a program (ELF)"),
    (0, b"MZ", "a program (Windows)"),
    (0, b"\xca\xfe\xba\xbe", "a program (Java or Mach-O)"),
    (0, b"\xcf\xfa\xed\xfe", "a program (Mach-O)"),
    (0, b"\0asm", "a program (WebAssembly)"),
    (0, b"BZh", "a bzip2 archive; unpack it first"),
    (0, b"\xfd7zXZ\0", "an xz archive; unpack it first"),
    (0, b"\x28\xb5\x2f\xfd", "a Zstandard archive; unpack it first"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive; unpack it first"),
    (0, b"Rar!", "a RAR archive; unpack it first"),
    (257, b"ustar", "a tar archive; unpack it first"),
    (0, b"SQLite format 3\0", "an SQLite database"),
    (0, b"PAR1", "a Parquet table"),
    (0, b"{\\rtf", "a rich-text (RTF) file; save it as .docx"),
    (0, b"%!PS", "a PostScript program; convert it to PDF"),
    (0, b"wOF", "a font"),
    (0, b"OTTO", "a font"),
)
_PRINTABLE_MAGIC = frozenset(
    {b"BM", b"MZ", b"RIFF", b"BZh", b"ID3", b"PAR1", b"wOF", b"OTTO", b"Rar!", b"OggS", b"fLaC"}
)
_HTML = re.compile(
    rb"^\s*(?:<\?xml[^>]{0,200}>\s*)?(?:<!--.{0,2000}?-->\s*)*(?:<!doctype\s+html|<html|<head|<body)",
    re.IGNORECASE | re.DOTALL,
)
_HEADER = re.compile(
    rb"^(from|to|cc|date|subject|message-id|mime-version|received|return-path|content-type|reply-to|delivered-to|"
    rb"dkim-signature|x-[\w-]{1,40}): ?\S?",
    re.IGNORECASE,
)
_LEADING_HEADER = re.compile(rb"^[A-Za-z][A-Za-z0-9-]{0,60}:")
_MBOX = re.compile(rb"^From \S{1,200} [^\r\n]{6,60}\d{4}")
_MARKDOWN_NAMES = frozenset({"md", "markdown", "mdx", "mkd", "qmd", "rmd"})
_HTML_NAMES = frozenset({"html", "htm", "xhtml", "shtml"})
_XML_NAMES = frozenset({"xml", "docbook", "dbk", "rss", "atom", "svg", "xsd", "xsl", "opml"})
HEAD = 65_536
"""How many of the first bytes of a file are looked at."""


def extension(name: str) -> str:
    """Return what follows the last dot of a file's name, in lower case; the whole name where there is no dot."""
    base = name.rpartition("/")[2].lower()
    return base.rpartition(".")[2]


def sniff(head: bytes, name: str) -> str:
    """Return a file's kind, told from its first bytes.

    One of `pdf`, `zip`, `gzip`, `html`, `xml`, `mail`, `mbox`, `csv`, `markdown`, `code`, `text`. Raises `Unreadable`
    with what it is, where it holds no text that can be had.
    """
    if not head:
        raise Unreadable("it is empty")
    if head.count(0) == len(head):
        raise Unreadable("it holds nothing but zero bytes")
    if b"%PDF-" in head[:1024]:
        return "pdf"
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return "zip"
    if head.startswith(b"\x1f\x8b"):
        return "gzip"
    for offset, magic, what in _REFUSED:
        if head.startswith(magic, offset) and (magic not in _PRINTABLE_MAGIC or looks_binary(head)):
            raise Unreadable(f"it is {what}")
    if looks_binary(head):
        raise Unreadable("it is binary data of no known kind")
    return _text_kind(head.removeprefix(b"\xef\xbb\xbf"), extension(name))


def _text_kind(head: bytes, ending: str) -> str:
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        head = head[2:].replace(b"\0", b"")
    if _HTML.match(head) or (ending in _HTML_NAMES and b"<" in head):
        return "html"
    if head.lstrip().startswith(b"<?xml") or (ending in _XML_NAMES and head.lstrip().startswith(b"<")):
        return "xml"
    if _MBOX.match(head) and _is_mail(head.partition(b"\n")[2]):
        return "mbox"
    if _is_mail(head):
        return "mail"
    if ending in _MARKDOWN_NAMES:
        return "markdown"
    if ending in ("csv", "tsv"):
        return "csv"
    if ending in LANGUAGES or head.startswith(b"#!"):
        return "code"
    if ending in ("", "readme", "txt", "text") and re.search(rb"^#{1,3} \S", head, re.M) and b"](" in head:
        return "markdown"
    return "text"


def _is_mail(head: bytes) -> bool:
    """Say whether this begins with the header lines of an e-mail: at least three that are usual there."""
    known = set()
    for line in head.splitlines()[:60]:
        if not line.strip():
            break
        if found := _HEADER.match(line):
            known.add(found[1].lower())
        elif not line.startswith((b" ", b"\t")) and not _LEADING_HEADER.match(line):
            return False
    return len(known) >= 3 and bool(known & {b"from", b"received", b"return-path", b"message-id"})
