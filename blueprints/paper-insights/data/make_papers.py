"""Make the example's papers: PDF files in `data/papers` from the texts in `data/text`. The same bytes each time.

    python blueprints/paper-insights/data/make_papers.py

A line of a text begins with what it is: `#` title, `@` authors, `##` heading, `f` caption, `*` the bars of a figure,
`|` a row of a table; or it is a sentence, and a person has said what it states: `c` a claim, `m` a method, `l` a
limit, `.` nothing of these. These marks are what the evaluation compares with; the PDF does not hold them.
"""

from pathlib import Path

HERE = Path(__file__).resolve().parent
WIDE, HIGH, MARGIN, LINE = 595, 842, 72, 13.5
_WIDTHS = (
    "278 278 355 556 556 889 667 191 333 333 389 584 278 333 278 278 556 556 556 556 556 556 556 556 556 556 278 278 584 "
    "584 584 556 1015 667 667 722 722 667 611 778 722 278 500 667 556 833 722 778 667 778 722 667 611 722 667 944 667 667 "
    "611 278 278 278 469 556 333 556 556 500 556 556 278 556 556 222 222 500 222 833 556 556 556 556 333 500 278 556 500 "
    "722 500 500 500 334 260 334 584"
)
WIDTHS = dict(zip(map(chr, range(32, 127)), map(int, _WIDTHS.split()), strict=True))
"""Widths of Helvetica's letters, in thousandths of the font's size."""


class Page:
    """What is drawn on one page, and how far down it is filled."""

    def __init__(self) -> None:
        self.drawn: list[str] = []
        self.y = HIGH - MARGIN

    def text(self, x: float, size: float, text: str, font: str = "F1") -> None:
        """Write a line at the present height."""
        safe = text.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)")
        self.drawn.append(f"BT /{font} {size:g} Tf {x:g} {self.y:g} Td ({safe}) Tj ET")

    def bars(self, values: list[float]) -> None:
        """Draw the bars of a figure, the lowest value at a third of the height of the highest."""
        low, high = min(values), max(values)
        base = low - (high - low) / 2
        self.y -= 70
        for at, value in enumerate(values):
            height = 60 * (value - base) / (high - base)
            self.drawn.append(f"{0.5 if at % 2 else 0.75:g} g {MARGIN + 36 * at} {self.y:g} 24 {height:.1f} re f 0 g")
        self.y -= 16


def wrapped(text: str, size: float) -> list[str]:
    """Return the lines of a paragraph."""
    lines, line = [], ""
    for word in text.split():
        longer = f"{line} {word}".strip()
        if sum(WIDTHS.get(letter, 556) for letter in longer) * size / 1000 > WIDE - 2 * MARGIN:
            lines.append(line)
            longer = word
        line = longer
    return [*lines, line] if line else lines


def sentences(text: str) -> list[tuple[str, str]]:
    """Return the lines of a text as (mark, words)."""
    return [(line.partition(" ")[0], line.partition(" ")[2].strip()) for line in text.splitlines() if line.strip()]


def pages(text: str) -> list[Page]:
    """Lay a text out."""
    made, paragraph = [Page()], ""

    def room(height: float) -> Page:
        if made[-1].y - height < MARGIN:
            made.append(Page())
        return made[-1]

    def write(words: str, size: float, font: str = "F1", after: float = 6) -> None:
        for line in wrapped(words, size):
            page = room(LINE)
            page.text(MARGIN, size, line, font)
            page.y -= LINE * max(1.0, size / 11)
        made[-1].y -= after

    for mark, words in [*sentences(text), ("end", "")]:
        if mark in ("c", "m", "l", "."):
            paragraph = f"{paragraph} {words}".strip()
            continue
        write(paragraph, 10.5)
        paragraph = ""
        if mark == "#":
            write(words, 17, "F2", after=4)
        elif mark == "@":
            write(words, 9, after=10)
        elif mark == "##":
            room(60).y -= 6
            write(words, 12.5, "F2", after=3)
        elif mark == "f":
            room(110)
            write(words, 9, "F2", after=6)
        elif mark == "*":
            room(90).bars([float(value) for value in words.split()])
        elif mark == "|":
            page = room(LINE)
            for at, cell in enumerate(words.split("|")):
                page.text(MARGIN + 160 * at, 10, cell.strip())
            page.y -= 14
    for number, page in enumerate(made, 1):
        page.y = 40
        page.text(WIDE / 2, 9, str(number))
    return made


def pdf(text: str) -> bytes:
    """Return a text as a PDF."""
    laid = pages(text)
    title = sentences(text)[0][1]
    kids = " ".join(f"{5 + 2 * at} 0 R" for at in range(len(laid)))
    font = "<< /Type /Font /Subtype /Type1 /BaseFont /{} /Encoding /WinAnsiEncoding >>"
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(laid)} >>",
        font.format("Helvetica"),
        font.format("Helvetica-Bold"),
    ]
    for at, page in enumerate(laid):
        drawn = "\n".join(page.drawn)
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {WIDE} {HIGH}] /Contents {6 + 2 * at} 0 R "
            "/Resources << /Font << /F1 3 0 R /F2 4 0 R >> >> >>"
        )
        objects.append(f"<< /Length {len(drawn.encode('cp1252'))} >>\nstream\n{drawn}\nendstream")
    objects.append(f"<< /Title ({title}) >>")
    out, places = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        places.append(len(out))
        out += f"{number} 0 obj\n{body}\nendobj\n".encode("cp1252")
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    head = f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}"
    tail = (
        f"trailer\n<< /Size {len(objects) + 1} /Root 1 0 R /Info {len(objects)} 0 R >>\nstartxref\n{len(out)}\n%%EOF\n"
    )
    return out + head.encode() + tail.encode()


def main() -> None:
    """Write all papers."""
    folder = HERE / "papers"
    folder.mkdir(exist_ok=True)
    for path in sorted((HERE / "text").glob("*.txt")):
        (folder / f"{path.stem}.pdf").write_bytes(pdf(path.read_text()))


if __name__ == "__main__":
    main()
