"""Weights, shape and tokens of a base model, from a GGUF file or from a folder as Hugging Face writes it.

The GGUF file is the one that is served, so what is trained is exactly what the adapter is later merged into:
quantised weights are expanded, not replaced by some original.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from aigrid.core.errors import AigridError
from aigrid.factory.lora.tokens import Tokens, from_folder, from_gguf

FAMILIES = ("llama", "qwen2", "qwen3")


class BaseError(AigridError):
    """The base model is none that can be trained here."""

    default_code = "unsupported_model"


@dataclass(frozen=True)
class Shape:
    """The sizes of a decoder of the Llama family."""

    family: str
    layers: int
    width: int
    inner: int
    heads: int
    kv_heads: int
    head: int
    rope: float
    epsilon: float
    context: int

    @property
    def head_norms(self) -> bool:
        """Whether queries and keys are normalised per head."""
        return self.family == "qwen3"

    def sizes(self, target: str) -> tuple[int, int]:
        """Return the inputs and outputs of one of a layer's matrices."""
        return {
            "q_proj": (self.width, self.heads * self.head),
            "k_proj": (self.width, self.kv_heads * self.head),
            "v_proj": (self.width, self.kv_heads * self.head),
            "o_proj": (self.heads * self.head, self.width),
            "gate_proj": (self.width, self.inner),
            "up_proj": (self.width, self.inner),
            "down_proj": (self.inner, self.width),
        }[target]


@dataclass(frozen=True)
class Base:
    """A base model. The names and the layout of `weights` are Hugging Face's."""

    path: Path
    shape: Shape
    weights: dict[str, Tensor]
    tokens: Tokens


def load(path: Path) -> Base:
    """Read a base model; raises `BaseError` with what is wrong with it."""
    if not path.exists():
        raise BaseError(f"{path}: there is no such file; `aigrid models pull` fetches the built-in model")
    return _folder(path) if path.is_dir() else _gguf(path)


def _gguf(path: Path) -> Base:
    from aigrid.factory.lora import gguf_file

    reader = gguf_file.open_file(path)
    shape = gguf_file.shape(reader, path)
    weights = {}
    for tensor in reader.tensors:
        name = gguf_file.hf_name(tensor.name)
        if name is not None:
            weights[name] = torch.from_numpy(gguf_file.expand(tensor, shape))
    return Base(path, shape, weights, from_gguf(reader, path))


def _folder(path: Path) -> Base:
    from safetensors.torch import load_file

    try:
        config: dict[str, Any] = json.loads((path / "config.json").read_text())
    except (OSError, ValueError) as error:
        raise BaseError(
            f"{path} holds no readable config.json ({error}): it is no Hugging Face model folder"
        ) from error
    files = sorted(path.glob("*.safetensors"))
    if not files:
        raise BaseError(f"{path} holds no *.safetensors: save the model with `safe_serialization`")
    weights: dict[str, Tensor] = {}
    for file in files:
        weights.update(load_file(file))
    return Base(path, _shape(path, config), {name: w.float() for name, w in weights.items()}, from_folder(path))


def _shape(path: Path, config: dict[str, Any]) -> Shape:
    family = str(config.get("model_type", ""))
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if family not in FAMILIES or rope.get("rope_type", "default") != "default" or config.get("hidden_act") != "silu":
        raise BaseError(f"{path}: a `{family}` model of this kind cannot be trained here; known: {', '.join(FAMILIES)}")
    heads = int(config["num_attention_heads"])
    return Shape(
        family=family,
        layers=int(config["num_hidden_layers"]),
        width=int(config["hidden_size"]),
        inner=int(config["intermediate_size"]),
        heads=heads,
        kv_heads=int(config.get("num_key_value_heads") or heads),
        head=int(config.get("head_dim") or config["hidden_size"] // heads),
        rope=float(rope.get("rope_theta") or config.get("rope_theta") or 10000.0),
        epsilon=float(config["rms_norm_eps"]),
        context=int(config["max_position_embeddings"]),
    )
