"""Build a BERT sentence encoder as an OpenVINO graph, from the weights alone: no torch, no exporter.

Inputs are `ids` (batch, length), padded with 0 on the right, and `lengths` (batch). Outputs are `vectors`, a unit
vector per row (the mean of the last layer over the real tokens), and `words`, a unit vector per token.
"""

import json
import struct
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import openvino as ov
import openvino.opset15 as op

from aigrid.core.errors import AigridError

Array = npt.NDArray[Any]

_TYPES = {"F32": np.float32, "F16": np.float16, "I64": np.int64, "I32": np.int32}


class Shape(msgspec.Struct, frozen=True):
    """The sizes of a BERT, under the names of its `config.json`."""

    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    max_position_embeddings: int
    layer_norm_eps: float
    hidden_act: str
    model_type: str


def read_shape(folder: Path) -> Shape:
    """Return the sizes in `config.json`; raises `AigridError` for a model of another kind."""
    try:
        shape = msgspec.json.decode((folder / "config.json").read_bytes(), type=Shape)
    except (OSError, msgspec.DecodeError) as error:
        raise AigridError(
            f"{folder} holds no config.json of a BERT model: {error}", code="unsupported_model"
        ) from error
    if shape.model_type != "bert" or shape.hidden_act != "gelu":
        raise AigridError(
            f"{folder} is a {shape.model_type} model with {shape.hidden_act}; only BERT with gelu is built here",
            code="unsupported_model",
        )
    return shape


def read_tensors(path: Path) -> dict[str, Array]:
    """Return the tensors of a `.safetensors` file, mapped and not read; raises `AigridError` for a broken one."""
    try:
        data = np.memmap(path, np.uint8, mode="r")
        (size,) = struct.unpack("<Q", data[:8].tobytes())
        header: dict[str, Any] = json.loads(data[8 : 8 + size].tobytes())
        tensors = {}
        for name, entry in header.items():
            if name != "__metadata__":
                start, end = (8 + size + offset for offset in entry["data_offsets"])
                tensors[name] = data[start:end].view(_TYPES[entry["dtype"]]).reshape(entry["shape"])
        return tensors
    except (OSError, struct.error, ValueError, KeyError, TypeError) as error:
        raise AigridError(f"{path} is not a whole .safetensors file: {error}", code="unsupported_model") from error


class _Graph:
    """The encoder under construction."""

    def __init__(self, tensors: dict[str, Array], shape: Shape) -> None:
        self.tensors = tensors
        self.shape = shape

    def __call__(self, name: str) -> Array:
        return self.tensors[name].astype(np.float32)

    def dense(self, value: Any, *names: str) -> Any:
        """Multiply by the matrices of one or more layers side by side, and add their biases."""
        weight = np.concatenate([self(f"{name}.weight") for name in names])
        bias = np.concatenate([self(f"{name}.bias") for name in names])
        return op.add(op.matmul(value, op.constant(weight), False, True), bias)

    def norm(self, value: Any, name: str) -> Any:
        flat = op.mvn(value, [-1], True, self.shape.layer_norm_eps, "inside_sqrt")
        return op.add(op.multiply(flat, self(f"{name}.weight")), self(f"{name}.bias"))

    def heads(self, value: Any) -> Any:
        """Turn (batch, length, hidden) into (batch, heads, length, hidden / heads)."""
        heads = self.shape.num_attention_heads
        return op.transpose(op.reshape(value, [0, 0, heads, self.shape.hidden_size // heads], True), [0, 2, 1, 3])

    def layer(self, value: Any, mask: Any, name: str) -> Any:
        parts = [f"{name}.attention.self.{part}" for part in ("query", "key", "value")]
        query, key, content = op.split(self.dense(value, *parts), 2, 3).outputs()
        mixed = op.scaled_dot_product_attention(self.heads(query), self.heads(key), self.heads(content), mask)
        flat = op.reshape(op.transpose(mixed, [0, 2, 1, 3]), [0, 0, self.shape.hidden_size], True)
        value = self.norm(
            op.add(value, self.dense(flat, f"{name}.attention.output.dense")), f"{name}.attention.output.LayerNorm"
        )
        inner = op.gelu(self.dense(value, f"{name}.intermediate.dense"), "erf")
        return self.norm(op.add(value, self.dense(inner, f"{name}.output.dense")), f"{name}.output.LayerNorm")


def build(tensors: dict[str, Array], shape: Shape) -> ov.Model:
    """Return the graph."""
    graph = _Graph(tensors, shape)
    ids = op.parameter([-1, -1], np.int32, name="ids")
    lengths = op.parameter([-1], np.int32, name="lengths")
    for parameter in (ids, lengths):
        parameter.output(0).get_tensor().set_names({parameter.friendly_name})
    length = op.gather(op.shape_of(ids, "i32"), op.constant(np.int32(1)), op.constant(np.int32(0)))
    places = op.range(op.constant(np.int32(0)), length, op.constant(np.int32(1)), "i32")
    real = op.convert(op.less(op.unsqueeze(places, [0]), op.unsqueeze(lengths, [1])), "f32")
    mask = op.multiply(
        op.subtract(op.constant(np.float32(1)), op.unsqueeze(real, [1, 2])), op.constant(np.float32(-1e4))
    )

    known = op.gather(op.constant(graph("embeddings.word_embeddings.weight")), ids, op.constant(np.int32(0)))
    fixed = graph("embeddings.position_embeddings.weight") + graph("embeddings.token_type_embeddings.weight")[:1]
    value = op.add(known, op.gather(op.constant(fixed), places, op.constant(np.int32(0))))
    value = graph.norm(value, "embeddings.LayerNorm")
    for number in range(shape.num_hidden_layers):
        value = graph.layer(value, mask, f"encoder.layer.{number}")
    total = op.squeeze(op.matmul(op.unsqueeze(real, [1]), value, False, False), [1])
    vectors = op.normalize_l2(total, op.constant(np.array([1])), 1e-12, "max")
    words = op.normalize_l2(value, op.constant(np.array([2])), 1e-12, "max")
    return ov.Model([vectors, words], [ids, lengths], "sentence-encoder")
