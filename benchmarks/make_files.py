"""Makers of small files for tests and benchmarks: PDFs, Office files, archives; good ones and treacherous ones."""

import io
import struct
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

Placed = tuple[float, float, float, str]
"""Text on a page: x, y, font size, text."""

W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'


def pdf_of(objects: Sequence[bytes], trailer: bytes = b"") -> bytes:
    """Return a PDF of numbered objects, the first of which is the catalogue."""
    out = bytearray(b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n")
    places = []
    for number, content in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % place for place in places)
    out += b"trailer\n<< /Size %d /Root 1 0 R %s >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, trailer, start)
    return bytes(out)


def stream(content: bytes, extra: bytes = b"") -> bytes:
    return b"<< /Length %d %s >>\nstream\n%s\nendstream" % (len(content), extra, content)


def pdf(pages: Sequence[Sequence[Placed]], outline: Sequence[tuple[str, int]] = ()) -> bytes:
    """Return a PDF with text at places, and an outline of (title, page from 0)."""
    first = 5
    kids = b" ".join(b"%d 0 R" % (first + 2 * n) for n in range(len(pages)))
    marks = first + 2 * len(pages)
    tree = b"/Outlines 4 0 R" if outline else b""
    ends = b"/First %d 0 R /Last %d 0 R" % (marks, marks + len(outline) - 1) if outline else b""
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R %s >>" % tree,
        b"<< /Type /Pages /Kids [%s] /Count %d >>" % (kids, len(pages)),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
        b"<< /Type /Outlines /Count %d %s >>" % (len(outline), ends),
    ]
    for number, page in enumerate(pages):
        text = b"\n".join(
            b"BT /F1 %g Tf %g %g Td (%s) Tj ET" % (size, x, y, _escaped(words)) for x, y, size, words in page
        )
        content = first + 2 * number + 1
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents %d 0 R "
            b"/Resources << /Font << /F1 3 0 R >> >> >>" % content
        )
        objects.append(stream(zlib.compress(text), b"/Filter /FlateDecode"))
    for number, (title, page_number) in enumerate(outline):
        following = b"/Next %d 0 R" % (marks + number + 1) if number + 1 < len(outline) else b""
        objects.append(
            b"<< /Title (%s) /Parent 4 0 R /Dest [%d 0 R /Fit] %s >>"
            % (_escaped(title), first + 2 * page_number, following)
        )
    return pdf_of(objects)


def _escaped(text: str) -> bytes:
    return text.encode("cp1252").replace(b"\\", b"\\\\").replace(b"(", b"\\(").replace(b")", b"\\)")


def archive(parts: Mapping[str, bytes | str], level: int = 9) -> bytes:
    """Return a zip of parts."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=level) as out:
        for name, data in parts.items():
            out.writestr(name, data)
    return buffer.getvalue()


def document(body: str, before: str = "") -> dict[str, str]:
    """Return the parts of a Word document with this XML in its body, and this before its root."""
    return {
        "[Content_Types].xml": "<Types/>",
        "word/document.xml": f'<?xml version="1.0"?>{before}<w:document {W}><w:body>{body}</w:body></w:document>',
    }


def paragraph(text: str) -> str:
    return f"<w:p><w:r><w:t>{text}</w:t></w:r></w:p>"


def lying_zip(parts: Mapping[str, bytes], name: str, claimed: int) -> bytes:
    """Return a zip that claims a part to be of another size than it is."""
    data = bytearray(archive(parts))
    encoded = name.encode()
    for magic, size_at, name_at in ((b"PK\x03\x04", 22, 30), (b"PK\x01\x02", 24, 46)):
        at = data.find(magic)
        while at >= 0:
            if data[at + name_at : at + name_at + len(encoded)] == encoded:
                struct.pack_into("<I", data, at + size_at, claimed)
            at = data.find(magic, at + 4)
    return bytes(data)


def overlapping_zip(copies: int, kernel: bytes) -> bytes:
    """Return a zip whose entries all point at the same compressed data (as the bombs without recursion do)."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = compressor.compress(kernel) + compressor.flush()
    fields = (zlib.crc32(kernel), len(packed), len(kernel))
    name = b"xl/workbook.xml"
    local = struct.pack("<4s5H3I2H", b"PK\x03\x04", 20, 0, 8, 0, 0, *fields, len(name), 0) + name + packed
    central = b""
    for number in range(copies):
        entry = name if number == 0 else b"xl/worksheets/sheet%d.xml" % number
        central += struct.pack("<4s6H3I5H2I", b"PK\x01\x02", 20, 20, 0, 8, 0, 0, *fields, len(entry), 0, 0, 0, 0, 0, 0)
        central += entry
    end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, copies, copies, len(central), len(local), 0)
    return local + central + end


def sparse(path: Path, size: int, head: bytes = b"") -> None:
    """Make a file of `size` bytes, zeros after `head`, that takes no room on the disk."""
    with open(path, "wb") as file:
        file.write(head)
        file.truncate(size)


def zeros(megabytes: int) -> bytes:
    return bytes(megabytes << 20)


def png() -> bytes:
    def part(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    pixels = zlib.compress(b"\0\0")
    return (
        b"\x89PNG\r\n\x1a\n"
        + part(b"IHDR", b"\0\0\0\1\0\0\0\1\x08\0\0\0\0")
        + part(b"IDAT", pixels)
        + part(b"IEND", b"")
    )
