"""Preferences move the model as the paper's formula says."""

import json
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

import torch

from aigrid.core.errors import BadRequest
from aigrid.factory.lora import Settings, dpo
from aigrid.factory.lora.data import examples
from aigrid.factory.lora.learner import Choice, Learner
from aigrid.factory.lora.load import load
from tests.factory.lora_tiny import make

ROWS = [
    {"prompt": f"Which is {word}?", "chosen": f"{word} and more", "rejected": "none" + "!" * at}
    for at, word in enumerate(["red", "green", "blue", "grey", "pink", "black"])
]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return make(tmp_path_factory.mktemp("tiny"))


def settings(base: Path, **more: object) -> Settings:
    plain = {"precision": "float32", "threads": 1, "rank": 4, "batch": 3, "device": "cpu", "micro_tokens": 150}
    return Settings(base=base, **{**plain, **more})


def learner(base: Path) -> Learner:
    loaded = load(base)
    flat = [{"prompt": row["prompt"], "completion": row[key]} for row in ROWS for key in ("chosen", "rejected")]
    made = Learner(loaded, examples(flat, loaded.tokens, 512), settings(base), Choice("cpu", 1, "float32"))
    draw = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, value in made.lora.named_parameters():
            if name.endswith("_b"):
                value.copy_(torch.randn(value.shape, generator=draw) * 0.05)
    return made


def test_the_gradient_is_that_of_the_formula(tiny: Path) -> None:
    made, beta, chosen = learner(tiny), 0.3, [1, 4, 5]

    def likelihood(row: int, adapted: bool) -> torch.Tensor:
        return -made.losses(made.cut([row])[0], made.lora if adapted else None).sum()

    margins = [
        beta * (likelihood(2 * p, True) - likelihood(2 * p, False))
        - beta * (likelihood(2 * p + 1, True) - likelihood(2 * p + 1, False))
        for p in chosen
    ]
    expected = -torch.nn.functional.logsigmoid(torch.stack(margins)).mean()
    gradients = torch.autograd.grad(expected, list(made.lora.parameters()))
    pairs = dpo.Preferences(made, beta)
    loss, tokens = pairs.accumulate(chosen)
    assert loss == pytest.approx(expected.item(), rel=1e-5)
    assert pairs.measure(chosen) == pytest.approx(loss, rel=1e-6)
    assert tokens == sum(len(made.rows[row].tokens) for pair in chosen for row in (2 * pair, 2 * pair + 1))
    for value, gradient in zip(made.lora.parameters(), gradients, strict=True):
        assert value.grad is not None
        torch.testing.assert_close(value.grad, gradient, rtol=2e-3, atol=2e-6)


def test_preferences_are_learnt(tiny: Path, tmp_path: Path) -> None:
    result = dpo.train(ROWS, ROWS[:2], settings(tiny, epochs=6, learning_rate=1e-2), tmp_path)
    assert result.first_dev_loss == pytest.approx(0.6931, abs=1e-3)
    assert result.dev_loss is not None
    assert result.dev_loss < 0.4
    assert json.loads((result.adapter / "adapter_config.json").read_text())["peft_type"] == "LORA"


def test_a_row_without_a_rejected_answer_is_named(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="row 0 has no `rejected`"):
        dpo.train([{"prompt": "x", "chosen": "y"}], [], settings(tiny), tmp_path)
