"""Sentence embeddings in this process: tokens, batches of like lengths, one stream of inference per core."""

import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from aigrid.core.errors import AigridError
from aigrid.engines.wordpiece import WordPiece

Floats = npt.NDArray[np.float32]

MAX_TOKENS = 256
"""What all-MiniLM-L6-v2 was made for; `[CLS]` and `[SEP]` count."""

_BATCH_TOKENS = 1024
_STEP = 8
_MOST_STREAMS = 16
_VECTORS, _WORDS = 0, 1


class Words(NamedTuple):
    """The pieces of a text (`##` starts one that goes on a word) and a unit vector in context for each."""

    pieces: list[str]
    vectors: Floats


class MiniLm:
    """A sentence encoder from a folder with `config.json`, `tokenizer.json` and `model.safetensors`.

    `precision` is `f32`, `bf16` (half the time, on processors that have it; vectors agree within 0.0001 of cosine), or
    empty for the better of the two. `context` is the most tokens that it can take, `max_tokens` what `embed` and
    `words` read of a text. Threads may share one. Raises `AigridError` where the folder holds something else.
    """

    def __init__(self, folder: Path, threads: int = 0, precision: str = "") -> None:
        import openvino as ov

        from aigrid.engines.minilm_build import build, read_shape, read_tensors

        shape = read_shape(folder)
        self.dimensions = shape.hidden_size
        self.context = shape.max_position_embeddings
        self.max_tokens = min(MAX_TOKENS, self.context)
        self.tokens = WordPiece(folder / "tokenizer.json")
        core = ov.Core()
        capable = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        self.precision = precision or ("bf16" if capable else "f32")
        threads = threads or len(os.sched_getaffinity(0))
        streams = min(threads, _MOST_STREAMS)
        settings = {
            "INFERENCE_PRECISION_HINT": self.precision,
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": streams,
            "ENABLE_CPU_PINNING": False,
        }
        try:
            model = build(read_tensors(folder / "model.safetensors"), shape)
            self._queue = ov.AsyncInferQueue(core.compile_model(model, "CPU", settings), streams)
        except (KeyError, RuntimeError) as error:
            raise AigridError(f"{folder} holds no BERT that can be run: {error}", code="unsupported_model") from error
        self._queue.set_callback(_keep)
        self._lock = threading.Lock()

    def embed(self, texts: Sequence[str]) -> Floats:
        """Return one unit vector per text, in order; what is beyond `max_tokens` is not read."""
        return self.embed_ids(self.tokens.encode_all(texts, self.max_tokens))

    def embed_ids(self, ids: Sequence[Sequence[int]]) -> Floats:
        """Return one unit vector per list of token ids, `[CLS]` and `[SEP]` among them."""
        vectors = np.empty((len(ids), self.dimensions), np.float32)

        def keep(rows: list[int], lengths: list[int], request: Any) -> None:
            vectors[rows] = request.get_output_tensor(_VECTORS).data

        self._run(ids, keep)
        return vectors

    def words(self, texts: Sequence[str]) -> list[Words]:
        """Return the pieces of each text, without `[CLS]` and `[SEP]`, and their vectors."""
        ids = self.tokens.encode_all(texts, self.max_tokens)
        found: list[Floats] = [np.empty((0, 0), np.float32)] * len(ids)

        def keep(rows: list[int], lengths: list[int], request: Any) -> None:
            data = request.get_output_tensor(_WORDS).data
            for place, row in enumerate(rows):
                found[row] = data[place, 1 : lengths[place] - 1].copy()

        self._run(ids, keep)
        return [Words(self.tokens.pieces(item[1:-1]), vectors) for item, vectors in zip(ids, found, strict=True)]

    def _run(self, ids: Sequence[Sequence[int]], keep: Any) -> None:
        with self._lock:
            for rows in batches([len(item) for item in ids]):
                lengths = [len(ids[row]) for row in rows]
                padded = np.zeros((len(rows), _width(lengths[0])), np.int32)
                for place, row in enumerate(rows):
                    padded[place, : lengths[place]] = ids[row]
                self._queue.start_async(
                    {"ids": padded, "lengths": np.array(lengths, np.int32)}, (keep, rows, lengths), share_inputs=False
                )
            self._queue.wait_all()


def _keep(request: Any, what: tuple[Any, list[int], list[int]]) -> None:
    keep, rows, lengths = what
    keep(rows, lengths, request)


def _width(length: int) -> int:
    return -(-length // _STEP) * _STEP


def batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Yield the rows of each batch: longest first, alike in length, none above `_BATCH_TOKENS` unless alone."""
    rows = sorted(range(len(lengths)), key=lambda row: -lengths[row])
    start = 0
    while start < len(rows):
        end = start + max(1, _BATCH_TOKENS // _width(lengths[rows[start]]))
        yield rows[start:end]
        start = end
