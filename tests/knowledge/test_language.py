"""Words and sentences in English, Chinese and Japanese."""

import time
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aigrid.knowledge.language import estimate_tokens, normalise, query_terms, sentence_spans, sentences, terms
from aigrid.knowledge.postings import Postings, term_hash
from aigrid.knowledge.stem import stem


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("caresses", "caress"),
        ("ponies", "poni"),
        ("agreed", "agre"),
        ("plastered", "plaster"),
        ("sing", "sing"),
        ("conflated", "conflat"),
        ("hopping", "hop"),
        ("falling", "fall"),
        ("filing", "file"),
        ("happy", "happi"),
        ("relational", "relat"),
        ("triplicate", "triplic"),
        ("electrical", "electr"),
        ("replacement", "replac"),
        ("adoption", "adopt"),
        ("probate", "probat"),
        ("rate", "rate"),
        ("controll", "control"),
        ("generalizations", "gener"),
        ("café", "café"),
        ("m2", "m2"),
    ],
)
def test_stems_are_those_of_porters_paper(word: str, expected: str) -> None:
    assert stem(word) == expected


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("The WINGS", "the wing"),
        ("ＡＢＣ１２３", "abc123"),
        ("ｺﾝﾋﾟｭｰﾀ", "コンピュータ"),
        ("ﬁnancial", "financial"),
        ("the bank's", "the bank"),
        ("the bank’s", "the bank's"),
        ("1,000,000", "1000000"),
        ("Straße", "strasse"),
        ("㍿", "株式会社"),
    ],
)
def test_different_ways_to_write_are_one_term(one: str, other: str) -> None:
    assert terms(one) == terms(other)


def test_names_with_parts_are_found_whole_and_in_parts() -> None:
    assert terms("open_bank_account_4821()") == ["open_bank_account_4821", "open", "bank", "account", "4821"]
    assert terms("version 2.5, mach 3") == ["version", "2.5", "mach", "3"]


def test_cjk_runs_become_pairs_and_single_characters() -> None:
    assert terms("東京都") == ["東", "京", "都", "東京", "京都"]
    assert query_terms("東京都") == ["東京", "京都"]
    assert query_terms("水") == ["水"]
    assert query_terms("AI工場の電力") == ["ai", "工場", "場の", "の電", "電力"]


def test_queries_leave_stop_words_out_unless_nothing_else_is_there() -> None:
    assert query_terms("What is the lift of a wing?") == ["lift", "wing"]
    assert query_terms("to be or not to be") == ["to", "be", "or", "not", "to", "be"]
    assert query_terms("?!") == []


@given(st.text(max_size=200))
def test_what_a_query_asks_for_is_what_the_same_text_has(text: str) -> None:
    assert set(query_terms(text)) <= set(terms(text))
    assert all(term and not any(letter.isspace() for letter in term) for term in terms(text))


@given(st.text(alphabet="wing東京 AB1._'’é\n", max_size=80))
def test_terms_do_not_depend_on_what_stands_in_other_lines(text: str) -> None:
    assert terms(text + "\n。") == terms(text)


@given(st.text(max_size=80))
def test_normalising_twice_changes_nothing_for_words(text: str) -> None:
    assert terms(normalise(normalise(text))) == terms(normalise(text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It rained. We left! Why?", ["It rained.", "We left!", "Why?"]),
        ("Dr. Smith paid $3.50, e.g. for tea. Then J. Doe left.", 2),
        ("“Really?” she asked. He nodded.", ["“Really?”", "she asked.", "He nodded."]),
        ("东京是首都。人口很多！「是吗？」他问。", ["东京是首都。", "人口很多！", "「是吗？」", "他问。"]),
        ("東京は首都です。人口は多い！本当？", ["東京は首都です。", "人口は多い！", "本当？"]),
        ("ＡＩは便利だ｡電力も使う。", ["ＡＩは便利だ｡", "電力も使う。"]),
        ("A list:\n- one\n- two\n\nA paragraph", ["A list:", "- one", "- two", "A paragraph"]),
        ("the flow is steady .  the lift is not .", ["the flow is steady .", "the lift is not ."]),
        ("1. First step.\n2. Second step.", ["1. First step.", "2. Second step."]),
        ("", []),
    ],
)
def test_sentences(text: str, expected: list[str] | int) -> None:
    found = sentences(text)
    assert len(found) == expected if isinstance(expected, int) else found == expected


@given(st.text(alphabet="ab .!?。！\n-「」1", max_size=60))
def test_sentences_are_in_order_and_leave_out_nothing_but_space(text: str) -> None:
    spans = sentence_spans(text)
    assert all(first[1] <= second[0] for first, second in pairwise(spans))
    assert "".join("".join(text[start:end].split()) for start, end in spans) == "".join(text.split())


def test_token_estimates_follow_script() -> None:
    assert estimate_tokens("東京都庁") == 4
    assert estimate_tokens("x" * 42) == 10
    assert estimate_tokens("") == 0


@given(st.lists(st.text(alphabet="wing wings. The_x1 2.5,()'’é東京都ｱ\u00a0\n", max_size=60), max_size=5))
def test_what_is_indexed_is_what_terms_says(texts: list[str]) -> None:
    made = Postings.of(texts)
    ends = made.sizes.cumsum()
    for text, end, size in zip(texts, ends, made.sizes, strict=True):
        span = slice(end - size, end)
        counted = dict(zip(made.hashes[span].tolist(), made.counts[span].tolist(), strict=True))
        assert counted == {term_hash(term): often for term, often in Counter(terms(text)).items()}


@pytest.mark.parametrize("text", ["ab cd. " * 60_000, "." * 60_000 + "x", "1. " * 60_000, ".)" * 60_000 + "x"])
def test_sentences_of_a_long_text_take_time_in_proportion(text: str) -> None:
    began = time.process_time()
    assert "".join("".join(sentences(text)).split()) == "".join(text.split())
    assert time.process_time() - began < 25
