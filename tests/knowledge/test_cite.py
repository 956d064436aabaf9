"""Citations: what is quoted is there, at exactly those places, or it is not cited."""

from hypothesis import given, settings
from hypothesis import strategies as st

from aigrid.knowledge.base import Chunk
from aigrid.knowledge.cite import Citation, check, checked, cite, fold, locate

TEXTS = st.text(alphabet=st.sampled_from("ab \n\t.§ü退"), max_size=80)
PLAIN = "Refunds take\n  14 days. Fees are 3 %.\n\nRefunds take 14 days."


def _chunk(text: str, start: int) -> Chunk:
    return Chunk("c", "s", 0, text, start, start + len(text), "/a.md", page=2, line=7, last_line=9, heading=("Fees",))


def test_white_space_may_differ_and_offsets_are_the_sources_own():
    made = cite(1, _chunk(PLAIN, 0), "Refunds take 14 days.", PLAIN)
    assert made is not None
    assert (made.start, made.end) == (0, 23)
    assert made.quote == PLAIN[0:23]
    assert (made.page, made.line, made.last_line, made.heading) == (2, 7, 9, ("Fees",))


def test_of_two_places_the_one_in_the_chunk_is_cited():
    start = PLAIN.rindex("Refunds")
    made = cite(1, _chunk(PLAIN[start:], start), "Refunds take 14 days.", PLAIN)
    assert made is not None
    assert made.start == start


def test_what_is_not_there_is_not_cited():
    chunk = _chunk(PLAIN, 0)
    assert cite(1, chunk, "Refunds take 15 days.", PLAIN) is None
    assert cite(1, chunk, "refunds take 14 days.", PLAIN) is None
    assert cite(1, chunk, "Refunds take 14 days.", None) is None
    assert cite(1, chunk, " \n", PLAIN) is None


def test_a_citation_whose_source_changed_is_dropped():
    made = cite(1, _chunk(PLAIN, 0), "Fees are 3 %.", PLAIN)
    assert made is not None
    assert checked([made], lambda source: PLAIN) == [made]
    assert checked([made], lambda source: PLAIN.replace("3 %", "4 %")) == []
    assert checked([made], lambda source: None) == []


@settings(deadline=None)
@given(TEXTS, st.data())
def test_every_slice_of_a_text_is_found_where_it_says(text: str, data: st.DataObject):
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    span = locate(text[start:end], text, (start, end))
    if not text[start:end].strip():
        assert span is None
    else:
        assert span is not None
        assert start <= span[0] < span[1] <= end
        assert fold(text[span[0] : span[1]]) == fold(text[start:end])


@given(TEXTS, TEXTS)
def test_whatever_is_cited_checks_and_whatever_is_not_there_is_not_cited(quote: str, plain: str):
    made = cite(1, _chunk(plain, 0), quote, plain)
    words = quote.split()
    if made is not None:
        assert check(made, plain)
        assert fold(made.quote) == fold(quote)
    elif words:
        assert fold(quote) not in fold(plain)


@given(TEXTS, st.integers(-3, 90), st.integers(-3, 90), TEXTS)
def test_check_holds_only_where_the_span_is_the_quote(plain: str, start: int, end: int, quote: str):
    holds = check(Citation(1, "c", "s", "/a", start, end, quote), plain)
    inside = 0 <= start < end <= len(plain)
    assert holds == (inside and bool(quote.split()) and plain[start:end].split() == quote.split())
