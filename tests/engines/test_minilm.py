"""The encoder against plain numpy, with a tiny model everywhere and with the real one where it is."""

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aigrid.core.config import Config
from aigrid.core.errors import AigridError
from aigrid.core.models import resolve
from aigrid.engines import minilm
from aigrid.engines.minilm import MiniLm, batches
from aigrid.engines.minilm_reference import Reference
from tests.engines.minilm_model import write

MODEL = resolve("all-minilm-l6-v2", Config())
TEXTS = ["a cat", "", "the quick brown fox jumps over a lazy dog, 42 times!", "zz", "b " * 45, "a cat", "x" * 30]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def tiny(folder):
    return MiniLm(folder, precision="f32")


@pytest.fixture(scope="module")
def real():
    if not MODEL.present:
        pytest.skip("the model is not here: `aigrid models pull all-minilm-l6-v2` lets this run")
    return MiniLm(MODEL.path), Reference(MODEL.path)


def test_vectors_are_those_of_the_reference_in_order(tiny, folder) -> None:
    reference = Reference(folder)
    expected = np.stack([reference.embed_ids(tiny.tokens.encode(text, tiny.max_tokens)) for text in TEXTS])
    np.testing.assert_allclose(tiny.embed(TEXTS), expected, atol=2e-5)


def test_words_are_those_of_the_reference(tiny, folder) -> None:
    reference = Reference(folder)
    for text, (pieces, vectors) in zip(TEXTS, tiny.words(TEXTS), strict=True):
        last = reference.last_layer(tiny.tokens.encode(text, tiny.max_tokens))[1:-1]
        assert len(pieces) == len(vectors) == len(last)
        np.testing.assert_allclose(vectors, last / np.linalg.norm(last, axis=1, keepdims=True), atol=2e-5)


def test_no_texts_make_no_vectors(tiny) -> None:
    assert tiny.embed([]).shape == (0, 32)


def test_what_is_beyond_the_limit_is_not_read(tiny) -> None:
    long = tiny.embed(["a b c " * 100, "a b c " * 200])
    np.testing.assert_allclose(long[0], long[1], atol=1e-6)


def test_the_same_texts_give_the_same_bits(tiny) -> None:
    assert np.array_equal(tiny.embed(TEXTS * 9), tiny.embed(TEXTS * 9))


def test_threads_may_share_a_model(tiny) -> None:
    expected, wrong = tiny.embed(TEXTS), []

    def work() -> None:
        for _ in range(5):
            if not np.allclose(tiny.embed(TEXTS), expected, atol=1e-6):
                wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@given(st.lists(st.integers(2, 300), max_size=200))
def test_batches_hold_every_row_once_and_little_padding(lengths: list[int]) -> None:
    found = list(batches(lengths))
    assert sorted(row for rows in found for row in rows) == list(range(len(lengths)))
    for rows in found:
        widest = max(lengths[row] for row in rows)
        assert widest == lengths[rows[0]]
        assert len(rows) == 1 or len(rows) * widest <= minilm._BATCH_TOKENS


def test_the_real_model_agrees_with_the_reference(real) -> None:
    model, reference = real
    texts = ["What is the drag of a slender wing?", "東京タワーは高い。", "A text of some length. " * 30]
    expected = np.stack([reference.embed_ids(model.tokens.encode(text, model.max_tokens)) for text in texts])
    assert (model.embed(texts) * expected).sum(axis=1).min() > (0.9995 if model.precision == "bf16" else 0.99999)


def test_the_real_model_gives_the_published_vector(real) -> None:
    _, reference = real
    vector = reference.embed_ids([101, 2023, 2003, 2019, 2742, 6251, 102])  # "This is an example sentence"
    np.testing.assert_allclose(vector[:5], [0.0676569, 0.0634959, 0.0487131, 0.0793049, 0.0374480], atol=1e-5)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", b"{}"),
        ("config.json", b'{"model_type": "gpt2"}'),
        ("tokenizer.json", b"[]"),
        ("model.safetensors", b""),
        ("model.safetensors", b"\xff" * 64),
        ("model.safetensors", b"\x02" + b"\0" * 7 + b"{}"),
    ],
    ids=["no sizes", "another kind", "no tokenizer", "empty", "nonsense", "no tensors"],
)
def test_a_folder_that_holds_something_else_is_refused_in_words(tmp_path, name: str, content: bytes) -> None:
    (write(tmp_path) / name).write_bytes(content)
    with pytest.raises(AigridError) as caught:
        MiniLm(tmp_path)
    assert str(tmp_path) in caught.value.message


def test_another_activation_is_refused(tmp_path) -> None:
    with pytest.raises(AigridError, match="only BERT with gelu"):
        MiniLm(write(tmp_path, hidden_act="relu"))
