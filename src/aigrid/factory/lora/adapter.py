"""An adapter as a folder in PEFT's format: `peft` loads it, and vLLM serves it beside others over one base model."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from aigrid.core.errors import NotFound
from aigrid.factory.lora.load import Shape
from aigrid.factory.lora.model import Lora
from aigrid.factory.lora.settings import TARGETS

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"


def save(lora: Lora, state: Mapping[str, Tensor], base_name: str, folder: Path) -> None:
    """Write the adapter whose matrices are in `state` (a `Lora`'s state) into an existing folder."""
    from safetensors.torch import save_file

    tensors = {}
    for key, value in state.items():
        layer, target, side = _split(key)
        tensors[_peft_name(layer, target, side)] = value.detach().to("cpu", torch.float32).contiguous()
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    layers = sorted({_split(key)[0] for key in state})
    config: dict[str, Any] = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_name,
        "r": lora.rank,
        "lora_alpha": lora.alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "target_modules": list(lora.targets),
        "layers_to_transform": layers,
        "layers_pattern": "layers",
        "use_dora": False,
        "use_rslora": False,
    }
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + "\n")


def deltas(folder: Path, shape: Shape) -> dict[str, Tensor]:
    """Return what an adapter adds to each of the base's weights, under Hugging Face's names, in float32."""
    from safetensors.torch import load_file

    try:
        config = json.loads((folder / CONFIG).read_text())
        tensors = load_file(folder / WEIGHTS)
    except OSError as error:
        raise NotFound(f"{folder} holds no adapter ({error}): give the folder that training wrote") from error
    scale = config["lora_alpha"] / config["r"]
    found = {}
    for layer in range(shape.layers):
        for target in TARGETS:
            a = tensors.get(_peft_name(layer, target, "a"))
            b = tensors.get(_peft_name(layer, target, "b"))
            if a is not None and b is not None:
                name = _peft_name(layer, target, "a").removeprefix("base_model.model.").removesuffix(".lora_A.weight")
                found[f"{name}.weight"] = (b.float() @ a.float()) * scale
    return found


def _split(key: str) -> tuple[int, str, str]:
    layer, _, rest = key.removeprefix("pairs.").partition("_")
    return int(layer), rest[:-2], rest[-1]


def _peft_name(layer: int, target: str, side: str) -> str:
    part = "mlp" if target in ("gate_proj", "up_proj", "down_proj") else "self_attn"
    return f"base_model.model.model.layers.{layer}.{part}.{target}.lora_{side.upper()}.weight"
