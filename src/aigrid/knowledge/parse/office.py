"""Office files: Word documents, PowerPoint slides, and (in sheet.py) Excel workbooks, read from their XML."""

import posixpath
import re
from collections.abc import Iterator
from typing import Any

from aigrid.knowledge.base import Parsed
from aigrid.knowledge.parse.archive import Archive
from aigrid.knowledge.parse.base import MAX_CELLS, Blocks, Unreadable, one_line, row
from aigrid.knowledge.parse.xml import read_xml

W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
A = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
P = "{http://schemas.openxmlformats.org/presentationml/2006/main}"
R = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}"
_FALLBACK = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"
_HEADING_STYLE = re.compile(r"^heading\s*(\d)$", re.IGNORECASE)


def parse_office(data: bytes) -> Parsed:
    """Return the text of a .docx, .pptx or .xlsx file, told apart by what is in it. Macros are never looked at."""
    archive = Archive(data)
    names = archive.names
    if "word/document.xml" in names:
        return _document(archive)
    if "ppt/presentation.xml" in names:
        return _slides(archive)
    if "xl/workbook.xml" in names:
        from aigrid.knowledge.parse.sheet import parse_workbook

        return parse_workbook(archive)
    if "mimetype" in names:
        raise Unreadable(
            f"it is a file of type {archive.read('mimetype')[:80].decode('ascii', 'replace')!r}, not read here"
        )
    raise Unreadable("it is a zip archive, not an Office file; unpack it first")


def related(archive: Archive, part: str) -> dict[str, tuple[str, str]]:
    """Return what a part refers to inside the file: relation id to (kind, name of the part)."""
    folder, name = posixpath.split(part)
    rels = f"{folder}/_rels/{name}.rels"
    if rels not in archive.names:
        return {}
    found = {}
    for link in read_xml(archive.read(rels), what=f"its part {rels}"):
        if link.get("TargetMode") == "External":
            continue
        target = link.get("Target", "")
        target = target[1:] if target.startswith("/") else posixpath.normpath(posixpath.join(folder, target))
        found[link.get("Id", "")] = (link.get("Type", "").rpartition("/")[2], target)
    return found


def core_title(archive: Archive) -> str:
    """Return the title in the file's properties, or nothing."""
    if "docProps/core.xml" not in archive.names:
        return ""
    title = read_xml(archive.read("docProps/core.xml"), what="its part docProps/core.xml").find(
        "{http://purl.org/dc/elements/1.1/}title"
    )
    text = one_line(title.text or "") if title is not None else ""
    return "" if text.lower() in ("powerpoint presentation", "word document", "untitled", "document1") else text


def _document(archive: Archive) -> Parsed:
    body = read_xml(archive.read("word/document.xml"), what="its text").find(f"{W}body")
    if body is None:
        raise Unreadable("it is a Word document without a body")
    levels = _heading_styles(archive)
    blocks = Blocks()
    title = core_title(archive)
    for element in _content(body):
        if element.tag == f"{W}tbl":
            blocks.add("\n".join(_word_rows(element)), "table")
            continue
        text = _word_text(element)
        style = element.find(f"{W}pPr/{W}pStyle")
        name = style.get(f"{W}val", "") if style is not None else ""
        outline = element.find(f"{W}pPr/{W}outlineLvl")
        level = levels.get(name, 0) if outline is None else min(int(outline.get(f"{W}val", "9")) + 1, 10)
        if 0 < level < 10:
            blocks.open(level, text)
        elif name.lower() == "title" and text.strip():
            title = title or one_line(text)
            blocks.add(text)
        elif element.find(f"{W}pPr/{W}numPr") is not None or name.lower().startswith("list"):
            blocks.add("- " + text.strip() if text.strip() else "", "list")
        else:
            blocks.add(text)
    if "word/footnotes.xml" in archive.names:
        blocks.close(1)
        for note in read_xml(archive.read("word/footnotes.xml"), what="its footnotes").iter(f"{W}footnote"):
            if note.get(f"{W}type") is None:
                blocks.add(one_line(" ".join(_word_text(p) for p in note.iter(f"{W}p"))))
    title = title or next((b.text for b in blocks.found if b.kind == "heading"), "")
    return Parsed(blocks.found, title, "docx", blocks.notes())


def _content(body: Any) -> Iterator[Any]:
    """Yield paragraphs and tables in order, those inside content controls included."""
    for element in body:
        if element.tag in (f"{W}p", f"{W}tbl"):
            yield element
        elif element.tag == f"{W}sdt":
            content = element.find(f"{W}sdtContent")
            if content is not None:
                yield from (e for e in content.iter(f"{W}p", f"{W}tbl") if not _in_table(e, content))


def _in_table(element: Any, top: Any) -> bool:
    for above in element.iterancestors():
        if above is top:
            return False
        if above.tag == f"{W}tbl":
            return True
    return False


def _heading_styles(archive: Archive) -> dict[str, int]:
    """Return the level of each paragraph style that is a heading, whatever the language of its name."""
    levels: dict[str, int] = {f"Heading{level}": level for level in range(1, 10)}
    if "word/styles.xml" not in archive.names:
        return levels
    for style in read_xml(archive.read("word/styles.xml"), what="its styles").iter(f"{W}style"):
        identifier, name = style.get(f"{W}styleId", ""), style.find(f"{W}name")
        named = _HEADING_STYLE.match(name.get(f"{W}val", "")) if name is not None else None
        outline = style.find(f"{W}pPr/{W}outlineLvl")
        if named:
            levels[identifier] = int(named[1])
        elif outline is not None and outline.get(f"{W}val", "9").isdigit():
            levels[identifier] = int(outline.get(f"{W}val", "9")) + 1
    return levels


def _word_text(paragraph: Any) -> str:
    """Return a paragraph's text: insertions, no deletions, and each text box once."""
    parts: list[str] = []
    for node in paragraph.iter(f"{W}t", f"{W}tab", f"{W}br", f"{W}cr", f"{W}noBreakHyphen"):
        if any(above.tag == _FALLBACK for above in node.iterancestors()):
            continue
        if node.tag == f"{W}t":
            parts.append(node.text or "")
        elif node.tag == f"{W}tab":
            parts.append("\t" if node.getparent().tag != f"{W}tabs" else "")
        else:
            parts.append("-" if node.tag == f"{W}noBreakHyphen" else "\n")
    return "".join(parts)


def _word_rows(table: Any) -> Iterator[str]:
    cells = 0
    for line in table.iter(f"{W}tr"):
        if next(line.iterancestors(f"{W}tbl")) is not table:
            continue
        texts = [
            one_line(" ".join(_word_text(p) for p in cell.iter(f"{W}p")))
            for cell in line.iter(f"{W}tc")
            if next(cell.iterancestors(f"{W}tr")) is line
        ]
        cells += len(texts)
        if cells > MAX_CELLS:
            return
        if text := row(texts):
            yield text


def _slides(archive: Archive) -> Parsed:
    links = related(archive, "ppt/presentation.xml")
    order = read_xml(archive.read("ppt/presentation.xml"), what="its list of slides").iter(f"{P}sldId")
    blocks = Blocks()
    for number, slide in enumerate(order, 1):
        part = links.get(slide.get(f"{R}id", ""), ("", ""))[1]
        if part not in archive.names:
            continue
        blocks.close(1)
        blocks.page = number
        _slide(read_xml(archive.read(part), what=f"slide {number}"), blocks)
        for kind, notes in related(archive, part).values():
            if kind == "notesSlide" and notes in archive.names:
                page = read_xml(archive.read(notes), what=f"the notes of slide {number}")
                for shape in page.iter(f"{P}sp"):
                    if _placeholder(shape) == "body":
                        blocks.add("\n".join(_slide_lines(shape)))
    title = core_title(archive) or next((b.text for b in blocks.found if b.kind == "heading"), "")
    return Parsed(blocks.found, title, "pptx", blocks.notes())


def _slide(slide: Any, blocks: Blocks) -> None:
    shapes = list(slide.iter(f"{P}sp", f"{A}tbl"))
    for shape in shapes:
        if shape.tag == f"{P}sp" and _placeholder(shape) in ("title", "ctrTitle"):
            blocks.open(1, " ".join(_slide_lines(shape)))
    for shape in shapes:
        if shape.tag == f"{A}tbl":
            rows = (
                row([one_line(" ".join(_slide_lines(cell))) for cell in line.iter(f"{A}tc")])
                for line in shape.iter(f"{A}tr")
            )
            blocks.add("\n".join(text for text in rows if text), "table")
        elif _placeholder(shape) not in ("title", "ctrTitle", "ftr", "sldNum", "dt"):
            blocks.add("\n".join(_slide_lines(shape)))


def _placeholder(shape: Any) -> str:
    found = next(shape.iter(f"{P}ph"), None)
    return str(found.get("type", "body")) if found is not None else ""


def _slide_lines(shape: Any) -> Iterator[str]:
    for paragraph in shape.iter(f"{A}p"):
        text = "".join("\n" if t.tag == f"{A}br" else t.text or "" for t in paragraph.iter(f"{A}t", f"{A}br"))
        if text.strip():
            yield text.strip()
