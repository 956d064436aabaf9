"""Good files of each kind, each with a fact, a question about it, and the answer that must be found."""

from collections.abc import Callable

from benchmarks.make_files import archive, document, paragraph, pdf


def _good_document(fact: str) -> bytes:
    return archive(document(paragraph("Notes") + paragraph(fact)))


def _mail(fact: str) -> str:
    return (
        "From: office@example.org\nTo: all@example.org\nSubject: A note\nDate: Mon, 2 Nov 2026 10:00:00 +0000\n"
        f"Message-ID: <1@example.org>\n\n{fact}\n"
    )


def _page(fact: str) -> str:
    return (
        "<!doctype html><html><head><title>Note</title></head><body><nav><a href='/'>Home</a></nav>"
        f"<main><h1>Note</h1><p>{fact}</p></main></body></html>"
    )


GOOD: dict[str, tuple[Callable[[str], bytes | str], str, str, str]] = {
    "harbour.txt": (str, "The harbour master of Velmora is Ottoline Brask.", "Who is the harbour master of Velmora?",
                    "Ottoline Brask"),
    "bridge.md": (lambda fact: f"# Bridges\n\n## Tarn\n\n{fact}\n", "The Tarn bridge carries at most 38 tonnes.",
                  "How many tonnes does the Tarn bridge carry?", "38 tonnes"),
    "orchard.html": (_page, "The orchard at Quillon grows 412 pear trees.",
                     "How many pear trees grow in the orchard at Quillon?", "412"),
    "lantern.pdf": (lambda fact: pdf([[(72, 700, 12, fact)]]), "The Lantern festival begins on the ninth of March.",
                    "When does the Lantern festival begin?", "ninth of March"),
    "kiln.docx": (_good_document, "The kiln in workshop three is fired at 1,240 degrees.",
                  "At how many degrees is the kiln in workshop three fired?", "1,240"),
    "ferries.csv": (lambda fact: f"line,note\nnorth,{fact}\n", "The north ferry leaves at 06:25.",
                    "When does the north ferry leave?", "06:25"),
    "memo.eml": (_mail, "The spare key is kept by Ingrid Solheim.", "Who keeps the spare key?", "Ingrid Solheim"),
    "pump.py": (lambda fact: f'def pump():\n    """{fact}"""\n    return 17\n', "The pump runs for 17 minutes.",
                "For how many minutes does the pump run?", "17"),
    "tower.txt": (lambda fact: fact.encode("shift_jis"), "時計塔の高さは五十三メートルです。", "時計塔の高さは？",
                  "五十三メートル"),
    "museum.txt": (lambda fact: fact.encode("gb18030"), "博物馆每周一闭馆，其他日子九点开门。", "博物馆什么时候闭馆？",
                   "周一"),
}  # fmt: skip
