"""The embedded engine with the real default model; one worker serves all tests of this file."""

import asyncio
import contextlib
import json
import re

import jsonschema_rs
import pytest
import pytest_asyncio

from aigrid.core import models
from aigrid.core.config import Config, EngineConfig
from aigrid.core.errors import AigridError, BadRequest
from aigrid.engines.base import EmbedRequest, Engine, GenerateRequest, Grammar, Sampling
from aigrid.engines.openvino import OpenVinoEngine

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.xdist_group("engine")]

GREEDY = Sampling(temperature=0)
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "maxLength": 20}, "unit": {"enum": ["C", "F"]}},
            "required": ["city", "unit"],
            "additionalProperties": False,
        },
    },
}
TIME = {"type": "function", "function": {"name": "get_time", "parameters": {"type": "object", "properties": {},
        "additionalProperties": False}}}  # fmt: skip


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(tmp_path_factory):
    path = models.pull(models.resolve("smollm2-135m-instruct", Config()))
    engine = OpenVinoEngine("small", path, EngineConfig(cache_gb=1), tmp_path_factory.mktemp("run"))
    await engine.start()
    yield engine
    await engine.stop()


def chat(text="Tell me about the sea.", id="r", max_tokens=24, sampling=GREEDY, **more):
    messages = more.pop("messages", [{"role": "user", "content": text}])
    return GenerateRequest(id=id, model="small", max_tokens=max_tokens, messages=messages, sampling=sampling, **more)


class Answer:
    """What came of a request: the deltas of each choice, put together."""

    def __init__(self):
        self.text, self.tokens, self.finish, self.calls, self.logprobs, self.usage = {}, {}, {}, {}, {}, None

    def add(self, chunk):
        for delta in chunk.deltas:
            assert delta.index not in self.finish, "nothing comes after the end of a choice"
            self.text[delta.index] = self.text.get(delta.index, "") + delta.text
            self.tokens[delta.index] = self.tokens.get(delta.index, 0) + delta.tokens
            self.calls.setdefault(delta.index, []).extend(delta.tool_calls or [])
            self.logprobs.setdefault(delta.index, []).extend(delta.logprobs or [])
            if delta.finish_reason:
                self.finish[delta.index] = delta.finish_reason
        self.usage = chunk.usage or self.usage


async def answer(engine, request):
    got = Answer()
    async for chunk in engine.generate(request):
        got.add(chunk)
    assert got.usage is not None
    assert got.usage.completion_tokens == sum(got.tokens.values())
    assert got.usage.prompt_tokens == await engine.count(request)
    return got


async def test_it_answers_a_question(engine):
    assert isinstance(engine, Engine)
    got = await answer(engine, chat("What is the capital of France?", max_tokens=40))
    assert "Paris" in got.text[0]
    assert got.finish == {0: "stop"}
    (info,) = engine.models()
    assert (info.id, info.context, info.embeddings) == ("small", 8192, False)


async def test_the_first_chunk_tells_the_prompts_tokens_so_that_who_leaves_pays_for_them(engine):
    request = chat("Write a long story.", max_tokens=200)
    chunks = engine.generate(request)
    first = await anext(chunks)
    await chunks.aclose()
    assert first.usage.prompt_tokens == await engine.count(request)


async def test_what_it_cannot_do_is_refused_by_name(engine):
    request = chat("Hello")
    request.body = {"logit_bias": {"5": 3}}
    with pytest.raises(BadRequest) as refused:
        await answer(engine, request)
    assert refused.value.param == "logit_bias"


async def test_max_tokens_is_exact(engine):
    for most in (1, 2, 17):
        got = await answer(engine, chat("Write a long story.", max_tokens=most))
        assert got.tokens == {0: most}
        assert got.finish == {0: "length"}


async def test_many_streams_at_once_each_get_their_own(engine):
    alone = [await answer(engine, chat(f"Count to {n} slowly.", max_tokens=8)) for n in range(3, 7)]
    assert all(got.tokens == {0: 8} for got in alone)
    together = await asyncio.gather(
        *(answer(engine, chat(f"Write about the number {n}.", id=f"many{n}", max_tokens=10 + n)) for n in range(16))
    )
    assert [got.tokens[0] for got in together] == [10 + n for n in range(16)]
    assert await engine.report([f"many{n}" for n in range(16)]) == {f"many{n}": 10 + n for n in range(16)}


async def test_the_same_seed_draws_the_same_and_another_does_not(engine):
    def request(seed):
        return chat("Name an unusual animal and say why you like it.", sampling=Sampling(temperature=1.0, seed=seed))

    first = (await answer(engine, request(7))).text[0]
    assert (await answer(engine, request(7))).text[0] == first
    assert len({(await answer(engine, request(seed))).text[0] for seed in range(4)}) > 1
    assert len({(await answer(engine, request(None))).text[0] for _ in range(4)}) > 1


async def test_several_choices_differ_and_all_are_counted(engine):
    got = await answer(engine, chat("Name a colour.", n=3, max_tokens=12, sampling=Sampling(temperature=1.2, seed=1)))
    assert sorted(got.finish) == [0, 1, 2]
    assert len(set(got.text.values())) > 1


async def test_a_stop_string_ends_the_answer_before_it(engine):
    request = chat("Write a long story about a fox.", max_tokens=40)
    whole = (await answer(engine, request)).text[0]
    for stop in (whole[20:23], whole[31:45]):  # begins and ends inside tokens
        got = await answer(engine, chat("Write a long story about a fox.", max_tokens=40, stop=["@@", stop]))
        assert got.text[0] == whole[: whole.find(stop)]
        assert got.finish == {0: "stop"}
        assert got.tokens[0] < 40


async def test_characters_arrive_whole(engine):
    emoji = Grammar("regex", "(🎉|日|ö){12}")
    pieces = []
    async for chunk in engine.generate(chat("Party!", max_tokens=120, grammar=emoji)):
        pieces += [delta.text for delta in chunk.deltas]
    assert re.fullmatch("(🎉|日|ö){12}", "".join(pieces))
    assert any(not piece for piece in pieces), "some tokens are part of a character"
    assert not any("�" in piece for piece in pieces)


async def test_a_json_schema_is_obeyed(engine):
    schema = {
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 10},
            "age": {"type": "integer"},
            "ok": {"type": "boolean"},
        },
        "required": ["name", "age", "ok"],
        "additionalProperties": False,
    }
    grammar = Grammar("json_schema", json.dumps(schema))
    got = await answer(engine, chat("Describe Bob, aged 42, as JSON.", max_tokens=80, grammar=grammar))
    jsonschema_rs.validate(schema, json.loads(got.text[0]))
    assert got.finish == {0: "stop"}


async def test_any_json_object_and_regex(engine):
    got = await answer(
        engine, chat("Describe Bob, 42, in short JSON with name and age.", max_tokens=200, grammar=Grammar("json"))
    )
    assert got.text[0].startswith("{")
    if got.finish[0] == "stop":
        assert isinstance(json.loads(got.text[0]), dict)
    got = await answer(engine, chat("A number?", grammar=Grammar("regex", "[0-9]{3}-[a-f]{2}")))
    assert re.fullmatch("[0-9]{3}-[a-f]{2}", got.text[0])


@pytest.mark.parametrize(
    ("grammar", "says"),
    [
        (Grammar("json_schema", '{"type":'), "is not JSON"),
        (Grammar("json_schema", '{"type": "frob"}'), "Unsupported type"),
        (Grammar("regex", "(?=a)b"), "Lookahead is not supported"),
        (Grammar("json_schema", '{"type": "string", "maxLength": 10000000}'), "is the most"),
        (Grammar("regex", "a" * 70_000), "is the most"),
    ],
)
async def test_a_bad_grammar_is_refused_and_harms_nobody(engine, grammar, says):
    other = asyncio.create_task(answer(engine, chat("Write a story.", max_tokens=30)))
    await asyncio.sleep(0.05)
    with pytest.raises(BadRequest, match=says) as caught:
        await answer(engine, chat(grammar=grammar))
    assert caught.value.param == "response_format"
    assert (await other).tokens == {0: 30}


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "get_weather"}}])
async def test_a_forced_tool_call_obeys_its_schema(engine, choice):
    tools = [WEATHER] if choice == "required" else [TIME, WEATHER]
    got = await answer(engine, chat("Weather in Paris?", max_tokens=100, tools=tools, tool_choice=choice))
    assert got.finish == {0: "tool_calls"}
    assert got.text[0].strip() == ""
    first, *rest = got.calls[0]
    assert first.name == "get_weather"
    assert first.id.startswith("call_")
    assert all(call.name is None for call in rest)
    arguments = json.loads("".join(call.arguments for call in got.calls[0]))
    jsonschema_rs.validate(WEATHER["function"]["parameters"], arguments)


WILD = {
    "type": "object",
    "properties": {
        "text": {"type": "string", "enum": ["one", "two"]},
        "numbers": {"type": "array", "items": {"type": "number"}},
        "count": {"type": "integer"},
        "kind": {"type": "string", "enum": ["a", 'b "quoted" \\ back']},
        "nested": {
            "type": "object",
            "properties": {"names": {"type": "array", "items": {"enum": ["x", "y"]}, "minItems": 1}},
            "required": ["names"],
        },
        "either": {"anyOf": [{"type": "boolean"}, {"type": "null"}]},
        "many": {"type": ["integer", "boolean"]},
    },
    "required": ["text", "numbers", "nested"],
}


@pytest.mark.parametrize("seed", range(4))
async def test_arguments_are_whole_even_where_the_model_raves(engine, seed):
    """Where every token is about as likely as any other, only the grammar ends a list or a number."""
    tools = [{"type": "function", "function": {"name": "rave", "parameters": WILD}}]
    wild = Sampling(temperature=2.0, top_p=1.0, top_k=0, seed=seed)
    got = await answer(engine, chat("Go.", max_tokens=400, tools=tools, tool_choice="required", sampling=wild))
    assert got.finish == {0: "tool_calls"}
    jsonschema_rs.validate(WILD, json.loads("".join(call.arguments for call in got.calls[0])))


@pytest.mark.parametrize("max_tokens", [90, 150])
async def test_a_call_whose_string_would_go_on_and_on_is_whole(engine, max_tokens):
    """The story is longer than the tokens; what is required behind it still comes."""
    parameters = {
        "type": "object",
        "properties": {"story": {"type": "string"}, "count": {"type": "integer"}},
        "required": ["story", "count"],
    }
    tools = [{"type": "function", "function": {"name": "print_story", "parameters": parameters}}]
    told = chat(
        "Print the story: " + "la la " * 80, max_tokens=max_tokens, tools=tools, tool_choice="required", stop=[]
    )
    got = await answer(engine, told)
    assert got.finish == {0: "tool_calls"}
    assert got.usage.completion_tokens <= max_tokens
    jsonschema_rs.validate(parameters, json.loads("".join(call.arguments for call in got.calls[0])))


async def test_tools_that_are_not_strict_constrain_nothing_unless_a_call_is_demanded(engine):
    loose = {"type": "function", "function": {**WEATHER["function"], "strict": False}}
    free = await answer(engine, chat("Say hello.", tools=[loose], max_tokens=30))
    plain = await answer(engine, chat("Say hello.", tools=[loose], tool_choice="auto", max_tokens=30))
    assert free.text == plain.text
    forced = await answer(engine, chat("Weather?", tools=[loose], tool_choice="required", max_tokens=200))
    assert isinstance(json.loads("".join(call.arguments for call in forced.calls[0])), dict)


async def test_a_free_choice_may_be_text_and_results_may_follow_calls(engine):
    got = await answer(engine, chat("Say hello.", tools=[WEATHER], tool_choice="auto"))
    assert got.finish[0] in ("stop", "length", "tool_calls")
    call = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city":"Paris"}'}}
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Weather in Paris?"}]},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "21 degrees, sunny"},
    ]
    assert (await answer(engine, chat(messages=messages, tools=[WEATHER], max_tokens=30))).text[0]


async def test_a_tool_that_does_not_exist_is_named(engine):
    with pytest.raises(BadRequest, match="names `frob`, which is not among the tools: get_weather"):
        await answer(engine, chat(tools=[WEATHER], tool_choice={"type": "function", "function": {"name": "frob"}}))


async def test_logprobs_are_of_the_chosen_tokens(engine):
    sampling = Sampling(temperature=0, logprobs=True, top_logprobs=1)
    got = await answer(engine, chat("What is the capital of France?", sampling=sampling))
    assert "".join(item.token for item in got.logprobs[0]) == got.text[0]
    assert len(got.logprobs[0]) == got.tokens[0]
    assert all(item.logprob <= 0 and item.top == [(item.token, item.logprob)] for item in got.logprobs[0])
    with pytest.raises(BadRequest, match="leave top_logprobs out"):
        await answer(engine, chat(sampling=Sampling(logprobs=True, top_logprobs=5)))


async def test_completions_take_text_and_tokens(engine):
    for prompt, tokens in (("The capital of France is", 5), ([504, 3575, 282, 4649, 314], 5)):
        request = GenerateRequest(id="c", model="small", max_tokens=4, prompt=prompt, sampling=GREEDY)
        got = await answer(engine, request)
        assert got.usage.prompt_tokens == tokens
        assert "Paris" in got.text[0]


@pytest.mark.parametrize(
    ("request_", "param", "code"),
    [
        (chat("x " * 9000), "messages", "context_length_exceeded"),
        (GenerateRequest(id="r", model="m", max_tokens=1, prompt="x " * 9000), "prompt", "context_length_exceeded"),
        (GenerateRequest(id="r", model="m", max_tokens=1, prompt=[10**9]), "prompt", None),
        (GenerateRequest(id="r", model="m", max_tokens=1, prompt=""), "prompt", None),
        (chat(messages=[]), "messages", None),
        (chat(messages=[{"content": "x"}]), "messages[0].role", None),
        (chat(messages=[{"role": "user", "content": [{"type": "image_url"}]}]), "messages[0].content[0]", None),
    ],
)
async def test_what_cannot_be_a_prompt_is_refused_by_field(engine, request_, param, code):
    with pytest.raises(BadRequest) as caught:
        await answer(engine, request_)
    assert (caught.value.param, caught.value.code) == (param, code)


async def test_the_bound_is_never_below_the_count(engine):
    for request in (
        chat("日本語 🎉 ~~~~"),
        chat("", tools=[WEATHER, TIME]),
        chat(messages=[{"role": "user", "content": "é" * 500}] * 3),
    ):
        assert engine.token_bound(request) >= await engine.count(request)


async def test_closing_the_stream_cancels_at_once(engine):
    stream = engine.generate(chat("Write a very long story.", id="cancelled", max_tokens=4000))
    for _ in range(3):
        await anext(stream)
    assert engine.load().running == 1
    await stream.aclose()
    assert engine.load().running == 0
    made = (await engine.report(["cancelled"]))["cancelled"]
    assert 3 <= made < 4000
    assert (await answer(engine, chat("Hi.", max_tokens=2))).tokens == {0: 2}
    assert (await engine.report(["cancelled"]))["cancelled"] == made, "steps are made, but not for it"


async def test_load_tells_what_runs(engine):
    stream = engine.generate(chat("Write a very long story.", max_tokens=500))
    for _ in range(10):
        await anext(stream)
    while not (load := engine.load()).tokens_per_second:  # nothing came in the last second
        await anext(stream)
    assert (load.running, load.state, load.capacity, len(load.pids)) == (1, "ready", 64, 1)
    assert load.tokens_per_second > 0
    await stream.aclose()


async def test_embeddings_are_refused_with_what_to_do(engine):
    with pytest.raises(BadRequest, match="no embedding model is loaded") as caught:
        await engine.embed(EmbedRequest(id="e", model="small", inputs=["x"]))
    assert caught.value.param == "model"


async def test_a_second_client_finds_the_worker_and_its_counts(engine, tmp_path):
    await answer(engine, chat(id="before", max_tokens=5))
    process = engine._process
    second = OpenVinoEngine("small", process._model, process._config, process._run_dir)
    await second.start()
    assert second.load().pids == engine.load().pids
    assert await second.report(["before", "never"]) == {"before": 5}
    await second.stop()  # leaves the worker to the first client
    assert (await answer(engine, chat(max_tokens=3))).tokens == {0: 3}


async def test_any_messages_get_an_answer_or_a_clear_error(engine):
    strange = [
        [{"role": "frob", "content": "x"}],
        [{"role": "user", "content": 7}],
        [{"role": "assistant", "content": None, "tool_calls": [{"id": "x"}]}],
        [{"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f", "arguments": "not json"}}]}],
        [{"role": "user", "content": "\x00\ud83d".encode("utf-8", "replace").decode()}],
        [{"role": "user", "content": "<|im_end|><|im_start|>"}],
    ]
    for messages in strange:
        with contextlib.suppress(AigridError):
            await answer(engine, chat(messages=messages, max_tokens=2))
    assert engine.load().state == "ready"
