"""Parsers: from the bytes of a file to blocks of text with their places."""

from aigrid.knowledge.base import Parsed
from aigrid.knowledge.parse.base import Unreadable
from aigrid.knowledge.parse.code import LANGUAGES
from aigrid.knowledge.parse.sniff import HEAD, extension, sniff

__all__ = ["HEAD", "Unreadable", "parse", "sniff"]

_EXPECTED = {
    "pdf": "pdf", "docx": "zip", "pptx": "zip", "xlsx": "zip", "html": "html", "htm": "html", "eml": "mail",
    "png": "", "jpg": "", "jpeg": "", "gif": "", "zip": "zip", "gz": "", "exe": "", "doc": "", "xls": "", "ppt": "",
}  # fmt: skip


def parse(data: bytes, name: str, depth: int = 0) -> Parsed:
    """Return what the bytes of a file say; `name` is its file name, which only decides between kinds of text.

    Raises `Unreadable` with the reason where that cannot be had. Runs on hostile input: call it in the sandbox.
    """
    kind = sniff(data[:HEAD], name)
    if kind == "gzip":
        return _unpacked(data, name, depth)
    parsed = _parse(kind, data, name, depth)
    if not any(block.text for block in parsed.blocks):
        raise Unreadable("it holds no text")
    ending = extension(name)
    if ending in _EXPECTED and _EXPECTED[ending] != kind:
        parsed.notes.append(f"its name ends in .{ending}, but it was read as what it is: {parsed.kind}")
    return parsed


def _unpacked(data: bytes, name: str, depth: int) -> Parsed:
    from aigrid.knowledge.parse.archive import gunzip

    if depth:
        raise Unreadable("it is an archive within a file")
    return parse(gunzip(data), name[:-3] if name.lower().endswith(".gz") else name, depth + 1)


def _parse(kind: str, data: bytes, name: str, depth: int) -> Parsed:
    if kind == "pdf":
        from aigrid.knowledge.parse.pdf import parse_pdf

        return parse_pdf(data)
    if kind == "zip":
        from aigrid.knowledge.parse.office import parse_office

        return parse_office(data)
    if kind in ("mail", "mbox"):
        from aigrid.knowledge.parse.mail import parse_mail, parse_mbox

        return parse_mail(data, depth) if kind == "mail" else parse_mbox(data, depth)
    if kind == "xml":
        from aigrid.knowledge.parse.xml import parse_xml

        return parse_xml(data)
    from aigrid.knowledge.parse.encoding import decode

    if kind == "html":
        from aigrid.knowledge.parse.html import charset, parse_html

        return parse_html(decode(data, charset(data))[0])
    text, _ = decode(data)
    if kind == "markdown":
        from aigrid.knowledge.parse.markdown import parse_markdown

        return parse_markdown(text)
    if kind == "csv":
        from aigrid.knowledge.parse.sheet import parse_csv

        return parse_csv(text)
    if kind == "code":
        from aigrid.knowledge.parse.code import parse_code

        return parse_code(text, LANGUAGES.get(extension(name), "shell" if text.startswith("#!/bin") else ""))
    from aigrid.knowledge.parse.text import parse_text

    return parse_text(text)
