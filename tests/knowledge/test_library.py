"""The library with the real parsers and chunks, and pages from the web."""

import http.server
import threading

import pytest

from aigrid.core.config import Config, KnowledgeConfig
from aigrid.core.errors import AigridError, BadRequest, ConfigError
from aigrid.knowledge import fetch
from aigrid.knowledge.library import Library, open_library
from tests.knowledge.fakes import WordsEmbedder


@pytest.fixture(params=["lance", "sqlite"])
def library(request, tmp_path):
    library = Library(tmp_path / "library", WordsEmbedder, kind=request.param)
    yield library
    library.close()


def test_every_chunk_of_every_format_is_a_slice_of_its_source(library, tmp_path):
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "page.html").write_text("<title>Fruit</title><h1>Apples</h1><p>Apples are red.<p>They grow on trees.")
    (folder / "notes.md").write_text("# Pears\n\nPears are green.\n\n| kind | price |\n|---|---|\n| Conference | 3 |\n")
    (folder / "table.csv").write_text("fruit,price\nplum,2\nfig,4\n")
    (folder / "code.py").write_text("def ripen(fruit):\n    return fruit.ripe()\n")
    (folder / "broken.pdf").write_bytes(b"%PDF-1.7 nonsense")
    (folder / "mail.eml").write_text("From: a@b.c\nSubject: Harvest\n\nThe harvest begins on Monday.\n")
    report = library.add([str(folder)])
    assert report.added == 5
    assert [each.path for each in report.skipped] == [str(folder / "broken.pdf")]
    for words in ("apples", "pears conference", "plum", "ripen", "harvest"):
        hits = library.search(words, 3)
        assert hits, words
        for hit in hits:
            source, plain = library.source(hit.chunk.source_id)
            assert plain[hit.chunk.start : hit.chunk.end] == hit.chunk.text
            assert hit.chunk.path == source.path


def test_chunks_and_sources_agree_on_how_many_there_are(library, tmp_path):
    (tmp_path / "long.txt").write_text("\n\n".join(f"Paragraph {n} says {n * n}. " * 12 for n in range(60)))
    library.add([str(tmp_path / "long.txt")])
    stats = library.stats()
    assert stats.chunks == library.store.count(frozenset("*")) > 10
    assert stats.kinds == {"text": 1}


def test_a_library_with_nothing_in_it_answers_without_a_model(tmp_path):
    def no_model():
        raise AssertionError("a model was loaded")

    library = Library(tmp_path / "library", no_model)
    assert library.search("anything") == []
    assert library.sources() == []
    assert library.stats().sources == 0


def test_vectors_of_two_models_never_mix(tmp_path):
    (tmp_path / "a.txt").write_text("some text")
    Library(tmp_path / "library", WordsEmbedder).add([str(tmp_path / "a.txt")])
    other = WordsEmbedder()
    other.name = "other"
    with pytest.raises(ConfigError, match="was embedded by words, not by other"):
        Library(tmp_path / "library", lambda: other).search("text")


def test_a_damaged_list_of_roots_opens_nothing(tmp_path):
    (tmp_path / "a.txt").write_text("some text")
    library = Library(tmp_path / "library", WordsEmbedder)
    library.add([str(tmp_path / "a.txt")], ["acme"])
    (tmp_path / "library" / "roots.json").write_text("{")
    with pytest.raises(ConfigError, match=r"roots\.json is damaged"):
        library.add([str(tmp_path / "a.txt")])


def test_settings_say_where_it_is(state_in_a_temporary_folder, tmp_path):
    assert open_library(Config()).folder == state_in_a_temporary_folder / "knowledge"
    settings = KnowledgeConfig(folder=str(tmp_path / "elsewhere"))
    assert open_library(Config(knowledge=settings)).folder == tmp_path / "elsewhere"


def test_importing_the_library_loads_nothing_heavy():
    import subprocess
    import sys

    heavy = {"lancedb", "pyarrow", "openvino", "numpy", "pypdfium2", "lxml", "selectolax", "docx", "pptx", "openpyxl"}
    code = "import sys, aigrid.knowledge.library, aigrid.gateway.app, aigrid.cli.app\nprint(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not heavy & set(loaded)


class Site(http.server.BaseHTTPRequestHandler):
    """Pages that behave, and pages that do not."""

    def do_GET(self):
        if self.path.startswith("/to?"):
            self.send_response(302)
            self.send_header("location", self.path[4:])
            self.end_headers()
            return
        self.send_response(404 if self.path == "/gone" else 200)
        self.send_header("content-type", "text/html; charset=utf-8")
        self.end_headers()
        if self.path == "/large":
            try:
                for _ in range(100):
                    self.wfile.write(b"x" * 100_000)
            except OSError:
                return
        self.wfile.write(b"<title>A page</title><p>Quinces are <b>hard</b>.</p>")

    def log_message(self, *args):
        pass


@pytest.fixture
def site():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_page_is_fetched_parsed_and_found(site, tmp_path):
    library = Library(tmp_path / "library", WordsEmbedder, fetch=lambda url, to: fetch.fetch_page(url, to, True))
    assert library.add([f"{site}/page"]).added == 1
    hit = library.search("quinces")[0]
    assert (hit.chunk.path, hit.chunk.title) == (f"{site}/page", "A page")
    assert "Quinces are hard." in hit.chunk.text
    assert library.add([f"{site}/page"]).unchanged == 1
    report = library.add([f"{site}/gone"])
    assert "404" in report.skipped[0].reason


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:{port}/",
        "http://localhost:{port}/",
        "http://[::1]:{port}/",
        "http://[::ffff:127.0.0.1]:{port}/",
        "http://0.0.0.0:{port}/",
        "http://2130706433:{port}/",
        "http://0x7f.1:{port}/",
        "http://10.0.0.1/",
        "http://169.254.169.254/latest/meta-data/",
        "http://100.64.0.1/",
        "http://[fe80::1%25lo]/",
        "http://[64:ff9b::7f00:1]/",
        "http://[2002:7f00:1::]/",
    ],
)
def test_no_address_inside_is_fetched(url, site, tmp_path):
    with pytest.raises(AigridError, match=r"not on the public Internet|no address is known"):
        fetch.fetch_page(url.format(port=site.rpartition(":")[2]), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700:4700::1111"])
def test_public_addresses_are_public(address):
    assert fetch.is_public(address)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://a/b", "gopher://a", "http://", "http://me:secret@a.b/"])
def test_only_plain_web_addresses_are_fetched(url, tmp_path):
    with pytest.raises(BadRequest):
        fetch.fetch_page(url, tmp_path)


def test_a_redirect_inside_is_refused(site, tmp_path, monkeypatch):
    inside = site.replace("127.0.0.1", "localhost")
    looked_up = fetch.is_public
    monkeypatch.setattr(fetch, "is_public", lambda address: not calls or looked_up(address))
    calls = []
    connect = fetch._connect

    def once(*args):
        connection = connect(*args)
        calls.append(args)
        return connection

    monkeypatch.setattr(fetch, "_connect", once)
    with pytest.raises(fetch.FetchError, match="not on the public Internet"):
        fetch.fetch_page(f"{site}/to?{inside}/page", tmp_path)
    assert len(calls) == 1


def test_redirects_end_and_sizes_are_held_to(site, tmp_path, monkeypatch):
    with pytest.raises(fetch.FetchError, match="redirects"):
        fetch.fetch_page(f"{site}/to?/to?/to?/to?/to?/to?/to?/page", tmp_path, True)
    assert fetch.fetch_page(f"{site}/to?/page", tmp_path, True).endswith(".html")
    monkeypatch.setattr(fetch, "MAX_BYTES", 1_000_000)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(fetch.FetchError, match="larger than"):
        fetch.fetch_page(f"{site}/large", tmp_path, True)
    assert sorted(tmp_path.iterdir()) == before
    monkeypatch.setattr(fetch, "WHOLE_S", 0.0)
    with pytest.raises(fetch.FetchError, match="took longer"):
        fetch.fetch_page(f"{site}/page", tmp_path, True)
