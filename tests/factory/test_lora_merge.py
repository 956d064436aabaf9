"""A merged model answers, on the engine that serves it, as the trained one does."""

from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("gguf")
pytest.importorskip("transformers")

import gguf
import numpy as np
import torch

from aigrid.core.errors import BadRequest
from aigrid.factory.lora import Settings, adapter, sft
from aigrid.factory.lora.blocks import Inputs
from aigrid.factory.lora.data import Example, examples
from aigrid.factory.lora.learner import Choice, Learner
from aigrid.factory.lora.load import BaseError, load
from aigrid.factory.lora.merge import merge
from tests.factory.lora_tiny import make, make_gguf, rows

PROMPTS = ["say red", "say so blue", "what?", "pink and grey"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return make(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def base(folder: Path) -> Path:
    return make_gguf(folder, folder / "tiny.gguf")


@pytest.fixture(scope="module")
def tuned(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = Settings(base=base, rank=8, batch=4, epochs=4, learning_rate=2e-2, precision="float32", threads=1)
    return sft.train(rows(24), [], settings, tmp_path_factory.mktemp("run")).adapter


def learner(path: Path, delta: Path | None = None) -> Learner:
    """Return a model over some rows; with `delta`, the model plus that adapter, added in torch."""
    model = load(path)
    if delta is not None:
        for name, value in adapter.deltas(delta, model.shape).items():
            model.weights[name] += value
    return Learner(model, examples(rows(5), model.tokens, 512), Settings(base=path), Choice("cpu", 1, "float32"))


def losses(path: Path, delta: Path | None = None) -> float:
    """Return the mean loss of some rows."""
    return learner(path, delta).measure(range(5), adapted=False)


def logits(path: Path, delta: Path | None = None) -> torch.Tensor:
    """Return what a model says of each next token of some rows' completions."""
    model = learner(path, delta)
    part = model.cut(range(5))[0]
    with torch.no_grad():
        hidden = model.decoder.run(model.decoder.embed(part.pack), part.pack, 0, 4, None)
        return (model.decoder.finish(hidden[part.at]) @ model.decoder.head.t()).log_softmax(-1)


def greedy(path: Path, prompt: str, count: int) -> list[int]:
    """Return the likeliest tokens after a prompt, one by one, by the training's own decoder."""
    model = load(path)
    tokens = model.tokens.encode(model.tokens.chat([{"role": "user", "content": prompt}]))
    made: list[int] = []
    for _ in range(count):
        whole = [*tokens, *made]
        learner = Learner(model, [Example([*whole, 0], len(whole))], Settings(base=path), Choice("cpu", 1, "float32"))
        part = learner.cut([0])[0]
        with torch.no_grad():
            hidden = learner.decoder.run(learner.decoder.embed(part.pack), part.pack, 0, model.shape.layers, None)
            made.append(int((learner.decoder.finish(hidden[part.at]) @ learner.decoder.head.t()).argmax()))
    return made


def served(path: Path, prompt: str, count: int) -> list[int]:
    """Return the likeliest tokens after a prompt, by the embedded engine's pipeline."""
    import openvino_genai as genai

    from aigrid.engines.openvino_load import load as load_served

    scheduler = genai.SchedulerConfig()
    scheduler.num_kv_blocks = 16
    pipe = load_served(
        path, "CPU", {"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f32"}, scheduler
    ).pipeline
    tokenizer = pipe.get_tokenizer()
    text = tokenizer.apply_chat_template([{"role": "user", "content": prompt}], add_generation_prompt=True)
    settings = genai.GenerationConfig()
    settings.max_new_tokens, settings.ignore_eos, settings.do_sample = count, True, False
    ids = tokenizer.encode(text, add_special_tokens=False).input_ids
    handle = pipe.add_request(0, ids, settings)
    made: list[int] = []
    while pipe.has_non_finished_requests():
        pipe.step()
        while handle.can_read():
            for output in handle.read().values():
                made += output.generated_ids
    return made


def test_a_gguf_file_is_the_model_that_it_was_made_from(folder: Path, tmp_path: Path) -> None:
    assert losses(make_gguf(folder, tmp_path / "exact.gguf", "F32")) == pytest.approx(losses(folder), rel=1e-6)


def test_the_merged_file_is_base_plus_adapter(base: Path, tuned: Path, tmp_path: Path) -> None:
    expected = losses(base, tuned)
    assert abs(expected - losses(base)) > 0.5
    assert losses(merge(base, tuned, tmp_path / "m.gguf", calibrate=rows(8))) == pytest.approx(expected, rel=0.01)
    assert losses(merge(base, tuned, tmp_path / "f.gguf", "F16")) == pytest.approx(expected, rel=0.001)


def test_four_bits_keep_what_was_learnt_where_the_rows_say_what_matters(
    folder: Path, tuned: Path, tmp_path: Path
) -> None:
    base = make_gguf(folder, tmp_path / "four.gguf", "Q4_1")
    learnt = logits(base, tuned)
    plain = merge(base, tuned, tmp_path / "plain.gguf", "Q4_1")
    merged = merge(base, tuned, tmp_path / "kept.gguf", calibrate=rows(24))
    assert (logits(merged) - learnt).norm() < 0.5 * (logits(plain) - learnt).norm()
    assert merged.stat().st_size == base.stat().st_size
    before, after = gguf.GGUFReader(base), gguf.GGUFReader(merged)
    for old, new in zip(before.tensors, after.tensors, strict=True):
        assert old.tensor_type == new.tensor_type
        assert (old.data == new.data).all() == ("norm" in old.name or "token_embd" in old.name), old.name
    again = merge(base, tuned, tmp_path / "again.gguf", "Q4_1", rows(24))
    assert again.read_bytes() == merged.read_bytes()
    for prompt in PROMPTS[:2]:
        assert served(merged, prompt, 6) == greedy(merged, prompt, 6), prompt


def test_each_block_s_minimum_is_a_whole_number_of_its_steps(base: Path, tuned: Path, tmp_path: Path) -> None:
    merged = gguf.GGUFReader(merge(base, tuned, tmp_path / "m.gguf", "Q4_1", rows(8)))
    for tensor in merged.tensors:
        if tensor.tensor_type == gguf.GGMLQuantizationType.Q4_1:
            edges = tensor.data.reshape(-1, 20)[:, :4].copy().view(np.float16).astype(np.float32)
            zeros = -edges[:, 1] / edges[:, 0]
            assert abs(zeros - zeros.round()).max() < 0.01
            assert zeros.min() >= 0
            assert zeros.max() < 15.01


@pytest.mark.parametrize("live", [64, 40])
def test_what_a_rounded_matrix_puts_out_is_nearer_than_with_plain_rounding(live: int) -> None:
    draw = torch.Generator().manual_seed(3)
    inputs = torch.randn(400, 64, generator=draw) @ torch.randn(64, 64, generator=draw)
    inputs[:, live:] = 0
    weight = torch.randn(32, 64, generator=draw)
    blocks = Inputs(inputs.t() @ inputs).round(weight)
    kind = gguf.GGMLQuantizationType.Q4_1
    plain = torch.from_numpy(gguf.dequantize(gguf.quantize(weight.numpy(), kind), kind))
    stored = torch.from_numpy(gguf.dequantize(blocks.packed(), kind))
    assert torch.allclose(stored, blocks.values(), atol=2e-3)
    assert ((stored - weight) @ inputs.t()).norm() < 0.85 * ((plain - weight) @ inputs.t()).norm()


def test_the_engine_answers_as_the_training_does(base: Path, tuned: Path, tmp_path: Path) -> None:
    merged = merge(base, tuned, tmp_path / "m.gguf")
    for prompt in PROMPTS:
        assert served(merged, prompt, 6) == greedy(merged, prompt, 6), prompt
    assert [served(base, prompt, 6) for prompt in PROMPTS] != [served(merged, prompt, 6) for prompt in PROMPTS]


def test_everything_but_the_adapted_weights_is_the_base_s(base: Path, tuned: Path, tmp_path: Path) -> None:
    before, after = gguf.GGUFReader(base), gguf.GGUFReader(merge(base, tuned, tmp_path / "m.gguf", "F16"))
    assert list(before.fields) == list(after.fields)
    for name in before.fields:
        if not name.startswith("GGUF.") and name != "general.file_type":
            assert before.fields[name].contents() == after.fields[name].contents(), name
    assert after.fields["general.file_type"].contents() == 1
    for old, new in zip(before.tensors, after.tensors, strict=True):
        assert old.name == new.name
        same = old.tensor_type == new.tensor_type and (old.data == new.data).all()
        assert same == ("norm" in old.name or "token_embd" in old.name), old.name


def test_what_does_not_fit_is_refused(base: Path, tuned: Path, tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="use auto, same, Q4_0"):
        merge(base, tuned, tmp_path / "m.gguf", "Q3_K")
    config = tmp_path / "other" / "adapter_config.json"
    config.parent.mkdir()
    config.write_text('{"r": 1, "lora_alpha": 1}')
    from safetensors.torch import save_file

    name = "base_model.model.model.layers.0.self_attn.q_proj"
    save_file(
        {f"{name}.lora_A.weight": torch.ones(1, 8), f"{name}.lora_B.weight": torch.ones(8, 1)},
        config.parent / "adapter_model.safetensors",
    )
    with pytest.raises(BaseError, match="does not fit"):
        merge(base, config.parent, tmp_path / "m.gguf")
