import struct

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aigrid.engines import gguf

META = {
    "general.architecture": "llama",
    "llama.block_count": 1,
    "llama.embedding_length": 32,
    "llama.attention.head_count": 1,
    "llama.context_length": 4096,
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": "smollm",
    "tokenizer.ggml.tokens": ["a", "b", "c"],
}
TENSORS = [("token_embd.weight", (32, 3), 8), ("output_norm.weight", (32,), 0), ("blk.0.ffn_up.weight", (32, 32), 3)]
SIZES = {0: (1, 4), 3: (32, 20), 8: (32, 34), 13: (256, 176)}


def text(value):
    return struct.pack("<Q", len(value)) + value.encode()


def file(meta=None, tensors=TENSORS, version=3):
    """Return the bytes of a GGUF file; a None in `meta` leaves a key out."""
    pairs = {key: value for key, value in {**META, **(meta or {})}.items() if value is not None}
    out = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(pairs))
    for key, value in pairs.items():
        out += text(key)
        if isinstance(value, str):
            out += struct.pack("<I", 8) + text(value)
        elif isinstance(value, list):
            out += struct.pack("<IIQ", 9, 8, len(value)) + b"".join(text(item) for item in value)
        else:
            out += struct.pack("<II", 4, value)
    size = 0
    for name, shape, kind in tensors:
        out += text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, size)
        per_block, block = SIZES[kind]
        weights = 1
        for dimension in shape:
            weights *= dimension
        size += -(-weights // per_block * block) // 32 * 32
        size = -(-size // 32) * 32
    return out + b"\0" * (-len(out) % 32) + b"\0" * size


@pytest.fixture
def write(tmp_path):
    def make(data):
        path = tmp_path / "model.gguf"
        path.write_bytes(data)
        return path

    return make


def test_a_model_that_works_passes_and_tells_about_itself(write):
    header = gguf.check(write(file()))
    assert (header.architecture, header.context, header.vocabulary) == ("llama", 4096, 3)
    assert [tensor.name for tensor in header.tensors] == [name for name, _, _ in TENSORS]


@pytest.mark.parametrize(
    ("meta", "tensors", "says"),
    [
        ({"general.architecture": "gemma3"}, TENSORS, "is a `gemma3` model"),
        ({"tokenizer.ggml.model": "llama"}, TENSORS, "has a `llama` tokenizer"),
        ({"tokenizer.ggml.pre": "llama-bpe"}, TENSORS, "splits text by the `llama-bpe` rule"),
        ({"tokenizer.ggml.tokens": None}, TENSORS, "has no vocabulary"),
        ({"llama.block_count": None}, TENSORS, "does not state its llama.block_count"),
        ({}, [*TENSORS, ("blk.0.attn_q.weight", (256, 1), 13)], "stores blk.0.attn_q.weight as Q5_K"),
        ({}, [], "has no tensors"),
    ],
)
def test_what_the_engine_cannot_do_is_refused_with_what_works(write, meta, tensors, says):
    with pytest.raises(gguf.GgufError, match=says) as caught:
        gguf.check(write(file(meta, tensors)))
    assert "Qwen2.5" in caught.value.message


def test_a_file_cut_short_is_refused_wherever_it_ends(write):
    data = file()
    for size in [*range(0, len(data), 7), len(data) - 1]:
        with pytest.raises(gguf.GgufError):
            gguf.check(write(data[:size]))


def test_other_files_are_refused(write, tmp_path):
    for data in (b"", b"PK\x03\x04 zip", b"GGUF" + b"\xff" * 40, file(version=1)):
        with pytest.raises(gguf.GgufError):
            gguf.check(write(data))
    with pytest.raises(gguf.GgufError, match="cannot read"):
        gguf.check(tmp_path / "missing.gguf")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=200)
@given(place=st.integers(0, len(file()) - 1), byte=st.integers(0, 255))
def test_a_damaged_byte_is_refused_with_a_sentence_or_harmless(write, place, byte):
    data = bytearray(file())
    data[place] = byte
    try:
        gguf.check(write(bytes(data)))
    except gguf.GgufError as error:
        assert error.message  # noqa: PT017 - any other exception fails the test
