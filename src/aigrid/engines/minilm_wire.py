"""What the gateway and its embedding process say to each other: msgpack behind a length of four bytes."""

import struct
from collections.abc import Sequence

import msgspec


class Hello(msgspec.Struct, tag=0, array_like=True):
    """The model is loaded."""

    dimensions: int
    context: int


class Ask(msgspec.Struct, tag=1, array_like=True):
    """Texts, or lists of token ids without `[CLS]` and `[SEP]`, to embed together."""

    seq: int
    inputs: Sequence[str | list[int]]


class Made(msgspec.Struct, tag=2, array_like=True):
    """The vectors one after the other, as 32-bit floats of this machine, and the tokens they took."""

    seq: int
    tokens: int
    vectors: bytes


class Refused(msgspec.Struct, tag=3, array_like=True):
    """Input number `at` cannot be embedded; `why` goes on a sentence that begins with its name."""

    seq: int
    at: int
    why: str
    code: str


ToClient = Hello | Made | Refused

_encoder = msgspec.msgpack.Encoder()
LENGTH = struct.Struct("<I")


def pack(message: Ask | ToClient) -> bytes:
    """Return the frame of a message."""
    body = _encoder.encode(message)
    return LENGTH.pack(len(body)) + body
