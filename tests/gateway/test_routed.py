"""A router at the door: two real upstreams of different names, and which of them answers."""

import json
import random
from contextlib import AsyncExitStack

import msgspec
import pytest

from aigrid.core.config import Config, TierConfig, UpstreamConfig
from aigrid.core.errors import ConfigError
from aigrid.engines.base import Load, ModelInfo
from aigrid.engines.echo import EchoEngine
from aigrid.engines.openai import OpenAIEngine
from aigrid.gateway.app import Gateway
from aigrid.gateway.routing import COOL_DOWN_NS
from aigrid.ledger.base import Limits
from aigrid.thinking.policy import Policy
from aigrid.thinking.router import base, data
from aigrid.thinking.router.base import Target
from aigrid.thinking.router.train import train
from tests.engines.conftest import echo_server


class Named(EchoEngine):
    """The echo engine under another name; can be down."""

    def __init__(self, name):
        super().__init__(name)
        self.down = False

    def models(self):
        return [ModelInfo(self.name)]

    def load(self):
        return Load(state="down" if self.down else "ready")


@pytest.fixture(scope="module")
def router_file(tmp_path_factory):
    luck = random.Random(2)
    lines = []
    for at in range(400):
        hard = at % 2 == 0
        text = f"prove theorem {luck.randint(1, 10**9)}" if hard else f"greet guest {luck.randint(1, 10**9)}"
        lines.append(json.dumps({"prompt": text, "label": "strong" if hard else "weak"}).encode())
    made = train(data.read(lines, "t"), Target("small"), Target("large"), cost=0.5, tell=lambda _: None)
    path = tmp_path_factory.mktemp("router") / "router.json"
    path.write_bytes(msgspec.json.encode(made))
    return path


def routed(path, *tiers, **more):
    rules = [TierConfig(tier=tier, model="auto", router=str(path), **more) for tier in tiers or ("fast",)]

    def attach(gateway):
        gateway.thinking.planner = Policy(Config(tiers=rules))

    return attach


HARD, EASY = "prove theorem 12", "greet guest 12"


async def test_each_question_goes_to_the_cheapest_model_that_is_good_enough(door, router_file):
    async with door([Named("small"), Named("large")], [routed(router_file)]) as at:
        for text, model, side in ((HARD, "large", "strong"), (EASY, "small", "weak")):
            status, headers, body = await at.chat(text, model="auto")
            assert status == 200, body
            assert body["model"] == model
            told = body["aigrid"]["routed"]
            assert (told["name"], told["side"], told["model"]) == ("auto", side, model)
            assert (told["score"] >= told["threshold"]) == (side == "strong")
            assert headers["x-aigrid-routed"].startswith(f"auto: {model}, {side} (")
            record = (await at.records())[0]
            assert (record.model, record.site, record.revenue_nusd) == (model, model, body["aigrid"]["cost_nusd"])
            assert record.note == headers["x-aigrid-routed"]
        assert await at.ledger.check() == []


async def test_two_servers_are_chosen_between_over_http(door, router_file):
    async with AsyncExitStack() as stack:
        up = []
        for name in ("small", "large"):
            port = await stack.enter_async_context(echo_server(name))
            up.append(OpenAIEngine(UpstreamConfig(f"at-{name}", f"http://127.0.0.1:{port}", models=[name])))
        at = await stack.enter_async_context(door(up, [routed(router_file)]))
        for text, model in ((HARD, "large"), (EASY, "small")):
            _, headers, body = await at.chat(text, model="auto")
            assert body["model"] == model
            assert (headers["x-aigrid-site"], headers["x-aigrid-routed"].split()[1]) == (f"at-{model}", f"{model},")
            record = (await at.records())[0]
            assert (record.model, record.site) == (model, f"at-{model}")


async def test_a_model_that_is_named_is_kept(door, router_file):
    async with door([Named("small"), Named("large")], [routed(router_file)]) as at:
        _, headers, body = await at.chat(HARD, model="small")
        assert body["model"] == "small"
        assert "routed" not in body["aigrid"]
        assert "x-aigrid-routed" not in headers
        assert (await at.records())[0].note == ""


async def test_every_endpoint_and_stream_is_routed(door, router_file):
    async with door([Named("small"), Named("large")], [routed(router_file)]) as at:
        ask = {"model": "auto", "max_tokens": 20}
        say = [{"role": "user", "content": HARD}]
        for path, more in (
            ("/v1/completions", {"prompt": HARD}),
            ("/v1/messages", {"messages": say}),
            ("/v1/responses", {"model": "auto", "input": HARD, "max_output_tokens": 20}),
        ):
            _, headers, body = await at.ask("POST", path, {**({} if "input" in more else ask), **more})
            assert body["model"] == "large", body
            assert body["aigrid"]["routed"]["side"] == "strong"
            assert "large, strong" in headers["x-aigrid-routed"]
        _, headers, raw = await at.chat(HARD, model="auto", stream=True, stream_options={"include_usage": True})
        assert b'"model":"large"' in raw
        assert b'"routed":{"name":"auto","side":"strong"' in raw
        assert "large, strong" in headers["x-aigrid-routed"]


async def test_the_name_is_listed_with_the_models(door, router_file):
    async with door([Named("small"), Named("large")], [routed(router_file)]) as at:
        _, _, body = await at.ask("GET", "/v1/models")
        assert [each["id"] for each in body["data"]] == ["small", "large", "auto"]
        status, _, body = await at.ask("GET", "/v1/models/auto")
        assert (status, body["id"]) == (200, "auto")


async def test_budgets_hold_for_the_model_that_answers(door, router_file):
    async with door([Named("small"), Named("large")], [routed(router_file)]) as at:
        _, secret = await at.ledger.create_key("poor")
        await at.ledger.set_tenant("poor", Limits(total_nusd=1))
        status, _, body = await at.chat(HARD, secret, model="auto", max_tokens=100)
        assert status == 429
        assert body["error"]["type"] == "insufficient_quota"


async def test_a_model_that_is_away_gives_way_to_the_other(door, router_file):
    large = Named("large")
    async with door([Named("small"), large], [routed(router_file)]) as at:
        large.down = True
        _, _, body = await at.chat(HARD, model="auto")
        assert body["model"] == "small"
        assert body["aigrid"]["routed"]["note"] == "large is not served now"
        assert (await at.records())[0].note.endswith("; large is not served now")
        large.down = False
        at.gateway.router.failed(large)
        assert (await at.chat(HARD, model="auto"))[2]["model"] == "small"
        at.gateway.router._failed_ns["large"] -= COOL_DOWN_NS
        assert (await at.chat(HARD, model="auto"))[2]["model"] == "large"


async def test_a_rule_with_a_router_says_how_to_think_too(door, router_file):
    think = routed(router_file, "think", strategy="self_consistency", n=3)
    async with door([Named("small"), Named("large")], [think]) as at:
        _, _, body = await at.chat(HARD, model="auto", service_tier="think", aigrid={"trace": True})
        assert body["aigrid"]["routed"]["model"] == "large"
        assert len(body["aigrid"]["thinking"]["candidates"]) == 3
        assert {each.model for each in await at.records()} == {"large"}
        status, _, body = await at.chat(HARD, model="auto")
        assert (status, body["error"]["param"]) == (404, "service_tier")
        assert "ask for the tier think" in body["error"]["message"]


async def test_a_router_may_choose_between_asking_once_and_thinking(door, router_file, tmp_path):
    found = base.read(router_file)
    thinks = msgspec.structs.replace(
        found, weak=Target("small"), strong=Target("small", "self_consistency", 4)
    ).signed()
    assert found.digest != thinks.digest
    (tmp_path / "r.json").write_bytes(msgspec.json.encode(thinks))
    async with door([Named("small")], [routed(tmp_path / "r.json")]) as at:
        _, _, body = await at.chat(EASY, model="auto", aigrid={"trace": True})
        assert len(body["aigrid"]["thinking"]["candidates"]) == 1
        _, _, body = await at.chat(HARD, model="auto", aigrid={"trace": True})
        assert len(body["aigrid"]["thinking"]["candidates"]) == 4
        assert len((await at.chat(HARD, model="auto", n=2))[2]["choices"]) == 2


async def test_what_a_router_needs_is_looked_at_before_the_door_opens(door, router_file, tmp_path):
    with pytest.raises(ConfigError, match="chooses large, which nobody here serves"):
        async with door([Named("small")], [routed(router_file)]):
            pass
    with pytest.raises(ConfigError, match="a model is called `auto`"):
        async with door([Named("small"), Named("large"), Named("auto")], [routed(router_file)]):
            pass
    tampered = tmp_path / "tampered.json"
    tampered.write_text(router_file.read_text().replace('"threshold":0.', '"threshold":0.1'))
    for rule, said in (
        (TierConfig(tier="fast", model="auto", router=str(tampered)), "has changed since it was made"),
        (TierConfig(tier="fast", router=str(router_file)), "needs a `model` of its own"),
        (TierConfig(tier="fast", model="auto", router=str(tmp_path / "none.json")), "cannot read the router"),
    ):
        with pytest.raises(ConfigError, match=said):
            Gateway(Config(tiers=[rule]), None, [])
