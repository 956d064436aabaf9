"""An adapter merged into its base model's GGUF file: one file that every engine for GGUF loads.

OpenVINO GenAI ignores an adapter over a model that it loaded from GGUF, without an error; hence the merge. All
metadata (tokenizer, chat template, sizes) are copied byte for byte; only the adapted matrices are written anew.
"""

import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import gguf
from torch import Tensor

from aigrid.core.errors import BadRequest
from aigrid.factory.lora import adapter as adapters
from aigrid.factory.lora import gguf_file
from aigrid.factory.lora.blocks import Blocks
from aigrid.factory.lora.compensate import compensated
from aigrid.factory.lora.load import BaseError, load
from aigrid.factory.lora.settings import Row

Kind = gguf.GGMLQuantizationType
KINDS = {"Q4_0": Kind.Q4_0, "Q4_1": Kind.Q4_1, "Q8_0": Kind.Q8_0, "F16": Kind.F16, "BF16": Kind.BF16}
"""What an adapted matrix can be stored as: what both this and the embedded engine know."""
AUTO = "auto"
_FOUR = 5.0
"""Bits per weight of four-bit types, at most, with what they keep per block."""
_FILE_TYPES = {Kind.Q4_0: 2, Kind.Q4_1: 3, Kind.Q8_0: 7, Kind.F16: 1, Kind.BF16: 32}


def merge(base: Path, adapter: Path, target: Path, store_as: str = AUTO, calibrate: Sequence[Row] = ()) -> Path:
    """Write the base model with an adapter added to its weights as the GGUF file `target`; return it.

    `store_as` is the type of the adapted matrices, or `same` to keep each one's own. Four bits are too coarse for
    what a short training changes: most of it would be rounded away. Give the rows that were learnt as `calibrate`,
    and `Q4_1` is rounded so that the model does on them what it did (see docs/explanation/training.md); no other
    type needs them. `auto` is `Q4_1` with such rows over a base of four bits per weight, else `Q8_0`.
    Raises `BadRequest` for a type that cannot be written, `BaseError` where the adapter fits another model.
    """
    if store_as not in (AUTO, "same") and store_as not in KINDS:
        raise BadRequest(f"store_as `{store_as}`: use {AUTO}, same, {', '.join(KINDS)}", param="store_as")
    reader = gguf_file.open_file(base)
    sizes = gguf_file.shape(reader, base)
    added = adapters.deltas(adapter, sizes)
    names = {gguf_file.hf_name(tensor.name): tensor for tensor in reader.tensors}
    if not added or any(name not in names or _shape(names[name]) != delta.shape for name, delta in added.items()):
        raise BaseError(f"the adapter in {adapter} does not fit {base.name}: it was trained on another base model")
    if store_as == AUTO:
        store_as = "Q4_1" if calibrate and all(_bits(names[name]) <= _FOUR for name in added) else "Q8_0"
    blocks = compensated(load(base), added, calibrate) if calibrate and store_as == "Q4_1" else {}
    kinds = {tensor.name: _kind(tensor, gguf_file.hf_name(tensor.name) in added, store_as) for tensor in reader.tensors}
    rough = target.with_name(target.name + ".part")
    rough.parent.mkdir(parents=True, exist_ok=True)
    with rough.open("wb") as file:
        file.write(_head(reader, base, kinds))
        for data in _data(reader, sizes, added, blocks, kinds):
            file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(rough, target)
    return target


def _bits(tensor: Any) -> float:
    block, width = gguf.GGML_QUANT_SIZES[tensor.tensor_type]
    return float(8 * width / block)


def _shape(tensor: Any) -> tuple[int, ...]:
    return tuple(int(size) for size in reversed(tensor.shape))


def _kind(tensor: Any, adapted: bool, store_as: str) -> Any:
    if not adapted:
        return tensor.tensor_type
    kind = tensor.tensor_type if store_as == "same" else KINDS[store_as]
    if kind not in KINDS.values():
        raise BadRequest(
            f"{tensor.name} is {kind.name}, which cannot be written: choose a `store_as`", param="store_as"
        )
    return kind


def _data(
    reader: Any, sizes: Any, added: Mapping[str, Tensor], blocks: Mapping[str, Blocks], kinds: Mapping[str, Any]
) -> Iterator[bytes]:
    """Yield each tensor's bytes, filled up to the alignment."""
    for tensor in reader.tensors:
        name = gguf_file.hf_name(tensor.name) or ""
        if name in blocks:
            data = gguf_file.ordered(blocks[name].packed(), tensor, sizes).tobytes()
        elif name in added:
            values = gguf_file.expand(tensor, sizes) + added[name].numpy()
            data = gguf_file.shrink(values, tensor, sizes, kinds[tensor.name]).tobytes()
        else:
            data = tensor.data.tobytes()
        yield data + bytes(-len(data) % reader.alignment)


def _head(reader: Any, base: Path, kinds: Mapping[str, Any]) -> bytes:
    """Return all that comes before the data: the base's metadata, then the tensors' new types and places."""
    start = reader.tensors[0].field.offset
    with base.open("rb") as file:
        head = bytearray(file.read(start))
    if (own := reader.get_field("general.file_type")) is not None:
        at = own.offset + sum(int(part.nbytes) for part in own.parts[: own.data[0]])
        common = max(set(kinds.values()), key=list(kinds.values()).count)
        struct.pack_into("<I", head, at, _FILE_TYPES.get(common, int(own.contents())))
    offset = 0
    for tensor in reader.tensors:
        name, kind = tensor.name.encode(), kinds[tensor.name]
        block, width = gguf.GGML_QUANT_SIZES[kind]
        head += struct.pack("<Q", len(name)) + name + struct.pack("<I", len(tensor.shape))
        head += struct.pack(f"<{len(tensor.shape)}Q", *(int(size) for size in tensor.shape))
        head += struct.pack("<IQ", int(kind), offset)
        size = int(tensor.n_elements) // block * width
        offset += size + -size % reader.alignment
    return bytes(head) + bytes(-len(head) % reader.alignment)
