"""Hostile input: broken and malicious files among good ones cost no answer, no leak, no hang; each is named.

Makes a folder of them, ingests it as `aigrid knowledge add` does, asks about every good file, and looks for what the
bad ones reach for: a secret outside the folder, `/etc/passwd`, a server that waits for a call.
"""

import hashlib
import os
import re
import socket
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from aigrid.knowledge.base import Vectors
from aigrid.knowledge.library import Library
from aigrid.knowledge.sandbox import Limits, Sandbox, Skipped
from benchmarks.common import arguments, log, report, resident_bytes
from benchmarks.good_files import GOOD
from benchmarks.hostile_corpus import AWKWARD, BAD, SECRET, Outside, make

MEMORY_GIB = 3.0
TOP = 3


class Hashed:
    """An embedder without a model: words and pairs of characters, hashed. How well it finds is not measured here."""

    name = "hashed"
    dimensions = 256
    max_tokens = 512

    def embed(self, texts: Sequence[str]) -> Vectors:
        vectors = np.full((len(texts), self.dimensions), 1e-3, np.float32)
        for row, text in enumerate(texts):
            for word in re.findall(r"\w+", text.lower()):
                for piece in [word] if word.isascii() else [word[at : at + 2] for at in range(len(word))]:
                    vectors[row, int.from_bytes(hashlib.blake2b(piece.encode()).digest()[:2]) % self.dimensions] += 1
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


class Memory:
    """The most memory that this process and its children held together, looked at again and again."""

    def __init__(self) -> None:
        self.before = self.peak = resident_bytes(os.getpid())
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Memory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.05):
            total = resident_bytes(os.getpid())
            for pid in children():
                try:
                    total += resident_bytes(pid)
                except (OSError, IndexError):
                    continue
            self.peak = max(self.peak, total)


def children() -> list[int]:
    """Return the processes that this one has started and that still run."""
    pids = []
    for task in Path("/proc/self/task").iterdir():
        try:
            pids += [int(pid) for pid in (task / "children").read_text().split()]
        except OSError:
            continue
    return pids


@contextmanager
def listener() -> Iterator[tuple[str, list[str]]]:
    """Listen on a port of this machine; yields its address and the calls that came."""
    calls: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def wait() -> None:
            while True:
                try:
                    connection, caller = server.accept()
                except OSError:
                    return
                calls.append(f"{caller}")
                connection.close()

        thread = threading.Thread(target=wait, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/", calls
        server.shutdown(socket.SHUT_RDWR)
    thread.join()


def answered(library: Library, folder: Path) -> dict[str, bool]:
    """Return for each good file whether a question about it finds its answer in it."""
    found = {}
    for name, (_, _, question, answer) in GOOD.items():
        hits = library.search(question, TOP)
        found[name] = any(hit.chunk.path == str(folder / name) and answer in hit.chunk.text for hit in hits)
    return found


def run() -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="aigrid-") as temporary, listener() as (url, calls):
        base = Path(temporary).resolve()
        folder = base / "files"
        folder.mkdir()
        log("making the files")
        left_out = make(folder, Outside(base / "secret.txt", url))
        bad = {name: words for name, (_, words) in BAD.items() if name not in left_out}
        library = Library(base / "library", Hashed)
        log(f"ingesting {len(bad)} bad, {len(AWKWARD)} awkward and {len(GOOD)} good files")
        with Memory() as memory:
            began = time.perf_counter()
            outcome = library.add([str(folder)], progress=lambda done, total, what: log(f"{done}/{total} {what!r}"))
            seconds = time.perf_counter() - began
        named = {Path(skipped.path).name: skipped.reason for skipped in outcome.skipped}
        links = {name for name in bad if (folder / name).is_symlink()}
        with Sandbox(Limits(), workers=1) as sandbox:
            for name in links - named.keys():  # folders are walked without following links; named one by one they are
                result = sandbox.parse(folder / name, within=folder)
                if isinstance(result, Skipped):
                    named[name] = result.reason
            walls = sandbox.walls()
        unnamed = sorted(name for name in bad if name not in named)
        mistaken = sorted(f"{name}: {named[name]}" for name in bad.keys() & named if not _says(named[name], bad[name]))
        good = answered(library, folder)
        texts = [library.source(source.id)[1] + source.note + source.title for source in library.sources()]
        leaks = sum(SECRET in text or "root:x:0:" in text for text in [*texts, *named.values()])
        awkward = {name: named.get(_shown(name), "read") for name in AWKWARD}
        library.close()
        left = children()
    return {
        "files": {"bad": len(bad), "awkward": len(AWKWARD), "good": len(GOOD), "not possible here": left_out},
        "seconds": round(seconds, 2),
        "peak_memory_gib": round(memory.peak / (1 << 30), 2),
        "memory_before_gib": round(memory.before / (1 << 30), 2),
        "walls": walls,
        "embedder": "hashed words (no model)",
        "unnamed": unnamed,
        "named_for_another_reason": mistaken,
        "not_answered": sorted(name for name, found in good.items() if not found),
        "awkward": {ascii(name)[1:-1]: what for name, what in awkward.items()},
        "reasons": dict(sorted(named.items())),
        "calls_to_the_outside": len(calls),
        "leaks": leaks,
        "processes_left": len(left),
        "holds": {
            "at least 50 broken or malicious files": len(bad) >= 50,
            "each bad file is named with its reason": not unnamed and not mistaken,
            "every good file is indexed and answers its question": all(good.values()),
            "nothing from outside the folder is in any text or reason": leaks == 0,
            "nothing was called on the network": not calls,
            "no hang: no file took longer than its limit": seconds < Limits().wall_s * 2,
            f"memory stays below {MEMORY_GIB} GiB for all processes together": memory.peak < MEMORY_GIB * (1 << 30),
            "no process is left behind": not left,
        },
    }


def _says(reason: str, words: Sequence[str]) -> bool:
    known = (*words, "not a file", "larger than", "No such file", "symbolic links", "link")
    return any(word in reason for word in known)


def _shown(name: str) -> str:
    return name if name.isprintable() else ascii(name)[1:-1]


if __name__ == "__main__":
    options = arguments("Hostile input: no answer lost, nothing leaked, nothing hung, each file named.").parse_args()
    report(run(), options.json)
