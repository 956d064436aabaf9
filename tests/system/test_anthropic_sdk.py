"""Anthropic's own client against a real gateway process."""

import pytest
from benchmarks import sdk_conformance
from benchmarks.sdk_checks import Check, checks


@pytest.fixture(scope="module")
def target():
    with sdk_conformance.target("--engine", "echo", model="echo") as found:
        yield found


@pytest.mark.xdist_group("anthropic_sdk")
@pytest.mark.parametrize("check", checks("anthropic"), ids=lambda check: check.claim)
def test_the_anthropic_client_finds_that(check: Check, target) -> None:
    check.run(target)
