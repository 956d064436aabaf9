"""The encoder in plain numpy: slow, in 32 bits, one text at a time. What the fast one is compared with."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from aigrid.engines.minilm_build import Shape, read_shape, read_tensors

Floats = npt.NDArray[np.float32]

_erf = np.vectorize(math.erf, otypes=[np.float32])


class Reference:
    """BERT, mean of the last layer, unit length."""

    def __init__(self, folder: Path) -> None:
        self.shape: Shape = read_shape(folder)
        self.tensors = read_tensors(folder / "model.safetensors")

    def embed_ids(self, ids: list[int]) -> Floats:
        """Return the unit vector of one list of token ids."""
        total = self.last_layer(ids).mean(axis=0)
        return _float(total / np.linalg.norm(total))

    def last_layer(self, ids: list[int]) -> Floats:
        """Return the last layer's vector of each token."""
        name = "embeddings"
        value = self._get(f"{name}.word_embeddings.weight")[ids]
        value = value + self._get(f"{name}.position_embeddings.weight")[: len(ids)]
        value = self._norm(value + self._get(f"{name}.token_type_embeddings.weight")[0], f"{name}.LayerNorm")
        for number in range(self.shape.num_hidden_layers):
            value = self._layer(value, f"encoder.layer.{number}")
        return value

    def _layer(self, value: Floats, name: str) -> Floats:
        heads = self.shape.num_attention_heads
        query, key, content = (
            self._dense(value, f"{name}.attention.self.{part}").reshape(len(value), heads, -1).transpose(1, 0, 2)
            for part in ("query", "key", "value")
        )
        scores = query @ key.transpose(0, 2, 1) / math.sqrt(query.shape[2])
        weights = np.exp(scores - scores.max(axis=2, keepdims=True))
        mixed = (weights / weights.sum(axis=2, keepdims=True)) @ content
        seen = self._dense(_float(mixed.transpose(1, 0, 2).reshape(len(value), -1)), f"{name}.attention.output.dense")
        value = self._norm(value + seen, f"{name}.attention.output.LayerNorm")
        inner = self._dense(value, f"{name}.intermediate.dense")
        inner = _float(inner * 0.5 * (1 + _erf(inner / math.sqrt(2))))
        return self._norm(value + self._dense(inner, f"{name}.output.dense"), f"{name}.output.LayerNorm")

    def _dense(self, value: Floats, name: str) -> Floats:
        return value @ self._get(f"{name}.weight").T + self._get(f"{name}.bias")

    def _norm(self, value: Floats, name: str) -> Floats:
        centred = value - value.mean(axis=1, keepdims=True)
        flat = centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + self.shape.layer_norm_eps)
        return _float(flat * self._get(f"{name}.weight") + self._get(f"{name}.bias"))

    def _get(self, name: str) -> Floats:
        return self.tensors[name]


def _float(value: Any) -> Floats:
    return np.asarray(value, np.float32)
