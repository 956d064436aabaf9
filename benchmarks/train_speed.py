"""How fast a small model learns, beside `transformers.Trainer` on the same rows: `python -m benchmarks.train_speed`.

GeoQuery's questions with their SQL; the same rows, steps, rank, learning rates and epochs, one
thread each, in turns. The peer is PEFT's adapter under `Trainer` as its guide has it: rows padded to the longest of
their batch, every logit, float32; and for the first seed with its `bf16=True`. Time is the process's own processor time, so
that neighbours count little; tokens are those of the rows, without padding, the same for all. Held-out loss is
measured for all by the same code, on the adapter as saved. Extra `train`; needs ../shared/data.
"""

import contextlib
import gzip
import json
import math
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.common import arguments, first_in_line, log, report
from benchmarks.shared_data import shared

ROWS, HELD_OUT, EPOCHS, BATCH, RANK, RATE = 24, 12, 1, 8, 16, 2e-3
SEEDS = (0, 1, 2)
NEEDED = 2.0


def questions(split: str, count: int, seed: int) -> list[dict[str, str]]:
    """Return questions with their SQL, the names filled in."""
    with gzip.open(shared("skills/geoquery.json.gz")) as file:
        entries = json.load(file)
    found = []
    for entry in entries:
        for sentence in entry["sentences"]:
            if sentence["question-split"] == split:
                texts = [sentence["text"], entry["sql"][0]]
                for name, value in sentence["variables"].items():
                    texts = [text.replace(name, value) for text in texts]
                found.append({"prompt": texts[0], "completion": texts[1]})
    return random.Random(seed).sample(found, count)


def ours(base: Path, rows: list[dict[str, str]], seed: int, precision: str, folder: Path) -> tuple[float, Path]:
    """Train with this repository's trainer; return the processor seconds of the steps, and the adapter."""
    from aigrid.factory.lora import Settings, loop
    from aigrid.factory.lora.data import examples
    from aigrid.factory.lora.learner import Choice, Learner
    from aigrid.factory.lora.load import load

    settings = Settings(
        base=base, rank=RANK, alpha=2.0 * RANK, epochs=EPOCHS, batch=BATCH, learning_rate=RATE, seed=seed,
        evaluations=1, precision=precision, threads=1, checkpoint_s=1e9,
    )  # fmt: skip
    loaded, choice = load(base), Choice("cpu", 1, precision)
    folder.mkdir()
    learner = Learner(loaded, examples(rows, loaded.tokens, 2048), settings, choice)
    run = loop.Run(learner, len(rows), 0, settings, choice, folder, None, None)
    start = time.process_time()
    adapter = run.go().adapter
    return time.process_time() - start, adapter


def theirs(base: Path, rows: list[dict[str, str]], seed: int, bf16: bool, folder: Path) -> tuple[float, Path]:
    """Train with `transformers.Trainer`; return the processor seconds of the steps, and the adapter."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments, set_seed

    from aigrid.factory.lora import Settings, loop
    from aigrid.factory.lora.data import examples
    from aigrid.factory.lora.load import load
    from aigrid.factory.lora.settings import TARGETS

    loaded = load(base)
    shape, table = loaded.shape, examples(rows, loaded.tokens, 2048)
    set_seed(seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(loaded.weights["model.embed_tokens.weight"]), hidden_size=shape.width,
            intermediate_size=shape.inner, num_hidden_layers=shape.layers, num_attention_heads=shape.heads,
            num_key_value_heads=shape.kv_heads, rms_norm_eps=shape.epsilon, rope_theta=shape.rope,
            rope_parameters={"rope_type": "default", "rope_theta": shape.rope}, tie_word_embeddings=True,
            max_position_embeddings=shape.context,
        )
    )  # fmt: skip
    model.load_state_dict(loaded.weights, strict=False)
    config = LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules=list(TARGETS), task_type="CAUSAL_LM")
    adapted = get_peft_model(model, config)

    def collate(batch: list[dict[str, Any]]) -> dict[str, Any]:
        longest = max(len(each["input_ids"]) for each in batch)
        fill = {"input_ids": loaded.tokens.end, "attention_mask": 0, "labels": -100}
        return {
            name: torch.tensor([each[name] + [pad] * (longest - len(each[name])) for each in batch])
            for name, pad in fill.items()
        }

    data = [
        {"input_ids": e.tokens, "attention_mask": [1] * len(e.tokens), "labels": [-100] * e.start + e.tokens[e.start :]}
        for e in table
    ]
    told = TrainingArguments(
        output_dir=str(folder), num_train_epochs=EPOCHS, per_device_train_batch_size=BATCH, learning_rate=RATE,
        weight_decay=0.0, seed=seed, use_cpu=True, bf16=bf16,
        report_to=[], save_strategy="no", logging_strategy="no", disable_tqdm=True, remove_unused_columns=False,
    )  # fmt: skip
    optimiser = torch.optim.AdamW(adapted.parameters(), lr=RATE, weight_decay=0.0)
    steps = EPOCHS * math.ceil(len(data) / BATCH)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: loop.rate(step, steps, Settings(base=base).warmup)
    )
    trainer = Trainer(
        model=adapted, args=told, train_dataset=data, data_collator=collate, optimizers=(optimiser, schedule)
    )
    start = time.process_time()
    with contextlib.redirect_stdout(sys.stderr):
        trainer.train()
    spent = time.process_time() - start
    adapted.save_pretrained(folder / "adapter")
    return spent, folder / "adapter"


def held_out(base: Path, adapter: Path, rows: list[dict[str, str]]) -> float:
    """Return the mean loss of rows under an adapter, in nats per completion token."""
    from aigrid.factory.lora import Settings
    from aigrid.factory.lora.adapter import deltas
    from aigrid.factory.lora.data import examples
    from aigrid.factory.lora.learner import Choice, Learner
    from aigrid.factory.lora.load import load

    loaded = load(base)
    for name, delta in deltas(adapter, loaded.shape).items():
        loaded.weights[name] += delta
    settings = Settings(base=base, layers=1, rank=1)
    learner = Learner(loaded, examples(rows, loaded.tokens, 2048), settings, Choice("cpu", 1, "bfloat16"))
    return learner.measure(range(len(rows)), adapted=False)


def main() -> None:
    """Measure and report."""
    options = arguments(__doc__ or "").parse_args()
    scheduling = first_in_line()
    import torch

    from aigrid.core.config import Config
    from aigrid.core.models import pull, resolve
    from aigrid.factory.lora import Settings, calibrate
    from aigrid.factory.lora.data import examples
    from aigrid.factory.lora.load import load

    torch.set_num_threads(1)
    base = pull(resolve("smollm2-135m-instruct", Config()))
    loaded, dev = load(base), questions("dev", HELD_OUT, 0)
    choice, speeds = calibrate.choose(loaded, Settings(base=base, threads=1))
    rates: dict[str, list[float]] = {}
    losses: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="aigrid-") as made:
        for seed in SEEDS:
            rows = questions("train", ROWS, seed)
            tokens = EPOCHS * sum(len(each.tokens) for each in examples(rows, loaded.tokens, 2048))
            runs = {
                "ours": lambda to, r=rows, s=seed: ours(base, r, s, choice.precision, to),
                "trainer": lambda to, r=rows, s=seed: theirs(base, r, s, False, to),
                **({} if seed else {"trainer_bf16": lambda to, r=rows, s=seed: theirs(base, r, s, True, to)}),
            }
            for name in sorted(runs, reverse=bool(seed % 2)):
                spent, adapter = runs[name](Path(made) / f"{name}{seed}")
                rates.setdefault(name, []).append(tokens / spent)
                losses.setdefault(name, []).append(held_out(base, adapter, dev))
                log(f"seed {seed} {name}: {tokens / spent:.1f} tokens/s, held out {losses[name][-1]:.4f}")
    ratios = {name: [a / b for a, b in zip(rates["ours"], rates[name], strict=False)] for name in rates}
    apart = [a - b for a, b in zip(losses["ours"], losses["trainer"], strict=True)]
    half = 4.303 * statistics.stdev(apart) / math.sqrt(len(apart))  # Student's t, two degrees of freedom, 95 %
    low, high = statistics.mean(apart) - half, statistics.mean(apart) + half
    median = statistics.median
    rows_ = [
        [
            name,
            *(
                round(f(values), 4)
                for f, values in ((median, rates[key]), (median, losses[key]), (median, ratios[key]))
            ),
        ]
        for key, name in (
            ("ours", "aigrid"),
            ("trainer", "transformers.Trainer"),
            ("trainer_bf16", "the same, bf16=True"),
        )
    ]
    holds = {
        f"training throughput >= {NEEDED:g} x transformers.Trainer": min(ratios["trainer"]) >= NEEDED,
        "held-out loss no worse: the 95 % interval of the difference over seeds reaches 0 or below": low <= 0,
    }
    figures = {
        "tokens_per_s": rates, "held_out_loss": losses, "ratio": ratios, "loss_difference_interval": [low, high],
        "chosen": choice.precision, "calibration_tokens_per_s_two_layers": speeds, "scheduling": scheduling,
    }  # fmt: skip
    grid = {"columns": ["tokens/s", "held-out loss", "aigrid is faster by"], "rows": rows_}
    peer = {"name": "transformers.Trainer with PEFT"}
    report({"name": "train_speed", "figures": figures, "peer": peer, "grid": grid, "holds": holds}, options.json)


if __name__ == "__main__":
    main()
