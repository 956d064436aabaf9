"""The parsing process: takes open files from a socket, one by one, and sends back what is in them."""

import contextlib
import os
import socket

import msgspec

from aigrid.core.sandbox_lock import die_with, limit_cpu, lock
from aigrid.knowledge.base import Parsed


class Task(msgspec.Struct, frozen=True):
    """A file to parse; the open file itself comes beside this message. Times in seconds of processor time."""

    name: str
    max_bytes: int
    cpu_s: float


class Answer(msgspec.Struct, frozen=True):
    """What was in it, or why it cannot be read."""

    parsed: Parsed | None = None
    reason: str = ""


class Ready(msgspec.Struct, frozen=True):
    """The first message: the process has started and locked itself in."""

    walls: list[str]


def main(parent: int, memory_bytes: int) -> None:
    """Serve tasks from the socket on standard input until it closes."""
    die_with(parent)
    channel = socket.socket(fileno=os.dup(0))
    _load()
    send(channel, msgspec.msgpack.encode(Ready(lock(memory_bytes))))
    tasks = msgspec.msgpack.Decoder(Task)
    while True:
        message, files, _, _ = socket.recv_fds(channel, 65536, 1)
        if not message:
            return
        try:
            answer = _answer(tasks.decode(message), files[0])
        finally:
            for file in files:
                os.close(file)
        send(channel, msgspec.msgpack.encode(answer))


def send(channel: socket.socket, message: bytes) -> None:
    """Send a message with its length before it."""
    channel.sendall(len(message).to_bytes(4, "little") + message)


def _answer(task: Task, file: int) -> Answer:
    from aigrid.knowledge.parse import HEAD, Unreadable, parse, sniff

    limit_cpu(task.cpu_s)
    try:
        sniff(os.pread(file, HEAD, 0), task.name)
        size = os.fstat(file).st_size
        if size > task.max_bytes:
            return Answer(reason=f"it is too large: {size:,} bytes, where {task.max_bytes:,} are read")
        os.lseek(file, 0, os.SEEK_SET)
        with open(file, "rb", closefd=False) as whole:
            data = whole.read(task.max_bytes + 1)
        return Answer(parse(data, task.name))
    except Unreadable as error:
        return Answer(reason=error.message)
    except MemoryError:
        return Answer(reason="it needs more memory to be read than is allowed")
    except RecursionError:
        return Answer(reason="it is nested too deeply")
    except Exception as error:  # hostile files make libraries raise anything
        return Answer(reason=f"it is broken: {type(error).__name__}: {' '.join(str(error).split())[:200]}")


def _load() -> None:
    """Import everything that parsing may need while files can still be opened freely."""
    import email.policy
    import importlib

    import pypdfium2
    import selectolax.lexbor
    from lxml import etree

    for name in ("archive", "code", "html", "mail", "markdown", "office", "pdf", "sheet", "text", "xml"):
        importlib.import_module(f"aigrid.knowledge.parse.{name}")
    for encoding in ("cp932", "euc_jp", "gb18030", "big5hkscs", "cp949", "cp1252", "latin-1", "utf-16", "utf-32"):
        b"".decode(encoding)
    with contextlib.suppress(Exception):
        selectolax.lexbor.LexborHTMLParser("<p>warm").css("p")
    etree.XMLParser(resolve_entities=False)
    assert email.policy.default
    assert pypdfium2.PdfDocument
