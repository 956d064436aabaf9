"""How fast a tuned model is beside its base through the same engine: `python -m benchmarks.pack_speed [--json]`.

The built-in model, and the same model with an adapter of every matrix merged in, as a line does it: four bits per
weight, rounded to fit some rows. Both run in this process on the embedded engine's pipeline; each round asks both for
the same number of tokens, in turns, and gives one ratio. Speed depends on no weight's value, so the adapter is drawn at
random, not trained, and few rows do.
Extra `train`.
"""

import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.common import arguments, first_in_line, log, report, spread
from benchmarks.direct_engine import prompts

TOKENS = {1: 48, 8: 24, 32: 12}
ROUNDS = 21
DRAWS = 2000
NEEDED = 0.95


def tuned(base: Path, folder: Path) -> Path:
    """Return a GGUF file of the base with a random adapter merged in."""
    import torch

    from aigrid.factory.lora import adapter
    from aigrid.factory.lora.load import load
    from aigrid.factory.lora.merge import merge
    from aigrid.factory.lora.model import Lora

    shape = load(base).shape
    lora = Lora(shape, 16, 32.0, shape.layers, 0)
    draw = torch.Generator().manual_seed(1)
    state = {name: value + torch.randn(value.shape, generator=draw) * 1e-3 for name, value in lora.state_dict().items()}
    (folder / "adapter").mkdir()
    adapter.save(lora, state, base.name, folder / "adapter")
    rows = [{"prompt": text, "completion": "It is odd."} for text in prompts(4, 0)]
    return merge(base, folder / "adapter", folder / "tuned.gguf", calibrate=rows)


def pipeline(path: Path) -> Any:
    """Load a model as the embedded engine does."""
    import openvino_genai as genai

    from aigrid.engines.openvino_load import load

    scheduler = genai.SchedulerConfig()
    scheduler.max_num_seqs = 64
    scheduler.enable_prefix_caching = True
    scheduler.cache_size = 1
    return load(path, "CPU", {}, scheduler).pipeline


def speed(pipe: Any, streams: int, turn: int) -> float:
    """Return tokens per second of one round."""
    import openvino_genai as genai

    settings = genai.GenerationConfig()
    settings.max_new_tokens = settings.min_new_tokens = TOKENS[streams]
    settings.ignore_eos = True
    settings.do_sample = False
    tokenizer = pipe.get_tokenizer()
    start = time.perf_counter()
    handles = []
    for at, text in enumerate(prompts(streams, turn)):
        prompt = tokenizer.apply_chat_template([{"role": "user", "content": text}], add_generation_prompt=True)
        ids = tokenizer.encode(prompt, add_special_tokens=False).input_ids
        handles.append(pipe.add_request(turn * 1000 + at, ids, settings))
    made = 0
    while pipe.has_non_finished_requests():
        pipe.step()
        for handle in handles:
            if handle.can_read():
                made += sum(len(output.generated_ids) for output in handle.read().values())
    assert made == streams * TOKENS[streams]
    return made / (time.perf_counter() - start)


def interval(values: list[float]) -> list[float]:
    """Return the 95 % interval of the median, by resampling."""
    draw = random.Random(0)
    medians = sorted(statistics.median(draw.choices(values, k=len(values))) for _ in range(DRAWS))
    return [round(medians[int(DRAWS * 0.025)], 4), round(medians[int(DRAWS * 0.975)], 4)]


def measure(pipes: dict[str, Any], streams: int) -> dict[str, Any]:
    """Return both speeds and their ratio at so many requests at once."""
    speeds: dict[str, list[float]] = {name: [] for name in pipes}
    for turn in range(-1, ROUNDS):
        for name in list(pipes) if turn % 2 else reversed(list(pipes)):
            found = speed(pipes[name], streams, turn + 1)
            if turn >= 0:
                speeds[name].append(found)
    ratios = [tuned / base for tuned, base in zip(speeds["tuned"], speeds["base"], strict=True)]
    log(f"{streams} streams: {statistics.median(ratios):.3f}")
    return {
        **{f"{name}_tokens_per_s": spread([round(value, 2) for value in found]) for name, found in speeds.items()},
        "ratio": round(statistics.median(ratios), 4),
        "ratio_interval": interval(ratios),
    }


def main() -> None:
    """Measure and report."""
    parser = arguments(__doc__ or "")
    options = parser.parse_args()
    scheduling = first_in_line()
    from aigrid.core.config import Config
    from aigrid.core.models import pull, resolve

    base = pull(resolve("smollm2-135m-instruct", Config()))
    with tempfile.TemporaryDirectory(prefix="aigrid-") as folder:
        made = tuned(base, Path(folder))
        pipes = {"base": pipeline(base), "tuned": pipeline(made)}
        found = {str(streams): measure(pipes, streams) for streams in TOKENS}
        sizes = {"base_bytes": base.stat().st_size, "tuned_bytes": made.stat().st_size}
    rows = []
    for streams, each in found.items():
        low, high = each["ratio_interval"]
        speeds = [each[f"{name}_tokens_per_s"] for name in ("base", "tuned")]
        rows.append([f"{streams} at once", *speeds, each["ratio"], f"{low:.2f} to {high:.2f}"])
    grid = {"columns": ["base, tokens/s", "tuned, tokens/s", "ratio", "95 % of the ratio"], "rows": rows}
    holds = {
        f"a tuned model is as fast as its base, ratio >= {NEEDED}, at {streams} requests at once": each["ratio"]
        >= NEEDED
        for streams, each in found.items()
    }
    figures = {"streams": found, **sizes, "scheduling": scheduling}
    peer = {"name": "the same model before the merge, four bits per weight"}
    report({"name": "pack_speed", "figures": figures, "peer": peer, "grid": grid, "holds": holds}, options.json)


if __name__ == "__main__":
    main()
