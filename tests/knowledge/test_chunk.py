from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from aigrid.knowledge.base import Block, Chunk, Parsed, Source
from aigrid.knowledge.chunk import chunks_of
from aigrid.knowledge.language import estimate_tokens
from aigrid.knowledge.parse import parse

SOURCE = Source("src_1", "/notes/x.md", "d")

words = st.text(alphabet="abc de.!?\n、。あ漢|-", max_size=400)
blocks = st.lists(
    st.builds(
        Block,
        words,
        st.sampled_from(["text", "heading", "table", "code", "list"]),
        st.lists(st.sampled_from(["A", "B", "C"]), max_size=3).map(tuple),
        st.none() | st.integers(1, 3),
        st.none() | st.integers(1, 100),
    ),
    max_size=12,
)


def of(text: str, name: str = "x.md", **more: int) -> tuple[str, list[Chunk]]:
    return chunks_of(SOURCE, parse(text.encode(), name), **more)


@settings(deadline=None)
@given(blocks, st.integers(8, 200))
def test_every_chunk_stands_where_it_says(found: list[Block], target: int) -> None:
    plain, chunks = chunks_of(SOURCE, Parsed(found), target_tokens=target)
    end = 0
    for position, chunk in enumerate(chunks):
        assert plain[chunk.start : chunk.end] == chunk.text
        assert chunk.text.strip()
        assert chunk.position == position
        assert chunk.end > end, "chunks go forward"
        assert not plain[end : chunk.start].strip(), "nothing is left out between chunks"
        end = chunk.end
    assert not plain[end:].strip()
    assert len({chunk.id for chunk in chunks}) == len(chunks)


@settings(deadline=None)
@given(blocks)
def test_nothing_that_was_parsed_is_lost(found: list[Block]) -> None:
    plain, _ = chunks_of(SOURCE, Parsed(found))
    for block in found:
        for line in block.text.split("\n"):
            assert line.strip() in plain


def test_chunks_fit_the_window_of_the_embedder() -> None:
    text = "# Title\n\n" + " ".join(f"This is sentence number {n} of a long paragraph." for n in range(400))
    _, chunks = of(text)
    assert all(estimate_tokens(f"{chunk.context} {chunk.text}") <= 256 for chunk in chunks)
    assert all(estimate_tokens(chunk.text) > 100 for chunk in chunks[:-1])


def test_chunks_of_chinese_and_japanese_fit_too() -> None:
    _, chunks = of("駅から歩いて五分のところに、小さな本屋があります。" * 100, "x.txt")
    assert len(chunks) > 5
    assert all(estimate_tokens(chunk.text) <= 210 for chunk in chunks)
    assert all(chunk.text.endswith("。") for chunk in chunks)


def test_a_long_section_is_cut_at_sentences_with_a_little_overlap() -> None:
    sentences = [f"Sentence {n} says something of its own about the matter at hand." for n in range(60)]
    _, chunks = of(" ".join(sentences), "x.txt")
    for one, two in pairwise(chunks):
        assert one.text.endswith(".")
        assert two.start < one.end, "cut within a section: overlap"
        assert estimate_tokens(one.text[two.start - one.start :]) <= 32


def test_sections_are_not_mixed_once_they_are_long_enough() -> None:
    section = "Words about this part, and nothing else, in a sentence of some length. " * 8
    _, chunks = of(f"# A\n\n{section}\n\n# B\n\n{section}\n")
    assert [chunk.heading for chunk in chunks] == [("A",), ("B",)]
    assert chunks[1].text.startswith("B\n\n")
    assert chunks[1].start == chunks[0].end + 2, "no overlap between sections"


def test_short_sections_share_a_chunk() -> None:
    _, chunks = of("# Top\n\n## A\n\nOne.\n\n## B\n\nTwo.\n")
    assert len(chunks) == 1
    assert chunks[0].heading == ("Top",)


def test_long_tables_are_split_by_rows_under_their_header() -> None:
    rows = [f"| item {n} with some more words | town {n} | {n} |" for n in range(100)]
    _, chunks = of("| item | town | price |\n|---|---|---|\n" + "\n".join(rows))
    assert len(chunks) > 5
    assert all(chunk.text.startswith("item | town | price\n") for chunk in chunks)
    assert all(chunk.kind == "table" for chunk in chunks)
    for chunk in chunks[1:]:
        assert chunk.line is not None
        first = chunk.text.split("\n")[1]
        assert first.split(" | ")[0].strip() in rows[chunk.line - 3]
    assert chunks[-1].last_line == 102


def test_lines_and_pages_are_those_of_the_file() -> None:
    text = "\n".join(f"line {n} of the file, which is a sentence." for n in range(1, 200))
    _, chunks = of(text, "x.txt")
    for chunk in chunks:
        assert chunk.line is not None
        assert f"line {chunk.line} of" in chunk.text.split("\n")[0]
        assert f"line {chunk.last_line} of" in chunk.text.split("\n")[-1]


def test_slides_do_not_share_a_chunk() -> None:
    slides = [Block(f"Point {n}.", page=n) for n in (1, 2, 3)]
    _, chunks = chunks_of(SOURCE, Parsed(slides, kind="pptx"))
    assert [chunk.page for chunk in chunks] == [1, 2, 3]


def test_unchanged_chunks_keep_their_ids() -> None:
    def section(name: str, word: str) -> str:
        return f"## {name}\n\n" + f"A sentence about {word} that is long enough to matter here. " * 10 + "\n\n"

    _, before = of("# T\n\n" + section("A", "ants") + section("B", "bees") + section("C", "cats"))
    _, after = of("# T\n\n" + section("A", "ants") + section("B", "birds") + section("C", "cats"))
    same = {chunk.id for chunk in before} & {chunk.id for chunk in after}
    assert len(same) == len(before) - sum("bees" in chunk.text for chunk in before) > 0
    assert {chunk.id for chunk in of("words", "x.txt")[1]}.isdisjoint(
        chunk.id for chunk in chunks_of(Source("src_2", "/y", "d"), parse(b"words", "x.txt"))[1]
    )


def test_a_line_that_leads_on_stays_with_what_follows() -> None:
    filler = "This sentence only fills the chunk up to where it is nearly full of words. " * 10
    _, chunks = of(f"{filler}\n\nRun it like this:\n\n```\n" + "command --option value\n" * 20 + "```\n")
    assert any(chunk.text.startswith("Run it like this:\n\ncommand") for chunk in chunks)


def test_readers_and_path_come_from_the_source() -> None:
    source = Source("s", "/secret.txt", "d", title="Plans", readers=("ten_1",))
    (chunk,) = chunks_of(source, parse(b"words", "x.txt"))[1]
    assert (chunk.readers, chunk.path, chunk.context) == (("ten_1",), "/secret.txt", "Plans")
