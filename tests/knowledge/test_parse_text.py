import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aigrid.knowledge.base import Block
from aigrid.knowledge.parse import Unreadable, parse
from aigrid.knowledge.parse.base import clean
from aigrid.knowledge.parse.encoding import decode
from aigrid.knowledge.parse.sniff import sniff

JAPANESE = "東京タワーの高さは三百三十三メートルです。展望台は二つあります。カタカナも、ひらがなも使います。\n"
CHINESE = "北京的秋天很美，游客很多。我们在城里走了一天，看了三个博物馆，吃了很多好东西。\n"
FRENCH = "Le café est fermé à midi, où les élèves préfèrent déjà rentrer à l'hôtel près de la forêt.\n"


def of(text: str | bytes, name: str) -> list[Block]:
    return parse(text if isinstance(text, bytes) else text.encode(), name).blocks


def lines_hold(source: str, blocks: list[Block]) -> None:
    lines = source.split("\n")
    for block in blocks:
        assert block.line is not None
        for number, line in enumerate(block.text.split("\n")):
            at = block.lines[number] if block.lines else block.line + number
            words = [word for word in line.replace("|", " ").split() if word.isalnum()]
            assert all(word in lines[at - 1] for word in words), (line, lines[at - 1])


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (JAPANESE, "shift_jis"),
        (JAPANESE, "euc_jp"),
        (JAPANESE, "utf-16"),
        (JAPANESE, "utf-8-sig"),
        (CHINESE, "gb18030"),
        (CHINESE, "utf-16-be"),
        (FRENCH, "latin-1"),
        (FRENCH, "cp1252"),
        (FRENCH, "utf-16-le"),
        (FRENCH, "utf-32"),
    ],
)
def test_text_is_read_in_the_encoding_that_it_was_written_in(text: str, encoding: str) -> None:
    data = (text * 4).encode(encoding)
    if encoding == "utf-16-be":
        data = b"\xfe\xff" + data
    assert decode(data)[0] == text * 4


def test_one_bad_byte_does_not_change_the_encoding() -> None:
    data = (JAPANESE * 20).encode() + b"\xff\n" + (JAPANESE * 20).encode()
    assert decode(data)[0].count("東京タワー") == 40


@given(st.text())
def test_clean_text_is_normal_and_has_no_invisible_characters(text: str) -> None:
    import unicodedata

    cleaned = clean(text)
    assert unicodedata.is_normalized("NFC", cleaned)
    assert clean(cleaned) == cleaned
    assert not any(unicodedata.category(c) in ("Cc", "Cs") and c not in "\n\t" for c in cleaned)
    assert not any(c in "\u202e\u200b\ufeff\U000e0041" for c in cleaned)


@given(st.binary(max_size=400), st.sampled_from(["a.txt", "a.md", "a.csv", "a.html", "a.py", "a", "a.eml", "a.xml"]))
def test_any_bytes_are_parsed_or_refused(data: bytes, name: str) -> None:
    with contextlib.suppress(Unreadable):
        assert any(block.text for block in parse(data, name).blocks)


@given(st.text(alphabet="#-=|*`~[]()<>!_ \t\nab1.>:", max_size=200))
def test_any_markdown_is_read_with_lines_within_the_file(text: str) -> None:
    try:
        blocks = of(text, "x.md")
    except Unreadable:
        return
    count = text.count("\n") + 1
    for block in blocks:
        assert block.line is not None
        assert 1 <= block.line <= count
        assert all(1 <= line <= count for line in block.lines)


def test_content_decides_and_not_the_name() -> None:
    assert sniff(b"%PDF-1.4 ...", "notes.txt") == "pdf"
    assert sniff(b"<!DOCTYPE html><html>", "notes.txt") == "html"
    assert sniff(b"plain words", "thesis.pdf") == "text"
    assert parse(b"plain words", "thesis.pdf").notes == ["its name ends in .pdf, but it was read as what it is: text"]
    with pytest.raises(Unreadable, match="PNG"):
        sniff(b"\x89PNG\r\n\x1a\n", "notes.txt")


def test_magic_letters_that_begin_a_sentence_are_text() -> None:
    assert sniff(b"BMW makes cars, MZ made motorcycles.", "cars.txt") == "text"
    assert sniff(b"MZ made motorcycles.", "cars.txt") == "text"


def test_markdown_knows_headings_tables_fences_and_lines() -> None:
    source = """---
title: "The guide"
owner: anna
---
# Guide

First paragraph with a [link](https://x.example/very/long) and **bold** words
on two lines.

## Prices ##

| item   | price |
|--------|------:|
| tea    | 3     |
| coffee | 4     |

```python
# not a heading
x = 1
```

Setext heading
--------------

- one
- two
"""
    parsed = parse(source.encode(), "guide.md")
    assert parsed.title == "The guide"
    by_kind = {block.kind: block for block in parsed.blocks if block.kind != "text"}
    table = by_kind["table"]
    assert table.text == "item | price\ntea | 3\ncoffee | 4"
    assert table.lines == (12, 14, 15)
    assert table.heading == ("Guide", "Prices")
    assert by_kind["code"].text == "# not a heading\nx = 1"
    assert by_kind["code"].line == 18
    assert by_kind["list"].heading == ("Guide", "Setext heading")
    text = next(block for block in parsed.blocks if block.text.startswith("First"))
    assert text.text == "First paragraph with a link and bold words\non two lines."
    lines_hold(source, [block for block in parsed.blocks if block.text != text.text])


def test_markdown_comments_are_left_out_but_not_in_code() -> None:
    source = "<!-- hidden\n\nstill --> seen\n\nwords <!-- gone --> end\n\n```html\n<!-- shown -->\n```\n<!-- open\n"
    assert [(block.text, block.line) for block in of(source, "x.md")] == [
        ("seen", 3),
        ("words  end", 5),
        ("<!-- shown -->", 8),
        ("<!-- open", 10),
    ]


def test_plain_text_knows_underlined_and_numbered_headings() -> None:
    source = "Manual\n======\n\n1. Before you start\n\nRead this.\n\n1.1 Tools\n\nA hammer.\nA nail.\n"
    blocks = of(source, "manual.txt")
    assert blocks[-1].heading == ("Manual", "1. Before you start", "1.1 Tools")
    assert blocks[-1].line == 10
    lines_hold(source, blocks)


def test_code_is_cut_at_definitions() -> None:
    source = '''import os


@cache
def first(x):
    """Do."""
    return x


class Second:
    """About."""

    def method(self):
        return 1
'''
    blocks = of(source, "x.py")
    assert [(block.heading, block.line) for block in blocks] == [
        ((), 1),
        (("first",), 4),
        (("Second",), 10),
        (("Second", "method"), 13),
    ]
    lines_hold(source, blocks)


@pytest.mark.parametrize(
    ("name", "source", "names"),
    [
        ("x.go", "package x\n\nfunc (s *S) Run(a int) error {\n}\n\ntype S struct {\n}\n", ["x", "Run", "S"]),
        ("x.rs", "pub fn run<T>(a: T) -> T {\n}\n\nimpl Show for Thing {\n}\n", ["run<T>", "Show for Thing"]),
        ("x.ts", "export async function go() {\n}\n\nexport const f = (a) => a\n", ["go", "f"]),
        ("x.c", "#include <x>\n\nstatic int add(int a,\n  int b)\n{\n}\n", ["add"]),
        ("x.sh", "#!/bin/sh\nsay() {\n echo\n}\n", ["say"]),
        ("x.sql", "CREATE TABLE people (\n id int\n);\n", ["people"]),
    ],
)
def test_definitions_of_other_languages_are_found(name: str, source: str, names: list[str]) -> None:
    assert [block.heading[-1] for block in of(source, name) if block.heading] == names


def test_csv_is_one_table_whatever_separates_it() -> None:
    for mark in ",;\t":
        source = mark.join(["name", "town"]) + "\n" + mark.join(['"Ann\nLee"', "Oslo"]) + "\n" + mark.join(["Bo", ""])
        (block,) = of(source, "x.csv")
        assert block.text.split("\n") == ["name | town", "Ann Lee | Oslo", "Bo |"]
        assert block.lines == (1, 2, 4)


def test_html_keeps_the_main_content_and_drops_what_is_around() -> None:
    source = """<!doctype html><html><head><title>Tea — Shop</title><style>p {}</style></head><body>
    <nav><a href="/">Home</a></nav><div class="sidebar" role="navigation">Menu</div>
    <main><h1>Tea</h1><p>Green &amp; black<br>tea, <b>fresh</b>.</p>
    <ul><li>one<ul><li>inner</li></ul></li><li>two</li></ul>
    <h2>Prices</h2><table><tr><th>kind</th><th>price</th></tr><tr><td>green</td><td>3</td></tr></table>
    <pre>x = 1
  y = 2</pre></main><footer>Imprint</footer><script>alert(1)</script></body></html>"""
    parsed = parse(source.encode(), "tea.html")
    assert parsed.title == "Tea"
    assert [(block.kind, block.text) for block in parsed.blocks] == [
        ("heading", "Tea"),
        ("text", "Green & black tea, fresh."),
        ("list", "- one"),
        ("list", "- inner"),
        ("list", "- two"),
        ("heading", "Prices"),
        ("table", "kind | price\ngreen | 3"),
        ("code", "x = 1\n  y = 2"),
    ]
    assert parsed.blocks[-1].heading == ("Tea", "Prices")


def test_html_is_read_in_the_encoding_that_it_names() -> None:
    page = f'<html><head><meta charset="shift_jis"></head><body><p>{JAPANESE}</p></body></html>'
    assert of(page.encode("shift_jis"), "x.html")[0].text == JAPANESE.strip()


def test_a_mail_says_who_what_and_what_is_attached() -> None:
    source = (
        "From: =?utf-8?B?w4Vzcw==?= <a@b.example>\nTo: c@d.example\nSubject: Meeting\nMessage-ID: <1@x>\n"
        'MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary="q"\n\n--q\n'
        'Content-Type: multipart/alternative; boundary="r"\n\n--r\nContent-Type: text/plain\n\nAt noon.\n--r\n'
        "Content-Type: text/html\n\n<p>At noon, in colour.</p>\n--r--\n--q\n"
        'Content-Type: text/csv; name="list.csv"\nContent-Disposition: attachment; filename="list.csv"\n\n'
        "name,town\nAnn,Oslo\n--q\nContent-Type: image/png; name=x.png\n"
        "Content-Disposition: attachment; filename=x.png\n"
        "Content-Transfer-Encoding: base64\n\niVBORw0KGgo=\n--q--\n"
    )
    parsed = parse(source.encode(), "x.eml")
    assert parsed.title == "Meeting"
    texts = [block.text for block in parsed.blocks]
    assert texts[1].startswith("From: Åss <a@b.example>")
    assert texts[2:] == ["At noon.", "name | town\nAnn | Oslo"]
    assert parsed.blocks[-1].heading == ("Meeting", "list.csv")
    assert parsed.notes == ["its attachment 'x.png' was left out: it is a PNG image"]


def test_a_mailbox_holds_messages_under_their_subjects() -> None:
    message = "From a@b Mon Jan  1 00:00:00 2026\nFrom: a@b\nTo: c@d\nSubject: {0}\n\nBody {0}\n\n"
    parsed = parse((message.format("one") + message.format("two")).encode(), "x.mbox")
    assert parsed.kind == "mbox"
    assert [block.heading for block in parsed.blocks if block.text.startswith("Body")] == [("one",), ("two",)]


def test_xml_gives_its_text_and_declares_no_entities() -> None:
    parsed = parse(b"<?xml version='1.0'?><book><title>Bees</title><para>They <em>fly</em> far.</para></book>", "x.xml")
    assert [(block.text, block.heading) for block in parsed.blocks] == [
        ("Bees", ("Bees",)),
        ("They fly far.", ("Bees",)),
    ]
    with pytest.raises(Unreadable, match="entities"):
        parse(b"<?xml version='1.0'?><!DOCTYPE x [<!ENTITY a 'b'>]><x>&a;</x>", "x.xml")
