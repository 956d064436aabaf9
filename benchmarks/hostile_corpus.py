"""Broken and malicious files, and good ones among them, made anew in a folder.

Each bad file comes with what a report should say of it: one of the words is in the reason. Files that are only awkward
(`AWKWARD`) may be read or refused, but must neither hang nor leak.
"""

import base64
import gzip
import os
import random
import socket
import sqlite3
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from benchmarks.good_files import GOOD
from benchmarks.make_files import (
    archive,
    document,
    lying_zip,
    overlapping_zip,
    paragraph,
    pdf,
    pdf_of,
    png,
    sparse,
    stream,
    zeros,
)

SECRET = "canary-7f3a91c2-outside-the-folder"
"""Stands in a file outside the folder, which hostile files try to pull in."""


class Outside(NamedTuple):
    """What hostile files reach for: a file with the secret, and the address of a server that waits for a call."""

    secret: Path
    url: str


Make = Callable[[Path, Outside], None]
"""Makes a file at a path."""

_LAUGHS = (
    '<!DOCTYPE x [<!ENTITY a "lolololololololol">'
    + "".join(f'<!ENTITY {chr(98 + n)} "{f"&{chr(97 + n)};" * 20}">' for n in range(9))
    + "]>"
)
_TYPES = '<?xml version="1.0"?>'
_RELS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_SHEET = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'


def data(content: bytes | str) -> Make:
    def make(path: Path, outside: Outside) -> None:
        path.write_bytes(content.encode() if isinstance(content, str) else content)

    return make


def _reaching(template: str, wrap: Callable[[str], bytes] = str.encode) -> Make:
    """Return a maker that puts what is outside where the template says `@SECRET@` and `@URL@`."""

    def make(path: Path, outside: Outside) -> None:
        path.write_bytes(wrap(template.replace("@SECRET@", str(outside.secret)).replace("@URL@", outside.url)))

    return make


def _entity(body: str) -> str:
    return f'<!DOCTYPE x [<!ENTITY e SYSTEM "file://@SECRET@">]>{body}'


def _word(template: str) -> bytes:
    return archive(document(paragraph("Read me: &e;"), template))


def _workbook(shared: str) -> bytes:
    return archive(
        {
            "[Content_Types].xml": "<Types/>",
            "xl/workbook.xml": f'<workbook {_SHEET} xmlns:r="{_RELS}"><sheets>'
            '<sheet name="One" sheetId="1" r:id="rId1"/></sheets></workbook>',
            "xl/_rels/workbook.xml.rels": '<Relationships><Relationship Id="rId1" Type="x/worksheet" '
            'Target="worksheets/sheet1.xml"/></Relationships>',
            "xl/sharedStrings.xml": shared,
            "xl/worksheets/sheet1.xml": f'<worksheet {_SHEET}><sheetData><row r="1"><c r="A1" t="s"><v>0</v></c></row>'
            "</sheetData></worksheet>",
        }
    )


def _tar(path: Path, outside: Outside) -> None:
    with tarfile.open(path, "w") as out:
        out.add(outside.secret, "../../secret.txt")


def _sqlite(path: Path, outside: Outside) -> None:
    with sqlite3.connect(path) as database:
        database.execute("create table t (x)")


def _socket(path: Path, outside: Outside) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # the name of a socket may have 107 bytes
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path.name)
    finally:
        os.chdir(here)


def _many_entries() -> bytes:
    return archive({f"word/{n}.xml": b"" for n in range(30_000)}, 1)


def _truncated(content: bytes) -> bytes:
    return content[: len(content) * 6 // 10]


_PAGE = b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R >>"
_CATALOGUE = b"<< /Type /Catalog /Pages 2 0 R >>"


def _pdf_page(content: bytes, kids: bytes = b"[3 0 R]", count: int = 1) -> bytes:
    return pdf_of([_CATALOGUE, b"<< /Type /Pages /Kids %s /Count %d >>" % (kids, count), _PAGE, content])


def _flate_bomb() -> bytes:
    once = zlib.compress(zeros(400), 9)
    return stream(zlib.compress(once, 9), b"/Filter [/FlateDecode /FlateDecode]")


def _password_pdf() -> bytes:
    key = "<" + "5a" * 32 + ">"
    encrypt = f"/Encrypt << /Filter /Standard /V 1 /R 2 /O {key} /U {key} /P -4 >> /ID [<aa><aa>]"
    return pdf_of(
        [_CATALOGUE, b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>", _PAGE, stream(b"BT (secret) Tj ET")],
        encrypt.encode(),
    )


def _noise(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


BAD: dict[str, tuple[Make, tuple[str, ...]]] = {
    "empty.txt": (data(b""), ("empty",)),
    "blank.md": (data(b" \n\t\n " * 500), ("no text",)),
    "only-controls.txt": (data(b"\x01\x02\x03\x04" * 300), ("binary", "control")),
    "zeros-1gb.bin": (lambda path, _: sparse(path, 1 << 30), ("zero bytes",)),
    "zeros-1gb.txt": (lambda path, _: sparse(path, 1 << 30), ("zero bytes",)),
    "zeros-1gb.pdf": (lambda path, _: sparse(path, 1 << 30), ("zero bytes",)),
    "head-then-zeros.txt": (lambda path, _: sparse(path, 1 << 30, b"Dear reader,\n" * 8000), ("large",)),
    "huge-sparse.pdf": (lambda path, _: sparse(path, 1 << 40, b"%PDF-1.7\n"), ("large",)),
    "truncated.pdf": (data(_truncated(pdf([[(72, 700, 12, "Cut")]]))), ("PDF",)),
    "header-only.pdf": (data(b"%PDF-1.7\n"), ("PDF",)),
    "noise.pdf": (data(b"%PDF-1.5\n" + _noise(1, 50_000)), ("PDF",)),
    "page-tree-loop.pdf": (data(_pdf_page(stream(b""), b"[2 0 R 2 0 R]", 2)), ("PDF", "pictures")),
    "two-billion-pages.pdf": (data(_pdf_page(stream(b""), b"[]", 2_000_000_000)), ("PDF", "pictures")),
    "deep-arrays.pdf": (data(_pdf_page(b"[" * 300_000)), ("PDF", "pictures")),
    "flate-bomb.pdf": (data(_pdf_page(_flate_bomb())), ("pictures", "memory", "long", "PDF")),
    "password.pdf": (data(_password_pdf()), ("password", "protection")),
    "scan.pdf": (data(_pdf_page(stream(b"0 0 100 100 re f"))), ("pictures",)),
    "truncated.docx": (data(_truncated(archive(document(paragraph("Cut"))))), ("zip",)),
    "zip-bomb.docx": (data(archive({**document(""), "word/media/x.bin": zeros(100)})), ("bomb",)),
    "zip-bomb-total.xlsx": (data(archive({f"xl/{n}.bin": zeros(60) for n in range(10)})), ("bomb",)),
    "lying-size.docx": (
        data(lying_zip({k: v.encode() for k, v in document(paragraph("x" * 9_000)).items()}, "word/document.xml", 400)),
        ("bomb", "broken"),
    ),
    "overlapping.xlsx": (data(overlapping_zip(2_000, zeros(2))), ("bomb",)),
    "many-entries.docx": (data(_many_entries()), ("bomb",)),
    "laughs.docx": (data(archive(document(paragraph("&j;"), _LAUGHS))), ("entities",)),
    "laughs.xlsx": (data(_workbook(f"{_TYPES}{_LAUGHS}<sst {_SHEET}><si><t>&j;</t></si></sst>")), ("entities",)),
    "xxe.docx": (_reaching(_entity(""), _word), ("entities",)),
    "xxe.xlsx": (
        _reaching(_entity(f"<sst {_SHEET}><si><t>&e;</t></si></sst>"), _workbook),
        ("entities",),
    ),
    "xxe.pptx": (
        _reaching(
            _entity("<p>&e;</p>"),
            lambda text: archive({"[Content_Types].xml": "<Types/>", "ppt/presentation.xml": text}),
        ),
        ("entities",),
    ),
    "no-body.docx": (data(archive({"word/document.xml": "<x/>"})), ("body",)),
    "not-xml.docx": (data(archive({"word/document.xml": _noise(2, 4_000)})), ("XML",)),
    "no-sheets.xlsx": (data(archive({"xl/workbook.xml": f"<workbook {_SHEET}/>"})), ("no text",)),
    "missing-slides.pptx": (
        data(archive({"ppt/presentation.xml": f'<p xmlns:r="{_RELS}"><sldId r:id="rId9"/></p>'})),
        ("no text",),
    ),
    "paths.docx": (data(archive({"../../../../etc/cron.d/x": "* * * * * root sh", "/etc/passwd": "x"})), ("zip",)),
    "nested.zip": (data(archive({"a.zip": archive({"b.zip": archive({"c": zeros(3)})})})), ("zip",)),
    "old.doc": (data(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + _noise(3, 4_000)), ("Office",)),
    "laughs.xml": (data(f"{_TYPES}{_LAUGHS}<x>&j;</x>"), ("entities", "XML")),
    "quadratic.xml": (
        data(f'{_TYPES}<!DOCTYPE x [<!ENTITY a "{"y" * 60_000}">]><x>{"&a;" * 60_000}</x>'),
        ("entities", "XML"),
    ),
    "xxe.xml": (_reaching(_TYPES + _entity("<x>&e;</x>")), ("entities", "XML")),
    "external-dtd.xml": (
        _reaching(_TYPES + '<!DOCTYPE x SYSTEM "@URL@x.dtd" [<!ENTITY e SYSTEM "@URL@e">]><x>&e;</x>'),
        ("entities", "XML"),
    ),
    "parameter-entity.xml": (
        _reaching(_TYPES + '<!DOCTYPE x [<!ENTITY % p SYSTEM "file://@SECRET@"> %p;]><x>read</x>'),
        ("entities", "XML"),
    ),
    "deep.xml": (data(_TYPES + "<a>" * 500_000), ("XML", "deep")),
    "unclosed.xml": (data(_TYPES + "<report><title>Never closed"), ("XML",)),
    "picture.txt": (data(png()), ("PNG",)),
    "picture.pdf": (data(b"\xff\xd8\xff\xe0" + _noise(4, 3_000)), ("JPEG",)),
    "program.md": (data(b"\x7fELF\x02\x01\x01" + _noise(5, 3_000)), ("program",)),
    "video.csv": (data(b"\0\0\0\x18ftypmp42" + _noise(6, 3_000)), ("video",)),
    "database.csv": (_sqlite, ("SQLite",)),
    "noise.html": (data(_noise(7, 20_000)), ("binary",)),
    "noise.txt": (data(_noise(8, 20_000)), ("binary",)),
    "bomb.txt.gz": (data(gzip.compress(zeros(300))), ("bomb",)),
    "truncated.txt.gz": (data(_truncated(gzip.compress(_noise(9, 9_000)))), ("gzip",)),
    "archive.tar": (_tar, ("tar",)),
    "letter.rtf": (data(b"{\\rtf1 {\\object\\objdata 0105}}"), ("RTF",)),
    "long-headers.eml": (
        data(b"From: a@b.example\r\nTo: c@d.example\r\nSubject: x\r\n" + b"X-A: y\r\n" * 90_000 + b"\r\nbody"),
        ("headers",),
    ),
    "pipe.txt": (lambda path, _: os.mkfifo(path), ("pipe",)),
    "socket.txt": (_socket, ("socket",)),
    "device.txt": (lambda path, _: path.symlink_to("/dev/zero"), ("device",)),
    "loop-a.md": (lambda path, _: path.symlink_to("loop-b.md"), ("circle",)),
    "loop-b.md": (lambda path, _: path.symlink_to("loop-a.md"), ("circle",)),
    "dangling.md": (lambda path, _: path.symlink_to("nowhere.md"), ("not there",)),
    "link-outside.txt": (lambda path, outside: path.symlink_to(outside.secret), ("out of the folder",)),
}


def _nested_mail(depth: int) -> str:
    headers = "From: a@b.example\nTo: c@d.example\nSubject: deep {n}\nMIME-Version: 1.0\nMessage-ID: <{n}@x>\n"
    text = "the innermost"
    for n in range(depth):
        text = (
            headers.format(n=n)
            + f'Content-Type: multipart/mixed; boundary="b{n}"\n\n--b{n}\n'
            + (f"Content-Type: {'message/rfc822' if n else 'text/plain'}\n\n{text}\n--b{n}--\n")
        )
    return text


AWKWARD: dict[str, Make] = {
    "deep.html": data("<!doctype html><body>" + "<div>" * 100_000 + "down here" + "</div>" * 100_000),
    "reach-out.html": _reaching(
        "<!doctype html><html><body><p>Look:</p><iframe src='file://@SECRET@'></iframe><object data='file://@SECRET@'>"
        "</object><img src='@URL@'><script>fetch('file://@SECRET@')</script></body></html>"
    ),
    "attributes.html": data("<html><p " + " ".join(f"a{n}=x" for n in range(200_000)) + ">many</p>"),
    "tables.html": data("<html><body>" + "<table><tr><td>" * 5_000 + "cell"),
    "brackets.md": data("[" * 300_000 + "](" * 100_000),
    "stars.md": data("**a" * 200_000 + "\n" + "_" * 200_000),
    "comments.md": data("<!--" * 100_000),
    "pipes.md": data("|" * 100_000 + "\n" + "|-" * 50_000 + "\n"),
    "one-line.txt": data("word " * 1_500_000),
    "no-spaces.txt": data("x" * 5_000_000),
    "spaces.txt": data("a" + " " * 3_000_000 + "b"),
    "rules.txt": data("=" * 3_000_000 + "\n" + "-\n" * 200_000),
    "invisible.txt": data("Pay the\u202e invoice\u200b now \U000e0041\U000e0042\x1b[31mred\x07 " * 50),
    "quotes.csv": data('"' + 'a,"",' * 300_000),
    "columns.csv": data("," * 3_000_000),
    "formula.csv": data("name,note\nx,=cmd|' /C calc'!A0\n" * 50),
    "nested.json": data("[" * 500_000),
    "parentheses.py": data("x = " + "(" * 200_000),
    "decorators.py": data("@d\n" * 200_000 + "def f(): pass\n"),
    "nested.eml": data(_nested_mail(60)),
    "bomb-inside.eml": data(
        "From: a@b.example\nTo: c@d.example\nSubject: see attached\nMIME-Version: 1.0\n"
        'Content-Type: multipart/mixed; boundary="q"\n\n--q\nContent-Type: text/plain\n\nHello\n--q\n'
        'Content-Type: application/gzip; name="x.gz"\nContent-Disposition: attachment; filename="x.gz"\n'
        "Content-Transfer-Encoding: base64\n\n" + base64.encodebytes(gzip.compress(zeros(200))).decode() + "\n--q--\n"
    ),
    "bad-encoding.eml": data(
        b"From: =?x-unknown?B?////?=\nTo: \xff\xfe\nSubject: =?utf-8?Q?=ff=fe?=\nDate: never\nMessage-ID: <>\n"
        b'Content-Type: text/plain; charset="no-such"\n\nhello \xff\n'
    ),
    "half-utf16.txt": data("A letter in sixteen bits.\n".encode("utf-16-le") * 200 + b"\xd8"),
    "wrong.pdf": data("This is plain text under another name. " * 10),
    "wrong.docx": data("<!doctype html><html><body><p>A web page under another name.</p></body></html>"),
    "new\nline.txt": data("A file whose name has two lines."),
    "‮gpj.txt": data("A file whose name reads backwards."),
    os.fsdecode(b"\xff\xfe-bytes.txt"): data("A file whose name is no text."),
}


def make(folder: Path, outside: Outside) -> list[str]:
    """Fill a folder with all of them; return the names of those that this machine or user cannot have."""
    outside.secret.write_text(f"{SECRET}\n")
    left_out = []
    makers: dict[str, Make] = {name: maker for name, (maker, _) in BAD.items()} | AWKWARD
    for name, (wrap, fact, _, _) in GOOD.items():
        makers[name] = data(wrap(fact))
    for name, maker in makers.items():
        try:
            maker(folder / name, outside)
        except OSError:
            left_out.append(name)
    return left_out
