"""PDF: text in reading order, with pages, headings, tables found by alignment, and words mended at line ends."""

import ctypes
import re
from collections import Counter, defaultdict
from typing import Any

from aigrid.knowledge.base import Parsed
from aigrid.knowledge.parse.base import Unreadable, one_line
from aigrid.knowledge.parse.pdf_layout import Line, Outline, assemble, key

MAX_PAGES = 5_000
_MAX_OUTLINE = 5_000
_EDGE = 0.1
_REPEATS = 3
_GAP = 1.4
_NUMBER = re.compile(r"^(?:page\s*)?[-–—\s]*(?:\d{1,4}|[ivxlc]{1,7})(?:\s*(?:/|of)\s*\d{1,4})?[-–—\s]*$", re.IGNORECASE)
_PIECE = re.compile("[^\n\ufffe\x02]+[\ufffe\x02]?")  # a hyphen at the end of a line stands for the line's end, too
_DIGITS = re.compile(r"\d+")
_ERRORS = {
    1: "it is a broken PDF",
    2: "it is a broken PDF",
    3: "it is a broken PDF",
    4: "it asks for a password",
    5: "it is a PDF under a protection that is not known here",
    6: "it is a PDF whose pages are broken",
}


def parse_pdf(data: bytes) -> Parsed:
    """Return the text of a PDF. Scripts, forms, attachments and links in it are never followed."""
    import pypdfium2
    from pypdfium2 import raw

    try:
        document = pypdfium2.PdfDocument(data)
        count = len(document)
    except pypdfium2.PdfiumError as error:
        code = getattr(error, "err_code", None)
        raise Unreadable(_ERRORS.get(code if isinstance(code, int) else 1, "it is a broken PDF")) from None
    if not count:
        raise Unreadable("it is a broken PDF: it has no pages")
    notes: list[str] = []
    if count > MAX_PAGES:
        notes.append(f"only the first {MAX_PAGES:,} of {count:,} pages were read")
    pages: list[list[Line]] = []
    broken: list[int] = []
    heights: list[float] = []
    for number in range(min(count, MAX_PAGES)):
        try:
            page = document[number]
            heights.append(page.get_height())
            text = page.get_textpage()
            pages.append(_lines(text, raw))
            text.close()
            page.close()
        except pypdfium2.PdfiumError:
            pages.append([])
            heights.append(0.0)
            broken.append(number + 1)
    if broken:
        notes.append(f"pages that could not be read: {', '.join(map(str, broken[:20]))}")
    if not any(pages):
        if broken:
            raise Unreadable("it is a broken PDF: none of its pages can be read")
        raise Unreadable("its pages hold no text, only pictures; run text recognition (OCR) on it first")
    _drop_running(pages, heights)
    blocks = assemble(pages, _outline(document))
    title = one_line(document.get_metadata_value("Title") or "")
    if not title or re.fullmatch(r"(?i)untitled.*|.*\.(?:docx?|tex|dvi|indd|pdf|html?)", title):
        title = next((b.text for b in blocks.found if b.kind == "heading"), "")
    empty = sum(not lines for lines in pages) - len(broken)
    if empty > len(pages) // 2 and empty > 1:
        notes.append(f"{empty} of {len(pages)} pages hold no text, only pictures")
    return Parsed(blocks.found, title, "pdf", notes + blocks.notes())


def _lines(page: Any, raw: Any) -> list[Line]:
    """Return the lines of a page in the order of its content, each with its place and its cells."""
    text = page.get_text_range()
    if not text.strip():
        return []
    handle = page.raw
    exact = len(text) == page.count_chars()
    left, right, bottom, top = (ctypes.c_double() for _ in range(4))
    refs = [ctypes.byref(value) for value in (left, right, bottom, top)]
    loose = raw.FS_RECTF()
    loose_ref = ctypes.byref(loose)
    found: list[Line] = []
    for match in _PIECE.finditer(text):
        start, piece = match.start(), match[0].replace("\ufffe", "-").replace("\x02", "-")
        words = piece.strip()
        if not words:
            continue
        first = start + len(piece) - len(piece.lstrip())
        last = first + len(words) - 1
        if not exact or not raw.FPDFText_GetLooseCharBox(handle, first, loose_ref):
            found.append(Line(words, 0.0, 0.0, 0.0, 0.0))
            continue
        x0, y, size = loose.left, loose.bottom, abs(loose.top - loose.bottom)
        cells: list[tuple[float, str]] = []
        begin, begin_x, offset = 0, x0, words.find(" ")
        while offset >= 0:
            raw.FPDFText_GetCharBox(handle, first + offset - 1, *refs)
            end = right.value
            raw.FPDFText_GetCharBox(handle, first + offset + 1, *refs)
            if left.value - end > _GAP * size:
                cells.append((begin_x, words[begin:offset].strip()))
                begin, begin_x = offset + 1, left.value
            offset = words.find(" ", offset + 1)
        cells.append((begin_x, words[begin:].strip()))
        raw.FPDFText_GetLooseCharBox(handle, last, loose_ref)
        weight = raw.FPDFText_GetFontWeight(handle, first)
        line = Line(words, x0, loose.right, y, size, weight >= 600, cells)
        if found and found[-1].beside(line):
            found[-1] = found[-1].joined(line)
        else:
            found.append(line)
    return found


def _drop_running(pages: list[list[Line]], heights: list[float]) -> None:
    """Take away the headers, footers and page numbers at the edges of the pages.

    Those repeat from page to page, or hold the number of the page: a number that is always as far from its count.
    """
    edges: dict[int, list[Line]] = defaultdict(list)
    repeated: Counter[tuple[str, int]] = Counter()
    counted: Counter[tuple[bool, int]] = Counter()
    for number, lines in enumerate(pages):
        height = heights[number]
        for line in lines:
            if line.size and (line.y > height * (1 - _EDGE) or line.y + line.size < height * _EDGE):
                edges[number].append(line)
                repeated.update(_marks(line))
                counted.update(_counts(line, number, height))
    for number, candidates in edges.items():
        dropped = {
            id(line)
            for line in candidates
            if any(repeated[mark] >= _REPEATS for mark in _marks(line))
            or any(counted[count] >= _REPEATS for count in _counts(line, number, heights[number]))
            or (len(pages) > 1 and _NUMBER.match(line.text))
        }
        pages[number] = [line for line in pages[number] if id(line) not in dropped]


def _marks(line: Line) -> set[tuple[str, int]]:
    """Return what of a line may come again on other pages, with its height on the page."""
    texts = [line.text] if len(line.cells) < 2 else [line.cells[0][1], line.cells[-1][1]]
    return {(_DIGITS.sub("#", text), round(line.y / 4)) for text in texts}


def _counts(line: Line, number: int, height: float) -> set[tuple[bool, int]]:
    """Return how far the numbers at the ends of a line are from the count of pages, and at which edge it stands."""
    words = line.text.split()
    return {
        (line.y > height / 2, int(word) - number)
        for word in (words[0], words[-1])
        if word.isdecimal() and len(word) < 5
    }


def _outline(document: Any) -> Outline:
    """Return the levels of the headings that the PDF's own outline names, by page."""
    found: Outline = defaultdict(dict)
    try:
        for number, item in enumerate(document.get_toc()):
            if number >= _MAX_OUTLINE:
                break
            target = item.get_dest()
            page = target.get_index() if target else None
            title = key(item.get_title())
            if page is not None and title:
                found[page].setdefault(title, item.level + 1)
    except Exception:  # the outline is a help, and broken ones raise whatever they like
        return found
    return found
