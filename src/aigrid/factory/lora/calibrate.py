"""Measure, at the start of a run, what is fastest here: how many threads, and float32 or bfloat16."""

import os
import time
from itertools import product

import torch

from aigrid.factory.lora.data import Example, parts
from aigrid.factory.lora.learner import Choice
from aigrid.factory.lora.load import Base
from aigrid.factory.lora.model import Decoder, Lora
from aigrid.factory.lora.settings import Settings

_LAYERS, _ROWS, _LENGTH, _ROUNDS = 2, 8, 64, 4


def choose(base: Base, settings: Settings) -> tuple[Choice, dict[str, float]]:
    """Return the fastest choice that the settings allow, and the tokens per second of each that was tried.

    Each is tried on two layers of the model, in turns, and judged by its best round: a busy neighbour slows some.
    """
    device = _device(settings.device)
    if device != "cpu":
        precision = "bfloat16" if settings.precision == "auto" else settings.precision
        return Choice(device, settings.threads or torch.get_num_threads(), precision), {}
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = [settings.threads] if settings.threads else sorted({1, (cores + 1) // 2, cores})
    precisions = ["float32", "bfloat16"] if settings.precision == "auto" else [settings.precision]
    choices = [Choice(device, count, precision) for count, precision in product(threads, precisions)]
    if len(choices) == 1:
        return choices[0], {}
    speeds = _measure(base, choices)
    fastest = max(choices, key=lambda choice: speeds[choice])
    return fastest, {f"{c.precision} x {c.threads}": round(speeds[c], 1) for c in choices}


def _device(wanted: str) -> str:
    if wanted != "auto":
        return wanted
    return "cuda" if torch.cuda.is_available() else "cpu"


def _measure(base: Base, choices: list[Choice]) -> dict[Choice, float]:
    layers = min(_LAYERS, base.shape.layers)
    first = base.shape.layers - layers
    names = tuple(f"model.layers.{layer}." for layer in range(first, base.shape.layers))
    weights = {name: value for name, value in base.weights.items() if name.startswith(names)}
    weights["model.embed_tokens.weight"] = base.weights["model.embed_tokens.weight"][:_LENGTH]
    rows = [Example(list(range(_LENGTH)), 1)] * _ROWS
    part = parts(rows, range(_ROWS), 0, _ROWS * _LENGTH, torch.device("cpu"))[0]
    decoders = {c.precision: Decoder(base.shape, weights, c.dtype, torch.device("cpu")) for c in choices}
    lora = Lora(base.shape, 16, 16.0, layers, 0)
    best = dict.fromkeys(choices, 0.0)
    before = torch.get_num_threads()
    try:
        for turn, choice in product(range(_ROUNDS), choices):
            torch.set_num_threads(choice.threads)
            start = time.perf_counter()
            decoder = decoders[choice.precision]
            decoder.run(decoder.embed(part.pack), part.pack, first, base.shape.layers, lora).sum().backward()
            if turn:
                best[choice] = max(best[choice], _ROWS * _LENGTH / (time.perf_counter() - start))
    finally:
        torch.set_num_threads(before)
    return best
