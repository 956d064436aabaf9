"""paper-insights: statements found, and a brief in which each stands on the page that it names."""

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from insights.brief import PAGE_WORDS, Brief, check, faithful, write
from insights.compare import pairs, quantities
from insights.evaluate import marked, misplaced, scores
from insights.find import judge, statements
from insights.read import BadPaper, Sentence, paper_of, read
from insights.tools import compare_papers, find_statements, list_papers, write_brief

from aigrid.knowledge.base import Block, Parsed
from tests.blueprints.conftest import BLUEPRINTS

HERE = BLUEPRINTS / "paper-insights"
FILES = sorted((HERE / "data" / "papers").glob("*.pdf"))


@pytest.fixture(scope="module")
def papers():
    return read(FILES)


@pytest.fixture(scope="module")
def found(papers):
    return [one for paper in papers for one in statements(paper)]


def test_the_papers_are_what_the_script_makes() -> None:
    place = importlib.util.spec_from_file_location("make_papers", HERE / "data" / "make_papers.py")
    assert place
    assert place.loader
    module = importlib.util.module_from_spec(place)
    place.loader.exec_module(module)
    texts = sorted((HERE / "data" / "text").glob("*.txt"))
    assert [path.stem for path in texts] == [path.stem for path in FILES] != []
    for text, file in zip(texts, FILES, strict=True):
        assert module.pdf(text.read_text()) == file.read_bytes()


def test_what_a_person_marked_is_found(papers, found) -> None:
    total = {kind: [0, 0, 0] for kind in ("claim", "method", "limit", "figure")}
    for paper, file in zip(papers, FILES, strict=True):
        gold = marked(HERE / "data" / "text" / f"{file.stem}.txt")
        for kind, counts in scores(paper, found, gold).items():
            total[kind] = [have + more for have, more in zip(total[kind], counts, strict=True)]
    assert total["limit"] == [7, 7, 7]
    assert total["figure"] == [6, 6, 6]
    for kind in ("claim", "method"):
        right, mine, theirs = total[kind]
        assert right / mine >= 0.9
        assert right / theirs >= 0.75


def test_every_statement_of_the_brief_is_on_the_page_it_names(papers, found) -> None:
    brief = write(papers, found)
    assert check(brief, papers) == misplaced(brief, papers, FILES) == []
    assert len(brief.lines) >= 15
    assert {line.paper for line in brief.lines} == {"A", "B", "C"}
    assert {line.page for line in brief.lines} == {1, 2}
    assert len(brief.markdown.split()) <= PAGE_WORDS


def test_what_is_wrong_with_a_brief_is_found(papers, found) -> None:
    brief = write(papers, found)
    first = brief.lines[0]

    def changed(old: str, new: str) -> list[str]:
        assert old in brief.markdown
        return check(Brief(brief.markdown.replace(old, new, 1), brief.lines), papers)

    assert "no citation" in changed(first.cited, first.text)[0]
    assert "no quote" in changed(first.cited, f"{first.text} [{first.paper}, p. 9]")[0]
    assert "no quote" in changed("8.5 °C", "9.5 °C")[0]
    assert check(brief, papers[1:])
    for name, value, why in (("page", 2, "not on page 2"), ("text", "Sails are cheap.", "not what the quote says")):
        line = type(first)(**{**vars(first), name: value})
        told = brief.markdown.replace(first.cited, line.cited)
        assert any(why in each for each in check(Brief(told, (line, *brief.lines[1:])), papers))


def test_a_model_that_makes_things_up_changes_nothing(papers, found) -> None:
    plain = write(papers, found)
    for lie in ("Sails lower temperature by 99 °C.", "", "Everything is [A, p. 1]", "No."):
        brief = write(papers, found, lambda quote, lie=lie: lie)
        assert (brief.markdown, brief.taken) == (plain.markdown, 0)
        assert brief.offered > 10


def test_a_model_that_shortens_faithfully_is_taken(papers, found) -> None:
    brief = write(papers, found, lambda quote: quote.replace(" therefore", ""))
    assert brief.taken >= 1
    assert check(brief, papers) == misplaced(brief, papers, FILES) == []


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("Air was 1.8 °C cooler under trees.", True),
        ("Air was 2.8 °C cooler under trees.", False),
        ("Air was cooler under trees.", False),
        ("Air was not 1.8 °C cooler under trees.", False),
        ("Air in Madrid was 1.8 °C cooler under trees.", False),
        ("Under trees the air was, as we have shown, on average 1.8 °C cooler than elsewhere in the sun.", False),
    ],
)
def test_fewer_words_must_bear_out_the_quote(text: str, good: bool) -> None:
    assert faithful(text, "Under trees the air was on average 1.8 °C cooler than in the sun.") is good


def test_pairs_are_of_different_papers_and_the_same_quantity(found) -> None:
    made = pairs(found, 3)
    assert any("radiant temperatur" in phrase for pair in made for phrase in pair.shared)
    assert all(pair.one.paper != pair.other.paper for pair in made)
    assert all({u for _, u in quantities(p.one.quote)} & {u for _, u in quantities(p.other.quote)} for p in made)


def test_what_others_found_and_what_follows_the_references_is_left_out() -> None:
    assert judge(Sentence("Trees lowered temperature by 2 °C [3].", 1, "1 Introduction"))[0] is None
    blocks = [
        Block("We found that trees cool streets better than paint.", heading=("3 Results",), page=1),
        Block("References", kind="heading", heading=("References",), page=2),
        Block("We found that paint cools better than trees. Journal of Paint.", heading=("References",), page=2),
    ]
    paper = paper_of("A", "a.pdf", Parsed(blocks, "Trees", "pdf"))
    assert [one.page for one in statements(paper)] == [1]
    assert paper.holds("Journal of Paint.", 2)
    assert not paper.holds("Journal of Paint.", 1)
    assert not paper.holds("", 1)


def test_a_file_that_is_no_paper_is_refused_by_name(tmp_path: Path) -> None:
    for name, data in (("broken.pdf", b"%PDF-1.4 nothing"), ("notes.txt", b"Some notes.")):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(BadPaper, match=name):
            read([tmp_path / name])
    with pytest.raises(BadPaper, match="no paper"):
        read([])


def test_the_agents_tools_tell_the_same() -> None:
    assert [each["paper"] for each in list_papers()] == ["A", "B", "C"]
    assert all(each["page"] in (1, 2) for each in find_statements("B", "limit"))
    assert compare_papers()[0]["one"]["paper"] == "A"
    assert write_brief()["wrong"] == []


def test_the_one_command_writes_the_brief(tmp_path: Path) -> None:
    def run(*args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, str(HERE / "run.py"), *args], capture_output=True, text=True)

    done = run("--out", str(tmp_path / "brief.md"))
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "brief.md").read_text() == done.stdout
    assert len(re.findall(r"\[[ABC], p\. [12]\]", done.stdout)) >= 15
    shown = json.loads(run("--json", str(FILES[0])).stdout)
    assert shown["wrong"] == []
    assert {one["kind"] for one in shown["statements"]} == {"claim", "method", "limit", "figure"}
    (tmp_path / "x.pdf").write_bytes(b"no")
    assert run(str(tmp_path / "x.pdf")).returncode == 2
