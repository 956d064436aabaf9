"""What the embedded engine's client and its worker process say to each other over a Unix socket.

A frame is a little-endian 32-bit length and that many bytes of MessagePack. `seq` numbers a request within one
connection; `id` is the gateway's own and outlives it.
"""

import struct
from typing import Any

import msgspec

from aigrid.engines.base import Chunk, GenerateRequest

LARGEST_FRAME = 256 << 20


class _Message(msgspec.Struct, array_like=True, gc=False):
    pass


class Generate(_Message, tag=1):
    """Make tokens; answered by `Made`, or once by `Failed`."""

    seq: int
    request: GenerateRequest


class Cancel(_Message, tag=2):
    """Stop working on `seq`; not answered."""

    seq: int


class Count(_Message, tag=3):
    """How many tokens is this request's prompt? Answered by `Counted` or `Failed`."""

    seq: int
    request: GenerateRequest


class Report(_Message, tag=4):
    """How many completion tokens were made for these requests? Answered by `Reported`."""

    seq: int
    ids: list[str]


class Stop(_Message, tag=5):
    """End the worker, unless other clients are connected; answered by the end of the connection."""


class Hello(_Message, tag=10):
    """The model is loaded. First frame of every connection."""

    pid: int
    fingerprint: str
    context: int
    slots: int
    clients: int


class Made(_Message, tag=11):
    """What one step made, for all requests of the connection together: (seq, chunk, whether it is the last).

    One without chunks says that the worker is alive.
    """

    chunks: list[tuple[int, Chunk, bool]]


class Failed(_Message, tag=12):
    """The request cannot be served. `kind` is `bad_request` or `engine`."""

    seq: int
    kind: str
    message: str
    param: str | None = None
    code: str | None = None


class Counted(_Message, tag=13):
    """Exact number of prompt tokens."""

    seq: int
    tokens: int


class Reported(_Message, tag=14):
    """Completion tokens by request id; ids that are not known any more are left out."""

    seq: int
    tokens: dict[str, int]


ToWorker = Generate | Cancel | Count | Report | Stop
ToClient = Hello | Made | Failed | Counted | Reported

_encoder = msgspec.msgpack.Encoder()
_length = struct.Struct("<I")


def pack(message: ToWorker | ToClient) -> bytes:
    """Return the frame of a message."""
    body = _encoder.encode(message)
    return _length.pack(len(body)) + body


class Frames:
    """Cuts a byte stream into messages of one direction's types."""

    def __init__(self, types: Any) -> None:
        self._decode = msgspec.msgpack.Decoder(types).decode
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Any]:
        """Take bytes and return the messages now complete; raises `ValueError` for what is none."""
        buffer = self._buffer
        buffer += data
        found, at, end = [], 0, len(buffer)
        while end - at >= 4:
            (size,) = _length.unpack_from(buffer, at)
            if size > LARGEST_FRAME:
                raise ValueError(f"frame of {size} bytes")
            if end - at - 4 < size:
                break
            try:
                found.append(self._decode(buffer[at + 4 : at + 4 + size]))
            except msgspec.MsgspecError as error:
                raise ValueError(f"not a message of ours: {error}") from error
            at += 4 + size
        del buffer[:at]
        return found
