"""OpenAI's own client against a real gateway process."""

import pytest

from aigrid.core.config import Config
from aigrid.core.models import resolve
from benchmarks import sdk_conformance
from benchmarks.sdk_checks import Check, checks


@pytest.fixture(scope="module")
def target():
    with sdk_conformance.target("echo", "echo") as found:
        yield found


@pytest.fixture(scope="module")
def real():
    model = resolve("smollm2-135m-instruct", Config())
    if not model.present:
        pytest.skip(f"the model is not here: `aigrid models pull {model.id}` lets these tests run")
    with sdk_conformance.target("openvino", model.id) as found:
        yield found


@pytest.mark.slow
@pytest.mark.xdist_group("openai_sdk")
@pytest.mark.parametrize("check", checks("openai", "openvino"), ids=lambda check: check.claim)
def test_with_a_real_model_the_openai_client_finds_that(check: Check, real) -> None:
    check.run(real)


@pytest.fixture(scope="module")
def forwarded():
    with sdk_conformance.target("upstream", "far-echo") as found:
        yield found


@pytest.mark.xdist_group("openai_sdk")
@pytest.mark.parametrize("check", checks("openai", "upstream"), ids=lambda check: check.claim)
def test_through_an_upstream_the_openai_client_finds_that(check: Check, forwarded) -> None:
    check.run(forwarded)


@pytest.mark.xdist_group("openai_sdk")
@pytest.mark.parametrize("check", checks("openai"), ids=lambda check: check.claim)
def test_the_openai_client_finds_that(check: Check, target) -> None:
    check.run(target)


@pytest.mark.xdist_group("openai_sdk")
def test_what_the_client_is_told_is_what_the_ledger_says(target) -> None:
    client = target.openai()
    raw = client.chat.completions.with_raw_response.create(
        model="echo", messages=[{"role": "user", "content": "one two three"}], max_tokens=5
    )
    usage, told = raw.parse().usage, raw.parse().model_extra["aigrid"]
    assert (usage.prompt_tokens, usage.completion_tokens) == (3, 5)
    assert told["record"] == raw.headers["x-request-id"]
    assert told["cost_nusd"] == int(raw.headers["x-aigrid-cost-nusd"]) == 3 * 50 + 5 * 200
    stream = client.chat.completions.create(
        model="echo", messages=[{"role": "user", "content": "one two three"}], max_tokens=5, stream=True,
        stream_options={"include_usage": True},
    )  # fmt: skip
    assert list(stream)[-1].model_extra["aigrid"]["cost_nusd"] == told["cost_nusd"]
