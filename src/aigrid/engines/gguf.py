"""Read a GGUF file's header and refuse what the embedded engine would fail on, or silently get wrong.

OpenVINO's reader is narrow: three architectures, a handful of tensor types, byte-level BPE tokenizers with one of
a few splitting rules. A file outside that loads with an obscure error at best and mis-tokenises at worst.
"""

import mmap
import struct
from pathlib import Path
from typing import Any

import msgspec

from aigrid.core.errors import AigridError

ARCHITECTURES = ("llama", "qwen2", "qwen3")
TOKENIZERS = ("gpt2",)
SPLITTERS = ("qwen2", "smollm", "default")
"""Values of `tokenizer.ggml.pre` whose splitting rule the reader knows; it takes a wrong one for all others."""

READER_CONTEXT = 8192
"""Longest prompt, in tokens, that the tokenizer made from a GGUF file keeps whole."""

_WORKS = (
    "models that work: Llama-like with a Qwen2 or SmolLM tokenizer, Qwen2, Qwen2.5 and Qwen3, with tensors in "
    "F16, BF16, Q8_0, Q4_0, Q4_1, Q4_K or Q6_K; others work as exported OpenVINO folders"
)

# tensor type -> (name, weights per block, bytes per block)
_TYPES = {
    0: ("F32", 1, 4),
    1: ("F16", 1, 2),
    2: ("Q4_0", 32, 18),
    3: ("Q4_1", 32, 20),
    8: ("Q8_0", 32, 34),
    12: ("Q4_K", 256, 144),
    14: ("Q6_K", 256, 210),
    30: ("BF16", 1, 2),
}
_OTHER_TYPES = {
    6: "Q5_0", 7: "Q5_1", 9: "Q8_1", 10: "Q2_K", 11: "Q3_K", 13: "Q5_K", 15: "Q8_K", 16: "IQ2_XXS", 17: "IQ2_XS",
    18: "IQ3_XXS", 19: "IQ1_S", 20: "IQ4_NL", 21: "IQ3_S", 22: "IQ2_S", 23: "IQ4_XS", 29: "IQ1_M", 34: "TQ1_0",
    35: "TQ2_0", 39: "MXFP4",
}  # fmt: skip
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_LARGEST_COUNT = 1 << 24


class GgufError(AigridError):
    """The file is no model that the embedded engine can run."""

    default_code = "unsupported_model"


class Tensor(msgspec.Struct, frozen=True):
    """One tensor's place: `offset` is in bytes from the start of the data."""

    name: str
    shape: tuple[int, ...]
    type: int
    offset: int


class Header(msgspec.Struct, frozen=True):
    """What a GGUF file says about itself. Arrays are left out of `metadata`, their lengths are in `arrays`."""

    metadata: dict[str, Any]
    arrays: dict[str, int]
    tensors: list[Tensor]
    data_start: int
    size: int

    @property
    def architecture(self) -> str:
        """The model family, e.g. `llama`."""
        return str(self.metadata.get("general.architecture", ""))

    @property
    def context(self) -> int:
        """Context length in tokens that the model was made for."""
        return int(self.metadata.get(f"{self.architecture}.context_length", 2048))

    @property
    def vocabulary(self) -> int:
        """Number of tokens in the vocabulary."""
        return self.arrays.get("tokenizer.ggml.tokens", 0)


class _Reader:
    """A cursor over the mapped file that refuses to run past its end."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data, self.at, self.end = data, 0, len(data)

    def take(self, form: str) -> Any:
        size = struct.calcsize("<" + form)
        if self.at + size > self.end:
            raise EOFError
        values = struct.unpack_from("<" + form, self.data, self.at)
        self.at += size
        return values[0] if len(values) == 1 else values

    def skip(self, size: int) -> None:
        if size < 0 or self.at + size > self.end:
            raise EOFError
        self.at += size

    def string(self) -> str:
        length = self.take("Q")
        start = self.at
        self.skip(length)
        return bytes(self.data[start : self.at]).decode("utf-8", "replace")

    def value(self, kind: int) -> Any:
        if kind == _STRING:
            return self.string()
        if kind in _SCALARS:
            return self.take(_SCALARS[kind])
        raise ValueError(f"unknown value type {kind}")

    def array(self) -> int:
        kind, count = self.take("IQ")
        if kind == _STRING:
            for _ in range(count):
                self.skip(self.take("Q"))
        elif kind in _SCALARS:
            self.skip(count * struct.calcsize("<" + _SCALARS[kind]))
        else:
            raise ValueError(f"unknown array type {kind}")
        return int(count)


def read(path: Path) -> Header:
    """Return the header of a GGUF file; raises `GgufError` when it is none, or is damaged or cut short."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            if data[:4] != b"GGUF":
                raise GgufError(f"{path} is not a GGUF file: it does not begin with `GGUF`")
            try:
                return _parse(_Reader(data))
            except EOFError:
                raise GgufError(f"{path} is cut short inside its header; fetch it again") from None
            except (ValueError, struct.error) as error:
                raise GgufError(f"{path} has a damaged header ({error}); fetch it again") from error
    except ValueError as error:  # an empty file cannot be mapped
        raise GgufError(f"{path} is empty; fetch it again") from error
    except OSError as error:
        raise GgufError(f"cannot read {path}: {error.strerror}") from error


def _parse(reader: _Reader) -> Header:
    reader.skip(4)
    version = reader.take("I")
    if version not in (2, 3):
        raise ValueError(f"version {version}, known are 2 and 3")
    tensor_count, pair_count = reader.take("QQ")
    if tensor_count > _LARGEST_COUNT or pair_count > _LARGEST_COUNT:
        raise ValueError("absurd counts")
    metadata: dict[str, Any] = {}
    arrays: dict[str, int] = {}
    for _ in range(pair_count):
        key, kind = reader.string(), reader.take("I")
        if kind == _ARRAY:
            arrays[key] = reader.array()
        else:
            metadata[key] = reader.value(kind)
    tensors = []
    for _ in range(tensor_count):
        name, dimensions = reader.string(), reader.take("I")
        if not 1 <= dimensions <= 4:
            raise ValueError(f"tensor with {dimensions} dimensions")
        shape = tuple(reader.take("Q") for _ in range(dimensions))
        kind, offset = reader.take("IQ")
        tensors.append(Tensor(name, shape, kind, offset))
    alignment = int(metadata.get("general.alignment", 32))
    if alignment <= 0:
        raise ValueError(f"alignment {alignment}")
    start = -(-reader.at // alignment) * alignment
    return Header(metadata=metadata, arrays=arrays, tensors=tensors, data_start=start, size=reader.end)


def check(path: Path) -> Header:
    """Return the header of a file that the embedded engine can run; raises `GgufError` with the reason otherwise."""
    header = read(path)
    for problem in (_wrong_family(header), _wrong_tokenizer(header), _wrong_tensors(header)):
        if problem:
            raise GgufError(f"{path.name} {problem}; {_WORKS}")
    for tensor in header.tensors:
        _, per_block, block_bytes = _TYPES[tensor.type]
        weights = 1
        for dimension in tensor.shape:
            weights *= dimension
        end = header.data_start + tensor.offset + -(-weights // per_block) * block_bytes
        if end > header.size:
            raise GgufError(
                f"{path.name} is cut short: {tensor.name} ends at byte {end:,} of {header.size:,}; fetch it again"
            )
    return header


def _wrong_family(header: Header) -> str:
    if header.architecture not in ARCHITECTURES:
        return f"is a `{header.architecture}` model, which the embedded engine cannot run"
    missing = [key for key in ("block_count", "attention.head_count", "embedding_length")
               if f"{header.architecture}.{key}" not in header.metadata]  # fmt: skip
    return f"does not state its {header.architecture}.{missing[0]}" if missing else ""


def _wrong_tokenizer(header: Header) -> str:
    model = header.metadata.get("tokenizer.ggml.model", "none")
    if model not in TOKENIZERS:
        return f"has a `{model}` tokenizer, which the embedded engine would get wrong"
    splitter = header.metadata.get("tokenizer.ggml.pre", "none")
    if splitter not in SPLITTERS:
        return f"splits text by the `{splitter}` rule, which the embedded engine would get wrong"
    return "" if header.vocabulary else "has no vocabulary"


def _wrong_tensors(header: Header) -> str:
    if not header.tensors:
        return "has no tensors"
    bad = next((tensor for tensor in header.tensors if tensor.type not in _TYPES), None)
    if bad is None:
        return ""
    return (
        f"stores {bad.name} as {_OTHER_TYPES.get(bad.type, f'type {bad.type}')}, which the embedded engine cannot read"
    )
