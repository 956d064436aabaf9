import contextlib
import gzip
import io
from datetime import date, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aigrid.knowledge.base import Parsed
from aigrid.knowledge.parse import Unreadable, parse
from benchmarks.make_files import archive, document, paragraph, pdf

LEFT, RIGHT = 72, 330


def column(x: float, top: float, lines: list[str], size: float = 10) -> list[tuple[float, float, float, str]]:
    return [(x, top - 12 * number, size, line) for number, line in enumerate(lines)]


def texts(parsed: Parsed, kind: str = "text") -> list[str]:
    return [block.text for block in parsed.blocks if block.kind == kind]


def test_pdf_paragraphs_come_with_pages_and_mended_words() -> None:
    body = ["The quick brown fox is a well-", "known animal that was photo-", "graphed many times by us all."]
    parsed = parse(
        pdf([[(72, 740, 20, "Animals"), *column(72, 700, body)], column(72, 700, ["photographed again, well-known."])]),
        "x.pdf",
    )
    assert parsed.title == "Animals"
    assert texts(parsed)[0] == "The quick brown fox is a well-known animal that was photographed many times by us all."
    assert [block.page for block in parsed.blocks] == [1, 1, 2]
    assert parsed.blocks[-1].heading == ("Animals",)


def test_pdf_columns_are_read_one_after_the_other() -> None:
    left = [f"Left line {n} goes on and on and on" for n in range(12)]
    right = [f"Right line {n} goes on and on as well" for n in range(12)]
    text = " ".join(texts(parse(pdf([[*column(LEFT, 700, left), *column(RIGHT, 700, right)]]), "x.pdf")))
    assert text.index("Left line 11") < text.index("Right line 0")


def test_pdf_tables_keep_their_cells() -> None:
    rows = [("Name", "Town", "Price"), ("Ann Lee", "Oslo", "12.50"), ("Bo", "Rome", "3.10"), ("Cy", "Bonn", "7.00")]
    placed = [
        (x, 700 - 14 * n, 10, cell) for n, row in enumerate(rows) for x, cell in zip((72, 200, 330), row, strict=True)
    ]
    parsed = parse(pdf([[*column(72, 740, ["Before the table."]), *placed]]), "x.pdf")
    assert texts(parsed, "table") == ["Name | Town | Price\nAnn Lee | Oslo | 12.50\nBo | Rome | 3.10\nCy | Bonn | 7.00"]


def test_pdf_running_headers_and_page_numbers_are_dropped() -> None:
    pages = [
        [(72, 770, 8, "Annual report 2026"), *column(72, 700, [f"What page {n} says."]), (300, 30, 8, f"{n} Chapter")]
        for n in range(3, 9)
    ]
    parsed = parse(pdf(pages), "x.pdf")
    assert texts(parsed) == [f"What page {n} says." for n in range(3, 9)]


def test_pdf_headings_follow_its_outline() -> None:
    pages = [[*column(72, 700, ["1.1 Small print", "Nothing is guaranteed, whatever happens to anyone."])]]
    parsed = parse(pdf(pages, [("Small print", 0)]), "x.pdf")
    assert [(block.kind, block.heading) for block in parsed.blocks] == [
        ("heading", ("1.1 Small print",)),
        ("text", ("1.1 Small print",)),
    ]


def test_a_word_document_has_headings_lists_and_tables() -> None:
    docx = pytest.importorskip("docx")
    made = docx.Document()
    made.core_properties.title = "The plan"
    made.add_heading("Part one", 1)
    made.add_paragraph("Words come here.")
    made.add_heading("Detail", 2)
    made.add_paragraph("first", style="List Bullet")
    table = made.add_table(rows=2, cols=2)
    for row, cells in zip(table.rows, (("kind", "price"), ("tea", "3")), strict=True):
        for cell, text in zip(row.cells, cells, strict=True):
            cell.text = text
    buffer = io.BytesIO()
    made.save(buffer)
    parsed = parse(buffer.getvalue(), "plan.docx")
    assert parsed.title == "The plan"
    assert [(block.kind, block.text, block.heading) for block in parsed.blocks] == [
        ("heading", "Part one", ("Part one",)),
        ("text", "Words come here.", ("Part one",)),
        ("heading", "Detail", ("Part one", "Detail")),
        ("list", "- first", ("Part one", "Detail")),
        ("table", "kind | price\ntea | 3", ("Part one", "Detail")),
    ]


def test_slides_are_pages_with_their_notes() -> None:
    pptx = pytest.importorskip("pptx")
    made = pptx.Presentation()
    for number in (1, 2):
        slide = made.slides.add_slide(made.slide_layouts[1])
        slide.shapes.title.text = f"Slide {number}"
        slide.placeholders[1].text = f"Point {number}"
        slide.notes_slide.notes_text_frame.text = f"Say {number}"
    buffer = io.BytesIO()
    made.save(buffer)
    parsed = parse(buffer.getvalue(), "x.pptx")
    assert [(block.page, block.text, block.heading) for block in parsed.blocks] == [
        (number, text.format(number), (f"Slide {number}",))
        for number in (1, 2)
        for text in ("Slide {}", "Point {}", "Say {}")
    ]


def test_sheets_are_pages_with_rows_dates_and_gaps() -> None:
    openpyxl = pytest.importorskip("openpyxl")
    made = openpyxl.Workbook()
    sheet = made.active
    sheet.title = "Orders"
    sheet.append(["when", "what", "sum"])
    sheet.append([date(2026, 3, 9), "tea & milk", 12.5])
    sheet["C5"] = True
    sheet["A6"] = datetime(2026, 3, 9, 14, 30)
    made.create_sheet("Other").append(["alone"])
    buffer = io.BytesIO()
    made.save(buffer)
    parsed = parse(buffer.getvalue(), "x.xlsx")
    table = parsed.blocks[1]
    rows = ["when | what | sum", "2026-03-09 | tea & milk | 12.5", " |  | TRUE", "2026-03-09 14:30:00"]
    assert table.text.split("\n") == rows
    assert table.lines == (1, 2, 5, 6)
    assert (table.page, table.heading) == (1, ("Orders",))
    assert (parsed.blocks[-1].page, parsed.blocks[-1].text) == (2, "alone")


def test_a_packed_file_is_read_as_what_is_in_it() -> None:
    assert parse(gzip.compress(b"# Title\n\nwords"), "notes.md.gz").title == "Title"
    with pytest.raises(Unreadable, match="within"):
        parse(gzip.compress(gzip.compress(b"words")), "notes.gz.gz")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_damaged_documents_are_parsed_or_refused(data: st.DataObject) -> None:
    whole = data.draw(
        st.sampled_from(
            [pdf([[(72, 700, 12, "One"), (72, 680, 12, "Two")]]), archive(document(paragraph("words") * 20))]
        )
    )
    damaged = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 8))):
        damaged[data.draw(st.integers(8, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(8, len(damaged)))
    with contextlib.suppress(Unreadable):
        assert parse(bytes(damaged[:cut]), "x").blocks
