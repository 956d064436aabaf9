import pytest

from aigrid.core.errors import NotFound, Unavailable
from aigrid.engines.base import Load
from aigrid.engines.echo import EchoEngine
from aigrid.gateway.routing import Router


class Down(EchoEngine):
    def models(self):
        return []

    def load(self):
        return Load(state="starting")


def test_engines_of_a_model_keep_their_order_until_one_fails():
    a, b = EchoEngine("a"), EchoEngine("b")
    router = Router([a, b], {"b": 2})
    assert router.route("echo").engines == [a, b]
    assert router.route("echo").tries == 3
    router.failed(a)
    assert router.route("echo").engines == [b, a]


def test_one_engine_without_retries_is_tried_once():
    assert Router([EchoEngine()], {}).route("echo").tries == 1


def test_an_unknown_model_names_the_known_ones():
    with pytest.raises(NotFound, match="models: echo, other") as refused:
        Router([EchoEngine(model="other"), EchoEngine()], {}).route("gpt-9")
    assert (refused.value.param, refused.value.code) == ("model", "model_not_found")


def test_no_model_loaded_yet_is_not_a_mistake_of_the_caller():
    with pytest.raises(Unavailable, match="not ready"):
        Router([Down()], {}).route("echo")


def test_an_engine_whose_promise_is_used_up_comes_after_one_that_has_room():
    class Harvested(EchoEngine):
        made = 90.0

        def load(self):
            return Load(tokens_per_second=self.made, promised_tokens_per_second=100.0)

    a, b = Harvested("a"), EchoEngine("b")
    router = Router([a, b], {})
    assert router.route("echo").engines == [a, b]
    a.made = 100.0
    assert router.route("echo").engines == [b, a]
    router.failed(b)
    assert router.route("echo").engines == [a, b], "spent is better than broken"
