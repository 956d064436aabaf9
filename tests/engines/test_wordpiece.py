"""Tokens are those of the model's own tokenizer: compared with the library that BERT models are published with."""

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aigrid.core.config import Config
from aigrid.core.errors import AigridError
from aigrid.core.models import resolve
from aigrid.engines.wordpiece import WordPiece
from tests.engines.minilm_model import PIECES, write

MODEL = resolve("all-minilm-l6-v2", Config())
LONG = 1 << 20


def settled(char: str) -> bool:
    """Whether a character is the same in every version of Unicode, which the library and Python do not share."""
    return unicodedata.ucd_3_2_0.category(char) == unicodedata.category(char)


texts = st.lists(
    st.one_of(
        st.text(st.characters(exclude_categories=["Cs"]).filter(settled), max_size=12),
        st.sampled_from(["[CLS]", "[MASK]x", "a-b", "École", "ΑΣ", "東京タワー", "가각", "İ", "\x00\t\x85", "ab" * 51]),
        st.sampled_from(PIECES),
    ),
    max_size=8,
).map(" ".join)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Ours and the library's, with a small vocabulary."""
    tokenizers = pytest.importorskip("tokenizers", reason="the library to compare with is not installed")
    ours = WordPiece(write(tmp_path_factory.mktemp("tiny")) / "tokenizer.json")
    vocab = {piece: number for number, piece in enumerate(ours.pieces(range(ours.size)))}
    theirs = tokenizers.Tokenizer(tokenizers.models.WordPiece(vocab, unk_token="[UNK]"))
    theirs.normalizer = tokenizers.normalizers.BertNormalizer()
    theirs.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    theirs.add_special_tokens(PIECES[:5])
    return ours, theirs


@given(text=texts)
@example(text="don't [SEP] stop[CLS]")
def test_any_text_has_the_same_tokens_as_in_the_library(pair, text: str) -> None:
    ours, theirs = pair
    assert ours.encode(text, LONG)[1:-1] == theirs.encode(text).ids


@given(text=texts, limit=st.integers(2, 40))
def test_a_limit_cuts_the_text_and_keeps_both_ends(pair, text: str, limit: int) -> None:
    ours, _ = pair
    whole = ours.encode(text, LONG)
    assert ours.encode(text, limit) == (whole if len(whole) <= limit else [*whole[: limit - 1], ours.last])


def test_a_word_without_end_costs_nothing_but_itself(pair) -> None:
    ours, _ = pair
    assert ours.encode("a" * 1_000_000, 8) == [ours.first, 1, ours.last]
    assert max(map(len, ours._words), default=0) <= 100


@pytest.mark.skipif(not MODEL.present, reason="the model is not here: `aigrid models pull all-minilm-l6-v2`")
def test_published_ids_of_the_real_vocabulary() -> None:
    words = WordPiece(MODEL.path / "tokenizer.json")
    assert words.encode("Hello, world!", 256) == [101, 7592, 1010, 2088, 999, 102]
    assert words.pieces(words.encode("unaffable", 256)) == ["[CLS]", "una", "##ffa", "##ble", "[SEP]"]


@pytest.mark.parametrize("content", ["", "{}", '{"model": {"vocab": {"a": 1}}}', '{"model": 3}'])
def test_a_file_of_another_kind_is_refused(tmp_path, content: str) -> None:
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(AigridError, match="not a BERT tokenizer"):
        WordPiece(tmp_path / "tokenizer.json")
