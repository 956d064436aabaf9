"""GGUF in terms of Hugging Face's names and layout, both ways, with numpy only."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gguf
import numpy as np

from aigrid.engines import gguf as header

if TYPE_CHECKING:
    from aigrid.factory.lora.load import Shape

_NAMES = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
_PARTS = {
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def open_file(path: Path) -> Any:
    """Return a reader of a GGUF file that the embedded engine can run; raises `GgufError` otherwise."""
    header.check(path)
    return gguf.GGUFReader(path)


def field(reader: Any, name: str, default: Any = None) -> Any:
    """Return a metadata value."""
    found = reader.get_field(name)
    return default if found is None else found.contents()


def shape(reader: Any, path: Path) -> "Shape":
    """Return the model's sizes; raises `BaseError` for positions that are scaled."""
    from aigrid.factory.lora.load import BaseError, Shape

    family = field(reader, "general.architecture")

    def number(name: str, default: Any = None) -> Any:
        return field(reader, f"{family}.{name}", default)

    if number("rope.scaling.type", "none") != "none" or any(t.name == "rope_freqs.weight" for t in reader.tensors):
        raise BaseError(f"{path.name} scales its positions, which cannot be trained here")
    heads, width = number("attention.head_count"), number("embedding_length")
    return Shape(
        family=family,
        layers=number("block_count"),
        width=width,
        inner=number("feed_forward_length"),
        heads=heads,
        kv_heads=number("attention.head_count_kv", heads),
        head=number("attention.key_length", width // heads),
        rope=number("rope.freq_base", 10000.0),
        epsilon=number("attention.layer_norm_rms_epsilon"),
        context=number("context_length"),
    )


def hf_name(name: str) -> str | None:
    """Return Hugging Face's name of a tensor; None for one that is no weight."""
    match = re.fullmatch(r"blk\.(\d+)\.(\w+)\.(weight|bias)", name)
    if match and match[2] in _PARTS:
        return f"model.layers.{match[1]}.{_PARTS[match[2]]}.{match[3]}"
    return _NAMES.get(name)


def expand(tensor: Any, sizes: "Shape") -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return a tensor's values in float32, with queries and keys in Hugging Face's order of rows."""
    values = gguf.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
    heads = _permuted(tensor.name, sizes)
    return _unpermute(values, heads) if heads else values


def shrink(values: np.ndarray[Any, Any], tensor: Any, sizes: "Shape", kind: Any) -> np.ndarray[Any, Any]:
    """Return values, in Hugging Face's order, as a tensor's bytes of type `kind`, in llama.cpp's order."""
    rows = ordered(values, tensor, sizes)
    stored: np.ndarray[Any, Any] = gguf.quantize(np.ascontiguousarray(rows, dtype=np.float32), kind)
    return stored


def ordered(rows: np.ndarray[Any, Any], tensor: Any, sizes: "Shape") -> np.ndarray[Any, Any]:
    """Return a tensor's rows, in Hugging Face's order, in llama.cpp's."""
    heads = _permuted(tensor.name, sizes)
    return _permute(rows, heads) if heads else rows


def _permuted(name: str, sizes: "Shape") -> int:
    """Return by how many heads llama.cpp reorders a tensor's rows, 0 for not at all.

    It reorders Llama's queries and keys, because it turns neighbours where Hugging Face turns halves.
    """
    part = name.rsplit(".", 2)[-2] if "." in name else ""
    if sizes.family != "llama" or part not in ("attn_q", "attn_k"):
        return 0
    return sizes.heads if part == "attn_q" else sizes.kv_heads


def _unpermute(values: np.ndarray[Any, Any], heads: int) -> np.ndarray[Any, Any]:
    half = values.shape[0] // heads // 2
    return np.ascontiguousarray(values.reshape(heads, half, 2, *values.shape[1:]).swapaxes(1, 2).reshape(values.shape))


def _permute(values: np.ndarray[Any, Any], heads: int) -> np.ndarray[Any, Any]:
    half = values.shape[0] // heads // 2
    return np.ascontiguousarray(values.reshape(heads, 2, half, *values.shape[1:]).swapaxes(1, 2).reshape(values.shape))
