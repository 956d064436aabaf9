"""Anthropic's own client against a real gateway process."""

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
@pytest.mark.xdist_group("anthropic_sdk")
@pytest.mark.parametrize("check", checks("anthropic", "openvino"), ids=lambda check: check.claim)
def test_with_a_real_model_the_anthropic_client_finds_that(check: Check, real) -> None:
    check.run(real)


@pytest.fixture(scope="module")
def forwarded():
    with sdk_conformance.target("upstream", "far-echo") as found:
        yield found


@pytest.mark.xdist_group("anthropic_sdk")
@pytest.mark.parametrize("check", checks("anthropic", "upstream"), ids=lambda check: check.claim)
def test_through_an_upstream_the_anthropic_client_finds_that(check: Check, forwarded) -> None:
    check.run(forwarded)


@pytest.mark.xdist_group("anthropic_sdk")
@pytest.mark.parametrize("check", checks("anthropic"), ids=lambda check: check.claim)
def test_the_anthropic_client_finds_that(check: Check, target) -> None:
    check.run(target)
