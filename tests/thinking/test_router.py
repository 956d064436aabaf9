"""The router: its features, its regression beside a naive one, its measures, its file, and what it refuses."""

import json
import random

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aigrid.core.errors import BadRequest, ConfigError
from aigrid.thinking.router import base, curve, data, features, logistic
from aigrid.thinking.router.base import Target
from aigrid.thinking.router.train import train

WEAK, STRONG = Target("small"), Target("large", "self_consistency", 16)


def traffic(count=600, seed=1, learnable=True, **more):
    """Lines of questions of two kinds: the strong model is better at proofs, and no better at greetings."""
    luck = random.Random(seed)
    for _ in range(count):
        hard = luck.random() < 0.5
        text = f"prove theorem {luck.randint(1, 10**9)}" if hard else f"greet guest {luck.randint(1, 10**9)}"
        hard = hard if learnable else luck.random() < 0.5
        weak, strong = float(luck.random() < (0.2 if hard else 0.9)), float(luck.random() < 0.9)
        yield json.dumps({"prompt": text, "weak": weak, "strong": strong, **more}).encode()


def made(examples=None, **options):
    return train(examples or data.read(traffic(), "t"), WEAK, STRONG, tell=lambda _: None, **options)


@pytest.fixture(scope="module")
def router():
    return made()


def test_it_learns_which_questions_need_the_strong_model(router, tmp_path):
    figures = router.test
    assert figures.better_than_random
    assert figures.apgr.low < figures.apgr.value < figures.apgr.high <= 1.01
    assert figures.apgr.value < figures.oracle_apgr
    assert figures.cpt_50.value < 0.4
    assert figures.cpt_50.value < figures.cpt_80.value
    (tmp_path / "r.json").write_bytes(msgspec.json.encode(router))
    read = base.load(tmp_path / "r.json")
    for question, side in (("prove theorem 77", "strong"), ("greet guest 77", "weak")):
        assert read.decide(features.Question(question)).side == side
    assert read.target("strong") == STRONG


def test_the_same_data_makes_the_same_router(router):
    again = made()
    assert (again.weights, again.threshold, again.test) == (router.weights, router.threshold, router.test)


def test_the_regression_is_as_good_as_plain_gradient_descent():
    examples = data.read(traffic(120), "t")
    rows = [features.row(each.asked) for each in examples]
    dense = np.zeros((len(rows), features.WIDTH))
    for at, row in enumerate(rows):
        np.add.at(dense[at], row.places, row.values)
    used = np.flatnonzero(dense.any(axis=0))
    dense = dense[:, used]
    targets = np.array([(1 + each.gain) / 2 for each in examples])
    weights, bias, l2 = np.zeros(len(used)), 0.0, 1.0
    for _ in range(4000):  # the reference: nothing but the slope
        errors = 1 / (1 + np.exp(-(dense @ weights + bias))) - targets
        weights -= 0.01 * (dense.T @ errors + l2 * weights)
        bias -= 0.01 * errors.sum()
    found = logistic.fit(logistic.Rows(rows), targets, l2)
    assert found[used] == pytest.approx(weights, abs=1e-3)
    assert found[-1] == pytest.approx(bias, abs=1e-2)
    assert not np.delete(found[:-1], used).any()


def test_its_slope_is_that_of_its_loss():
    rows = logistic.Rows([features.row(each.asked) for each in data.read(traffic(100), "t")])
    luck = np.random.default_rng(1)
    targets, weights, way = luck.random(100), *luck.normal(size=(2, features.WIDTH + 1))
    _, slope = logistic.loss(rows, targets, weights, 0.7)
    above, below = (logistic.loss(rows, targets, weights + step * way, 0.7)[0] for step in (1e-5, -1e-5))
    assert (above - below) / 2e-5 == pytest.approx(float(slope @ way), rel=1e-5)


def test_measures_of_a_curve_that_can_be_drawn_by_hand():
    weak, strong = np.array([0.0, 1.0, 1.0, 0.0]), np.array([1.0, 1.0, 1.0, 1.0])
    best = curve.measure(np.array([0.9, 0.2, 0.1, 0.8]), weak, strong, 0.5)
    assert best.apgr.value == pytest.approx(0.75)  # 0.25 * (0.25 + 0.75) + 0.5 * 1
    assert best.oracle_apgr == pytest.approx(0.75)
    assert (best.cpt_50.value, best.cpt_80.value) == pytest.approx((0.25, 0.4))
    assert (best.chosen.share.value, best.chosen.quality.value, best.chosen.recovered.value) == (0.5, 1.0, 1.0)
    guess = curve.measure(np.full(4, 0.5), weak, strong, 0.5)
    assert guess.apgr.value == pytest.approx(0.5)
    assert guess.cpt_80.value == pytest.approx(0.8)
    worst = curve.measure(np.array([0.1, 0.8, 0.9, 0.2]), weak, strong, 0.5)
    assert worst.apgr.value == pytest.approx(0.25)


@given(
    st.lists(st.text(max_size=60), min_size=1, max_size=20),
    st.floats(0, 1),
    st.floats(0, 1),
)
def test_a_higher_threshold_never_sends_more_to_the_strong_model(router, texts, one, other):
    model = base.ModelRouter(router)
    lower, higher = sorted((one, other))
    for text in texts:
        if model.decide(features.Question(text), higher).side == "strong":
            assert model.decide(features.Question(text), lower).side == "strong"


@given(st.text(max_size=200), st.integers(1, 50), st.integers(0, 10**6))
def test_any_text_has_features(text, messages, before):
    row = features.row(features.Question(text, messages, before))
    assert np.isfinite(row.values).all()
    assert ((row.places >= 0) & (row.places < features.WIDTH)).all()


def test_the_question_is_the_last_thing_that_the_user_said():
    messages = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": None},
        {"role": "user", "content": [{"type": "text", "text": "last"}, {"type": "image_url", "image_url": {}}]},
    ]
    assert features.question(messages) == features.Question("last", 4, 13)
    assert features.question(None, "plain") == features.Question("plain")
    assert features.question(None, [1, 2]) == features.Question("")


def test_costs_and_wishes_choose_the_threshold():
    dear = data.read(traffic(weak_cost=1, strong_cost=10), "t")
    cheap = made(dear, cost=0.2)
    assert cheap.test.chosen.share.value < 0.3
    assert 1 < cheap.test.chosen.cost.value < 4
    assert (cheap.test.weak_cost, cheap.test.strong_cost) == (1, 10)
    good = made(dear, quality=0.97)
    assert good.threshold < cheap.threshold
    assert good.test.chosen.quality.value > cheap.test.chosen.quality.value
    assert made(dear, cost=0.0).test.chosen.share.value <= 0.02
    assert made(dear, cost=1.0).test.chosen.share.value >= 0.98


def test_bad_rows_are_named_with_their_lines():
    bad = [
        b'{"prompt": "a", "weak": 1}',
        b"not json",
        b'{"prompt": "a", "weak": 2, "strong": 1}',
        b'{"weak": 0, "strong": 1}',
        b'{"prompt": "a", "weak": 0, "strong": 1, "label": "weak"}',
        b'{"prompt": " ", "weak": 0, "strong": 1}',
        b'{"prompt": "a", "label": "medium"}',
    ]
    with pytest.raises(BadRequest) as refused:
        data.read([b'{"prompt": "fine", "label": "weak"}', b"", *bad], "t.jsonl")
    said = refused.value.message
    assert "t.jsonl has 7 bad rows" in said
    assert "line 3: give `weak` and `strong`" in said
    assert "line 4: " in said
    assert "and 2 more" in said
    with pytest.raises(BadRequest, match="needs at least 100"):
        data.read([b'{"prompt": "fine", "label": "weak"}'], "t")


def test_the_same_question_is_always_in_the_same_part():
    one, two = (data.Example(features.Question(text), 0, 1) for text in ("What is it?", " what  is IT? "))
    assert one.part == two.part
    parts = [data.Example(features.Question(f"question {at}"), 0, 1).part for at in range(1000)]
    assert 550 < parts.count("train") < 650
    assert 150 < parts.count("test") < 250


def test_a_strong_model_that_is_not_better_is_no_router():
    lines = [json.dumps({"prompt": f"question {at}", "weak": 1, "strong": 1}).encode() for at in range(200)]
    with pytest.raises(BadRequest, match="serve the weak one alone"):
        made(data.read(lines, "t"))


def test_what_was_not_tested_or_has_changed_is_refused(router, tmp_path):
    path = tmp_path / "router.json"

    def written(file):
        path.write_bytes(msgspec.json.encode(file))
        return path

    replace = msgspec.structs.replace
    weights = base.unpack(router.weights)
    weights[3] += 1
    for changed in (
        replace(router, weights=base.pack(weights)),
        replace(router, threshold=0.1),
        replace(router, strong=Target("other")),
        replace(router, test=replace(router.test, rows=10**6)),
    ):
        with pytest.raises(ConfigError, match="has changed since it was made"):
            base.load(written(changed))
    with pytest.raises(ConfigError, match="has no test figures"):
        base.load(written(replace(router, test=None).signed()))
    with pytest.raises(ConfigError, match="weights are not"):
        base.load(written(replace(router, weights="AAAA").signed()))
    path.write_text("{}")
    with pytest.raises(ConfigError, match="is not a router"):
        base.load(path)
    with pytest.raises(ConfigError, match="cannot read the router"):
        base.load(tmp_path / "missing.json")


def test_a_router_that_may_be_guessing_is_refused(tmp_path):
    luck = made(data.read(traffic(learnable=False, seed=4), "t"))
    assert not luck.test.better_than_random
    (tmp_path / "r.json").write_bytes(msgspec.json.encode(luck))
    with pytest.raises(ConfigError, match="no better than guessing"):
        base.load(tmp_path / "r.json")


@pytest.mark.parametrize("text", ["", "@adaptive", "m@clever", "m@adaptive:0", "m@adaptive:65", "m@adaptive:x"])
def test_a_target_that_is_none_is_refused(text):
    with pytest.raises(BadRequest, match="MODEL@STRATEGY:N"):
        base.target(text, "--weak")


def test_a_target_is_written_as_it_is_read():
    for text in ("a/b", "a@adaptive", "a@self_consistency:16"):
        assert str(base.target(text, "--weak")) == text
