"""Sheets: Excel workbooks and CSV files, a row per line, each with its number."""

import csv
import re
from collections import Counter
from datetime import datetime, timedelta
from typing import Any

from aigrid.knowledge.base import Parsed
from aigrid.knowledge.parse.archive import Archive
from aigrid.knowledge.parse.base import MAX_CELLS, Blocks, one_line, row
from aigrid.knowledge.parse.xml import read_xml

S = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
_DATE_FORMATS = frozenset({*range(14, 23), 27, 30, 36, 45, 46, 47, 50, 57})
_MAX_COLUMNS = 1_000


def parse_csv(text: str) -> Parsed:
    """Return a CSV file as one table, whatever separates its cells; rows know their lines."""
    csv.field_size_limit(1 << 20)
    reader = csv.reader((f"{line}\n" for line in text.split("\n")), delimiter=_delimiter(text))
    rows: list[str] = []
    lines: list[int] = []
    notes: list[str] = []
    cells = 0
    before = 0
    try:
        for values in reader:
            cells += len(values)
            if cells > MAX_CELLS:
                notes.append(f"only the first {len(rows):,} rows were read")
                break
            if line := row([one_line(value) for value in values]):
                rows.append(line)
                lines.append(before + 1)
            before = reader.line_num
    except csv.Error as error:
        notes.append(f"reading stopped at line {reader.line_num:,}: {error}")
    blocks = Blocks()
    blocks.add("\n".join(rows), "table", lines=tuple(lines))
    return Parsed(blocks.found, "", "csv", notes + blocks.notes())


def _delimiter(text: str) -> str:
    """Return the character that splits the first lines most evenly."""
    lines = [line for line in text[:20_000].split("\n")[:50] if line.strip()]
    best, delimiter = 0.0, ","
    for candidate in ",;\t|":
        counts = Counter(line.count(candidate) for line in lines)
        if not counts:
            continue
        usual, often = max(((n, times) for n, times in counts.items() if n), key=lambda pair: pair[1], default=(0, 0))
        if usual and often / len(lines) > best:
            best, delimiter = often / len(lines), candidate
    return delimiter


def parse_workbook(archive: Archive) -> Parsed:
    """Return the sheets of a workbook, each a page with one table of the values last calculated."""
    from aigrid.knowledge.parse.office import R, core_title, related

    links = related(archive, "xl/workbook.xml")
    book = read_xml(archive.read("xl/workbook.xml"), what="its list of sheets")
    properties = book.find(f"{S}workbookPr")
    origin = datetime(1904, 1, 1) if properties is not None and properties.get("date1904") in ("1", "true") else None
    shared = _shared(archive)
    dates = _date_styles(archive)
    blocks = Blocks()
    notes: list[str] = []
    left = MAX_CELLS
    for page, sheet in enumerate(book.iter(f"{S}sheet"), 1):
        part = links.get(sheet.get(f"{R}id", ""), ("", ""))[1]
        if part not in archive.names or left <= 0:
            continue
        blocks.close(1)
        blocks.page = page
        blocks.open(1, sheet.get("name", f"Sheet {page}"))
        rows: list[str] = []
        lines: list[int] = []
        for line in read_xml(archive.read(part), what=f"sheet {page}").iter(f"{S}row"):
            values = _values(line, shared, dates, origin or datetime(1899, 12, 30))
            left -= len(values)
            if left <= 0:
                notes.append(f"only the first {MAX_CELLS:,} cells were read")
                break
            if text := row(values):
                rows.append(text)
                number = line.get("r", "")
                lines.append(int(number) if number.isdigit() else len(rows))
        blocks.add("\n".join(rows), "table", lines=tuple(lines))
    return Parsed(blocks.found, core_title(archive), "xlsx", notes + blocks.notes())


def _values(line: Any, shared: list[str], dates: frozenset[int], origin: datetime) -> list[str]:
    """Return the cells of a row from the first column on, empty ones included."""
    values: list[str] = []
    for cell in line.iter(f"{S}c"):
        column = _column(cell.get("r", ""))
        if column > _MAX_COLUMNS:
            break
        if column > len(values) + 1:
            values.extend([""] * (column - len(values) - 1))
        values.append(_value(cell, shared, dates, origin))
    return values


def _value(cell: Any, shared: list[str], dates: frozenset[int], origin: datetime) -> str:
    kind = cell.get("t", "n")
    if kind == "inlineStr":
        return one_line("".join(t.text or "" for t in cell.iter(f"{S}t")))
    value = cell.find(f"{S}v")
    text = value.text or "" if value is not None else ""
    if kind == "s":
        return shared[int(text)] if text.isdigit() and int(text) < len(shared) else ""
    if kind == "b":
        return "TRUE" if text == "1" else "FALSE"
    if kind != "n" or not text:
        return one_line(text)
    style = cell.get("s", "")
    try:
        number = float(text)
        if style.isdigit() and int(style) in dates and 0 <= number < 2_958_466:
            return _date(origin, number)
        return f"{number:.15g}" if len(text) > 15 else text
    except ValueError:
        return one_line(text)


def _date(origin: datetime, days: float) -> str:
    moment = origin + timedelta(seconds=round(days * 86_400))
    if days < 1:
        return f"{moment:%H:%M:%S}"
    return f"{moment:%Y-%m-%d}" if moment.time() == datetime.min.time() else f"{moment:%Y-%m-%d %H:%M:%S}"


def _column(reference: str) -> int:
    """Return the number of a cell's column from 1 (`B7` is 2); 0 where it does not say."""
    number = 0
    for letter in reference[:3]:
        if not "A" <= letter <= "Z":
            break
        number = number * 26 + ord(letter) - 64
    return number


def _shared(archive: Archive) -> list[str]:
    if "xl/sharedStrings.xml" not in archive.names:
        return []
    root = read_xml(archive.read("xl/sharedStrings.xml"), what="its table of strings")
    return [
        one_line("".join(t.text or "" for t in item.iter(f"{S}t") if t.getparent().tag != f"{S}rPh"))
        for item in root.iter(f"{S}si")
    ]


def _date_styles(archive: Archive) -> frozenset[int]:
    """Return the numbers of the cell styles that show a date or time."""
    if "xl/styles.xml" not in archive.names:
        return frozenset()
    root = read_xml(archive.read("xl/styles.xml"), what="its styles")
    formats = {
        int(style.get("numFmtId", "0"))
        for style in root.iter(f"{S}numFmt")
        if re.search(r"[ymdhs]", re.sub(r'"[^"]*"|\\.|\[[^\]]*\]', "", style.get("formatCode", "").lower()))
    } | _DATE_FORMATS
    cells = root.find(f"{S}cellXfs")
    if cells is None:
        return frozenset()
    return frozenset(n for n, style in enumerate(cells) if int(style.get("numFmtId", "0")) in formats)
