"""The embedding process: reads texts from stdin, writes vectors to stdout, ends with its stdin.

What waits is embedded together, so that many small requests cost little more than one large one.
"""

import argparse
import contextlib
import os
import select
import signal
import sys
from pathlib import Path

import msgspec

from aigrid.core.errors import AigridError
from aigrid.engines.minilm import MiniLm
from aigrid.engines.minilm_wire import LENGTH, Ask, Hello, Made, Refused, ToClient, pack

EXIT_REFUSED = 3
_TOGETHER = 256
_NICE = 5
_OOM_PREFERENCE = 500

_decoder = msgspec.msgpack.Decoder(Ask)


class Worker:
    """One model between two pipes."""

    def __init__(self, model: MiniLm, source: int, sink: int) -> None:
        self.model = model
        self.source = source
        self.sink = sink

    def run(self) -> None:
        """Answer until the source ends."""
        self._send(Hello(self.model.dimensions, self.model.context))
        while first := self._receive():
            asked = [first]
            while sum(len(ask.inputs) for ask in asked) < _TOGETHER and select.select([self.source], [], [], 0)[0]:
                another = self._receive()
                if another is None:
                    return
                asked.append(another)
            self._answer(asked)

    def _answer(self, asked: list[Ask]) -> None:
        ids: list[list[int]] = []
        served: list[tuple[Ask, int]] = []
        for ask in asked:
            mine = [self._ids(text) for text in ask.inputs]
            refusal = next((self._check(ask.seq, at, item) for at, item in enumerate(mine) if self._bad(item)), None)
            if refusal is not None:
                self._send(refusal)
                continue
            served.append((ask, sum(map(len, mine))))
            ids += mine
        vectors = self.model.embed_ids(ids)
        at = 0
        for ask, tokens in served:
            self._send(Made(ask.seq, tokens, vectors[at : at + len(ask.inputs)].tobytes()))
            at += len(ask.inputs)

    def _ids(self, given: str | list[int]) -> list[int]:
        words = self.model.tokens
        if isinstance(given, str):
            return words.encode(given, self.model.context + 1)
        return [words.first, *given, words.last]

    def _bad(self, ids: list[int]) -> bool:
        return len(ids) > self.model.context or max(ids) >= self.model.tokens.size

    def _check(self, seq: int, at: int, ids: list[int]) -> Refused:
        if len(ids) > self.model.context:
            why = f"is longer than the {self.model.context} tokens of this model's maximum context length; cut it up"
            return Refused(seq, at, why, "context_length_exceeded")
        return Refused(seq, at, f"holds {max(ids)}, which is not a token of this model", "invalid_token")

    def _receive(self) -> Ask | None:
        head = self._read(LENGTH.size)
        body = self._read(LENGTH.unpack(head)[0]) if head else b""
        return _decoder.decode(body) if body else None

    def _read(self, size: int) -> bytes:
        """Return exactly so many bytes, or none at the end of the source."""
        data = bytearray()
        while len(data) < size:
            part = os.read(self.source, min(size - len(data), 1 << 20))
            if not part:
                return b""
            data += part
        return bytes(data)

    def _send(self, message: ToClient) -> None:
        left = memoryview(pack(message))
        while left:
            left = left[os.write(self.sink, left) :]


def main() -> int:
    """Serve until stdin ends; returns the exit status."""
    parser = argparse.ArgumentParser(prog="aigrid.engines.minilm_worker", description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder of the model")
    parser.add_argument("--threads", type=int, default=0, help="inference threads; 0 takes all cores")
    args = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C on the terminal is for the gateway, who closes our stdin
    os.nice(_NICE)
    with contextlib.suppress(OSError):  # when memory runs out, the kernel should take this process first
        Path("/proc/self/oom_score_adj").write_text(str(_OOM_PREFERENCE))
    sink = os.dup(1)
    os.dup2(2, 1)  # what libraries print must not end up between our messages
    try:
        Worker(MiniLm(args.folder, args.threads), 0, sink).run()
    except AigridError as error:
        print(error.message, file=sys.stderr)
        return EXIT_REFUSED
    except BrokenPipeError:
        pass
    return 0


if __name__ == "__main__":
    status = main()
    sys.stderr.flush()
    os._exit(status)  # OpenVINO's threads need not be torn down one by one
