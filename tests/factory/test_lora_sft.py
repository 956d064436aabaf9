"""Training computes the gradients of the plain method, learns, and survives kills without a trace."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("peft")

import torch

from aigrid.core.errors import BadRequest
from aigrid.factory.lora import Settings, sft
from aigrid.factory.lora.data import examples
from aigrid.factory.lora.learner import Choice, Learner
from aigrid.factory.lora.load import Base, load
from aigrid.factory.lora.settings import ATTENTION, TARGETS
from tests.factory.lora_tiny import make, rows


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return make(tmp_path_factory.mktemp("tiny"))


def settings(base: Path, **more: object) -> Settings:
    plain = {"precision": "float32", "threads": 1, "rank": 4, "batch": 8, "epochs": 2, "device": "cpu"}
    return Settings(base=base, **{**plain, **more})


def naive(base: Base, learner: Learner, chosen: list[int], folder: Path) -> tuple[float, dict[str, torch.Tensor]]:
    """The plain method: Hugging Face's model, one row at a time, every logit, an ordinary LoRA added to the weights."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    lora = learner.lora
    named = dict(model.named_parameters())
    weights = {}
    for key in [key for key in lora.pairs if key.endswith("_a")]:
        layer, _, target = key[:-2].partition("_")
        part = "mlp" if target in ("gate_proj", "up_proj", "down_proj") else "self_attn"
        name = f"model.layers.{layer}.{part}.{target}.weight"
        weights[name] = named[name].detach() + lora.scale * lora.pairs[key[:-1] + "b"] @ lora.pairs[key]
    rows = [learner.rows[at] for at in chosen]
    count = sum(len(row.tokens) - row.start for row in rows)
    total = torch.zeros(())
    for row in rows:
        logits = torch.func.functional_call(model, weights, (torch.tensor([row.tokens]),)).logits[0]
        loss = torch.nn.functional.cross_entropy(logits[:-1], torch.tensor(row.tokens[1:]), reduction="none")
        total = total + loss[row.start - 1 :].sum() / count
    gradients = torch.autograd.grad(total, list(lora.parameters()))
    return total.item(), dict(zip([name for name, _ in lora.named_parameters()], gradients, strict=True))


KINDS = [
    ("llama", 0, TARGETS),
    ("llama", 2, TARGETS),
    ("llama", 3, ATTENTION),
    ("qwen2", 0, TARGETS),
    ("qwen3", 0, TARGETS),
]


@pytest.mark.parametrize(("family", "layers", "targets"), KINDS)
def test_gradients_are_those_of_the_plain_method(
    tmp_path: Path, family: str, layers: int, targets: tuple[str, ...]
) -> None:
    folder = make(tmp_path / family, family)
    base = load(folder)
    table = examples(rows(12), base.tokens, 512)
    wanted = settings(folder, layers=layers, targets=targets, micro_tokens=160)
    learner = Learner(base, table, wanted, Choice("cpu", 1, "float32"))
    assert learner.prefix > 0
    assert len(learner.cut(range(12))) > 1
    draw = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, value in learner.lora.named_parameters():
            if name.endswith("_b"):
                value.copy_(torch.randn(value.shape, generator=draw) * 0.05)
    chosen = [0, 3, 4, 6, 7, 9, 11]
    loss, _ = learner.accumulate(chosen)
    expected, gradients = naive(base, learner, chosen, folder)
    assert loss == pytest.approx(expected, rel=1e-5)
    for name, value in learner.lora.named_parameters():
        assert value.grad is not None
        torch.testing.assert_close(value.grad, gradients[name], rtol=2e-3, atol=2e-6, msg=lambda text, n=name: n + text)


def test_it_learns_and_reports(tiny: Path, tmp_path: Path) -> None:
    seen: list[dict[str, float]] = []
    wanted = settings(tiny, epochs=20, learning_rate=1e-2)
    result = sft.train(rows(40), rows(45)[40:], wanted, tmp_path, lambda line: seen.append(dict(line)))
    assert result.first_dev_loss is not None
    assert result.dev_loss is not None
    assert result.dev_loss < result.first_dev_loss / 2
    curve = [json.loads(line) for line in (tmp_path / "curve.jsonl").read_text().splitlines()]
    assert curve == seen
    assert curve[-1]["step"] == result.steps
    assert sft.train(rows(40), rows(45)[40:], wanted, tmp_path) == result


def test_it_stops_when_held_out_rows_get_no_better(tiny: Path, tmp_path: Path) -> None:
    result = sft.train(rows(40), rows(4), settings(tiny, epochs=9, patience=1), tmp_path, metric=lambda folder: 0.5)
    assert result.stopped_early
    assert result.steps == 4
    assert result.metric == 0.5


def test_a_row_without_a_completion_is_named(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="row 1 has no prompt with a completion"):
        sft.train([*rows(1), {"prompt": "x"}], [], settings(tiny), tmp_path)
    with pytest.raises(BadRequest, match=r"row 0 has .* tokens, more than 16"):
        sft.train(rows(1), [], settings(tiny, longest=16), tmp_path / "b")


def test_a_folder_with_another_run_is_refused(tiny: Path, tmp_path: Path) -> None:
    sft.train(rows(8), [], settings(tiny, epochs=1), tmp_path)
    with pytest.raises(BadRequest, match="other rows"):
        sft.train(rows(9), [], settings(tiny, epochs=1), tmp_path)


PROGRAM = """
import sys, pathlib
sys.path.insert(0, sys.argv[3])
from tests.factory.lora_tiny import rows
from aigrid.factory.lora import Settings, sft
wanted = Settings(base=pathlib.Path(sys.argv[1]), precision="float32", threads=1, rank=4, batch=8, epochs=6,
                  device="cpu", checkpoint_s=0.0, learning_rate=1e-2)
print("on", flush=True)

def tell(line):
    print(line["step"], flush=True)
    if line["step"] == int(sys.argv[4]):
        sys.stdin.read()  # no further, until it is killed

sft.train(rows(60), rows(64)[60:], wanted, pathlib.Path(sys.argv[2]), tell)
"""


def run(base: Path, folder: Path, kill_at: str | None, later_s: float = 0.0, last: int = -1) -> None:
    """Train, and kill it so much later than it prints `kill_at`, not beyond step `last`."""
    here = str(Path(__file__).parents[2])
    command = [sys.executable, "-c", PROGRAM, str(base), str(folder), here, str(last)]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)
    assert process.stdin is not None
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip() == kill_at:
            time.sleep(later_s)
            process.send_signal(signal.SIGKILL)
            break
    process.stdin.close()
    process.stdout.close()
    code = process.wait()
    assert code == (0 if kill_at is None else -signal.SIGKILL)


@pytest.mark.slow
def test_a_killed_run_ends_with_the_same_bytes(tiny: Path, tmp_path: Path) -> None:
    run(tiny, tmp_path / "whole", None)
    for kill_at, later_s, last in (("on", 0.5, 4), ("5", 0.004, 16), ("17", 0.02, 30)):
        run(tiny, tmp_path / "killed", kill_at, later_s, last)
    run(tiny, tmp_path / "killed", None)
    for name in ("adapter/adapter_model.safetensors", "adapter/adapter_config.json"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    curves = [(tmp_path / kind / "curve.jsonl").read_text().splitlines() for kind in ("killed", "whole")]
    losses = [[{**json.loads(line), "seconds": 0} for line in curve] for curve in curves]
    assert losses[0] == losses[1]


def test_peft_reads_the_adapter(tiny: Path, tmp_path: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    result = sft.train(rows(24), [], settings(tiny, learning_rate=1e-2), tmp_path)
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32), result.adapter)
    base = load(tiny)
    table = examples(rows(3), base.tokens, 512)
    learner = Learner(base, table, settings(tiny), Choice("cpu", 1, "float32"))
    _fill(learner, result.adapter)
    for at, row in enumerate(table):
        logits = model(torch.tensor([row.tokens])).logits[0]
        expected = torch.nn.functional.cross_entropy(logits[row.start - 1 : -1], torch.tensor(row.tokens[row.start :]))
        assert learner.measure([at]) == pytest.approx(expected.item(), rel=1e-4)
        assert abs(learner.measure([at], adapted=False) - expected.item()) > 1e-2


def _fill(learner: Learner, folder: Path) -> None:
    from safetensors.torch import load_file

    tensors = load_file(folder / "adapter_model.safetensors")
    state = {}
    for key in learner.lora.state_dict():
        layer, _, rest = key.removeprefix("pairs.").partition("_")
        target, side = rest[:-2], rest[-1].upper()
        part = "mlp" if target in ("gate_proj", "up_proj", "down_proj") else "self_attn"
        state[key] = tensors[f"base_model.model.model.layers.{layer}.{part}.{target}.lora_{side}.weight"]
    learner.lora.load_state_dict(state)
