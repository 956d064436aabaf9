"""The embeddings wire."""

import base64
import json
import struct
from typing import Any

import pytest

from aigrid.core.errors import BadRequest
from aigrid.engines.base import Embeddings, Usage
from aigrid.gateway.wire import embeddings


def parsed(**fields: Any) -> embeddings.ParsedEmbedding:
    return embeddings.parse({"model": "m", "input": "hi", **fields}, "req_1")


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": ["a", ""]}, "input[1]"),
        ({"input": ["a", 1]}, "input[1]"),
        ({"input": [1, "a"]}, "input[1]"),
        ({"input": [[]]}, "input[0]"),
        ({"input": [[1], [-1]]}, "input[1][0]"),
        ({"input": ["a"] * 2049}, "input"),
        ({"input": {}}, "input"),
        ({"encoding_format": "hex"}, "encoding_format"),
        ({"dimensions": 0}, "dimensions"),
    ],
)
def test_a_bad_field_is_refused_by_name(change: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parsed(**change)
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("given", "inputs"),
    [("a", ["a"]), (["a", "b"], ["a", "b"]), ([1, 2], [[1, 2]]), ([[1], [2]], [[1], [2]])],
    ids=str,
)
def test_inputs_are_always_a_list(given: Any, inputs: Any) -> None:
    assert parsed(input=given).request.inputs == inputs


async def test_base64_is_little_endian_float32() -> None:
    made = Embeddings([[0.5, -1.0]], Usage(3))
    plain = json.loads(await embeddings.encode(parsed(), made))
    assert plain["data"] == [{"object": "embedding", "index": 0, "embedding": [0.5, -1.0]}]
    assert plain["usage"] == {"prompt_tokens": 3, "total_tokens": 3}
    packed = json.loads(await embeddings.encode(parsed(encoding_format="base64"), made))["data"][0]["embedding"]
    assert struct.unpack("<2f", base64.b64decode(packed)) == (0.5, -1.0)
