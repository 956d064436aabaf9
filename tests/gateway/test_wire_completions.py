"""The text completion wire."""

import json
from typing import Any

import pytest

from aigrid.core.errors import BadRequest
from aigrid.engines.base import Chunk, Delta, TokenLogprob, Usage
from aigrid.gateway.wire import completions
from aigrid.ledger.base import Settlement

PAID = Settlement("rec_1", 3, 2, 0, 0, 50, 7, "estimate")


def parsed(**fields: Any) -> Any:
    return completions.WIRE.parse({"model": "m", "prompt": "hi", **fields}, "req_1")


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"prompt": ""}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [""]}, "prompt[0]"),
        ({"prompt": ["a", "b"]}, "prompt"),
        ({"prompt": [1, "b"]}, "prompt[1]"),
        ({"prompt": [-1]}, "prompt[0]"),
        ({"prompt": [1, True]}, "prompt[1]"),
        ({"prompt": [[1.5]]}, "prompt[0][0]"),
        ({"prompt": {}}, "prompt"),
        ({"logprobs": 6}, "logprobs"),
        ({"logprobs": True}, "logprobs"),
        ({"echo": True}, "echo"),
        ({"suffix": "x"}, "suffix"),
        ({"best_of": 3}, "best_of"),
        ({"max_tokens": -1}, "max_tokens"),
    ],
)
def test_a_bad_field_is_refused_by_name(change: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parsed(**change)
    assert caught.value.param == param


@pytest.mark.parametrize(("given", "prompt"), [("a", "a"), (["a"], "a"), ([1, 2], [1, 2]), ([[1, 2]], [1, 2])], ids=str)
def test_a_prompt_is_one_text_or_one_list_of_tokens(given: Any, prompt: Any) -> None:
    generate = parsed(prompt=given).generate
    assert (generate.prompt, generate.messages, generate.wire) == (prompt, None, "completions")


def test_a_stream_has_openais_frames() -> None:
    encoder = completions.WIRE.encoder(parsed(stream=True, stream_options={"include_usage": True}), 9)
    data = encoder.start(Usage()) + encoder.chunk(Chunk([Delta(text="a b")]))
    data += encoder.chunk(Chunk([Delta(finish_reason="length")])) + encoder.finish(Usage(1, 2), PAID)
    *frames, done = [part.removeprefix(b"data: ") for part in data.split(b"\n\n")[:-1]]
    got = [json.loads(frame) for frame in frames]
    assert [frame["choices"] for frame in got] == [
        [{"index": 0, "text": "a b", "logprobs": None, "finish_reason": None}],
        [{"index": 0, "text": "", "logprobs": None, "finish_reason": "length"}],
        [],
    ]
    assert {frame["object"] for frame in got} == {"text_completion"}
    assert got[2]["usage"]["total_tokens"] == 3
    assert done == b"[DONE]"


def test_log_probabilities_have_the_old_shape_and_running_offsets() -> None:
    tokens = [TokenLogprob("ab", -0.1, [("x", -2.0)]), TokenLogprob("c", -0.2, [])]
    encoder = completions.WIRE.encoder(parsed(logprobs=1), 9)
    for token in tokens:
        encoder.add(Chunk([Delta(text=token.token, logprobs=[token])]))
    choice = json.loads(encoder.whole(Usage(1, 2), PAID))["choices"][0]
    assert choice["logprobs"] == {
        "tokens": ["ab", "c"],
        "token_logprobs": [-0.1, -0.2],
        "top_logprobs": [{"x": -2.0}, {}],
        "text_offset": [0, 2],
    }
    streamed = completions.WIRE.encoder(parsed(logprobs=1, stream=True), 9)
    data = b"".join(streamed.chunk(Chunk([Delta(text=token.token, logprobs=[token])])) for token in tokens)
    offsets = [json.loads(f[6:])["choices"][0]["logprobs"]["text_offset"] for f in data.split(b"\n\n")[:-1]]
    assert offsets == [[0], [2]]
