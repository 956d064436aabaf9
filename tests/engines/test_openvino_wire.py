import pytest
from hypothesis import given
from hypothesis import strategies as st

from aigrid.engines import openvino_wire as wire
from aigrid.engines.base import Chunk, Delta, GenerateRequest, Usage

SENT = [
    wire.Hello(pid=1, fingerprint="f", context=8, slots=2, clients=1),
    wire.Made([(3, Chunk([Delta(text="é", tokens=1)]), False), (4, Chunk(usage=Usage(1, 2)), True)]),
    wire.Failed(5, "bad_request", "no", "messages", None),
    wire.Reported(6, {"a": 1}),
]


@given(st.lists(st.integers(0, 400)))
def test_messages_arrive_whole_wherever_the_stream_is_cut(places):
    data = b"".join(wire.pack(message) for message in SENT)
    edges = sorted({0, len(data), *(place % len(data) for place in places)})
    frames = wire.Frames(wire.ToClient)
    assert [m for a, b in zip(edges, edges[1:], strict=False) for m in frames.feed(data[a:b])] == SENT  # noqa: RUF007


def test_a_request_survives_the_way():
    request = GenerateRequest(id="r", model="m", max_tokens=5, messages=[{"role": "user", "content": None}], n=2)
    (got,) = wire.Frames(wire.ToWorker).feed(wire.pack(wire.Generate(7, request)))
    assert (got.seq, got.request) == (7, request)


@pytest.mark.parametrize("data", [b"\xff\xff\xff\xff", b"\x01\x00\x00\x00\xc1", wire.pack(wire.Stop())])
def test_what_is_no_message_is_refused(data):
    with pytest.raises(ValueError, match=r"frame of|not a message"):
        wire.Frames(wire.ToClient).feed(data)
