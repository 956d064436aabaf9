"""A tiny BERT with random weights, for tests that need no download."""

import json
import struct

import numpy as np

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz", *"0123456789", *".,!?-"]
SIZES = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 48,
    "layer_norm_eps": 1e-12, "hidden_act": "gelu", "model_type": "bert",
}  # fmt: skip


def write(folder, **changes):
    """Write `config.json`, `tokenizer.json` and `model.safetensors` into `folder` and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    sizes = SIZES | changes
    vocab = {piece: number for number, piece in enumerate([*PIECES, *(f"##{letter}" for letter in PIECES[5:31])])}
    special = [{"id": vocab[piece], "content": piece} for piece in PIECES[:5]]
    (folder / "config.json").write_text(json.dumps(sizes))
    (folder / "tokenizer.json").write_text(json.dumps({"model": {"vocab": vocab}, "added_tokens": special}))
    safetensors(folder / "model.safetensors", tensors(sizes, len(vocab)))
    return folder


def tensors(sizes, vocabulary):
    random = np.random.default_rng(7)
    hidden, inner = sizes["hidden_size"], 4 * sizes["hidden_size"]
    found = {}

    def dense(name, rows, columns):
        found[f"{name}.weight"] = random.normal(0, 0.3, (rows, columns))
        found[f"{name}.bias"] = random.normal(0, 0.3, rows)

    def norm(name):
        found[f"{name}.weight"], found[f"{name}.bias"] = random.normal(1, 0.2, hidden), random.normal(0, 0.2, hidden)

    for name, rows in (("word", vocabulary), ("position", sizes["max_position_embeddings"]), ("token_type", 2)):
        found[f"embeddings.{name}_embeddings.weight"] = random.normal(0, 1, (rows, hidden))
    norm("embeddings.LayerNorm")
    for number in range(sizes["num_hidden_layers"]):
        layer = f"encoder.layer.{number}"
        for part in ("self.query", "self.key", "self.value", "output.dense"):
            dense(f"{layer}.attention.{part}", hidden, hidden)
        dense(f"{layer}.intermediate.dense", inner, hidden)
        dense(f"{layer}.output.dense", hidden, inner)
        norm(f"{layer}.attention.output.LayerNorm")
        norm(f"{layer}.output.LayerNorm")
    return {name: value.astype(np.float32) for name, value in found.items()}


def safetensors(path, found):
    header, at = {}, 0
    for name, value in found.items():
        header[name] = {"dtype": "F32", "shape": value.shape, "data_offsets": [at, at + value.nbytes]}
        at += value.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(value.tobytes() for value in found.values()))
