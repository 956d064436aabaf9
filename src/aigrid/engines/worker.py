"""The embedded engine's process: one model, one Unix socket, `python -m aigrid.engines.worker --socket PATH …`.

One thread does everything in turn: take what clients sent, run one step, send what it made (one frame per client
and step). OpenVINO holds Python's lock for a whole step, so a second thread would only wait for it.

The worker outlives its client: when the last one goes, what ran for it is cancelled, and the worker waits some
seconds for a new one that may ask how many tokens each request took. Then it ends.
"""

import argparse
import contextlib
import fcntl
import os
import selectors
import signal
import socket
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import openvino_genai as genai

from aigrid.core.errors import AigridError, BadRequest
from aigrid.engines import openvino_wire as wire
from aigrid.engines.base import Chunk
from aigrid.engines.meter import Meter, meter_path
from aigrid.engines.openvino_batch import Batch
from aigrid.engines.openvino_load import Loaded, load
from aigrid.engines.openvino_night import free_gb, idle_priority
from aigrid.engines.openvino_seat import keep_seat

EXIT_REFUSED = 3
"""Exit status when the model cannot be served; the last line of standard error says why."""

_OOM_PREFERENCE = 500
_LONGEST_SILENCE_S = 1.0
_PAUSE_LOOK_S = 0.02
"""How often a worker that is told to pause looks whether it may go on, in seconds."""


class Client:
    """One connection: what it has sent, what it is still to get."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.frames = wire.Frames(wire.ToWorker)
        self.out = bytearray()
        self.running: set[int] = set()

    def send(self, message: wire.ToClient) -> bool:
        """Queue a message and send what the socket takes; return whether something is left."""
        self.out += wire.pack(message)
        return self.flush()

    def flush(self) -> bool:
        """Send what the socket takes; return whether something is left. Raises `OSError` when the client is gone."""
        while self.out:
            try:
                sent = self.connection.send(self.out)
            except BlockingIOError:
                return True
            del self.out[:sent]
        return False


class Worker:
    """Serves a loaded model to the clients of a listening socket until nobody wants it any more."""

    def __init__(self, loaded: Loaded, listener: socket.socket, args: argparse.Namespace) -> None:
        self.batch = Batch(loaded, args.max_batch)
        self.context = loaded.context
        self.listener = listener
        self.args = args
        self.meter = Meter(meter_path(args.socket), create=True)
        self.meter["slots"] = args.max_batch
        self.clients: set[Client] = set()
        self.stopping = False
        self.alone_since = self.told_at = time.monotonic()
        self.selector = selectors.DefaultSelector()
        listener.setblocking(False)
        self.selector.register(listener, selectors.EVENT_READ)

    def run(self) -> None:
        """Work until stopped, or until no client has been there for the grace time."""
        while not self.stopping:
            busy, pause = self.batch.busy, self.meter.pause
            timeout = (_PAUSE_LOOK_S if pause else 0.0) if busy else None
            if not self.clients:
                left = self.alone_since + self.args.grace_s - time.monotonic()
                if left <= 0:
                    return
                timeout = timeout if busy else left
            # who has left is seen before who comes: a newcomer is told how many others there are
            for key, events in sorted(self.selector.select(timeout), key=lambda found: found[0].data is None):
                if key.fileobj is self.listener:
                    self._accept()
                else:
                    self._serve(key.data, events)
            self.meter["paused"] = int(pause)
            self.meter.look(*self.batch.counts)
            if self.batch.busy and not pause:
                self._step()
            elif self.batch.busy:
                self._reassure(set())

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError, ConnectionError):
            connection, _ = self.listener.accept()
            connection.setblocking(False)
            client = Client(connection)
            self.clients.add(client)
            self.selector.register(connection, selectors.EVENT_READ, client)
            self._send(client, wire.Hello(
                pid=os.getpid(), fingerprint=self.args.fingerprint, context=self.context,
                slots=self.args.max_batch, clients=len(self.clients),
            ))  # fmt: skip

    def _serve(self, client: Client, events: int) -> None:
        try:
            if events & selectors.EVENT_WRITE and not client.flush():
                self.selector.modify(client.connection, selectors.EVENT_READ, client)
            if events & selectors.EVENT_READ:
                data = client.connection.recv(1 << 20)
                if not data:
                    return self._drop(client)
                for message in client.frames.feed(data):
                    self._handle(client, message)
        except BlockingIOError:
            return None
        except (OSError, ValueError):  # gone, or it does not speak our language
            self._drop(client)
        return None

    def _handle(self, client: Client, message: wire.ToWorker) -> None:
        match message:
            case wire.Generate(seq, request):
                if self._answered(client, seq, lambda: self.batch.start((client, seq), request)):
                    client.running.add(seq)
            case wire.Cancel(seq):
                client.running.discard(seq)
                self.batch.cancel((client, seq))
            case wire.Count(seq, request):
                self._answered(
                    client, seq, lambda: self._send(client, wire.Counted(seq, len(self.batch.prompt(request))))
                )
            case wire.Report(seq, ids):
                self._send(client, wire.Reported(seq, self.batch.made(ids)))
            case wire.Stop():
                self.stopping = len(self.clients) == 1
                self._drop(client)

    def _answered(self, client: Client, seq: int, work: Any) -> bool:
        """Do some work for a request; an error goes to the client. Returns whether there was none."""
        try:
            work()
            return True
        except AigridError as error:
            self._send(client, _failure(seq, error))
        except Exception as error:  # whatever is wrong with one request is not to end the others
            traceback.print_exc()
            lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
            self._send(client, wire.Failed(seq, "engine", f"the engine failed on this request: {lines[-1]}"))
        return False

    def _step(self) -> None:
        frames: dict[Client, list[tuple[int, Chunk, bool]]] = {}
        begun, before = time.monotonic_ns(), self.batch.tokens
        self.batch.slots = self.meter.most_running(self.args.max_batch)
        for (client, seq), result, last in self.batch.step():
            if last:
                client.running.discard(seq)
            if isinstance(result, Chunk):
                frames.setdefault(client, []).append((seq, result, last))
            else:
                self._send(client, _failure(seq, result))
        for client, chunks in frames.items():
            self._send(client, wire.Made(chunks))
        self.meter.tell(self.batch.tokens - before, *self.batch.counts, time.monotonic_ns() - begun)
        self._reassure(set(frames))

    def _reassure(self, told: set[Client]) -> None:
        """Tell clients that heard nothing that we live: a long prompt takes many steps that make nothing."""
        now = time.monotonic()
        if now - self.told_at > _LONGEST_SILENCE_S:
            self.told_at = now
            for client in list(self.clients - told):
                self._send(client, wire.Made([]))

    def _send(self, client: Client, message: wire.ToClient) -> None:
        try:
            if client.send(message):
                both = selectors.EVENT_READ | selectors.EVENT_WRITE
                self.selector.modify(client.connection, both, client)
        except (OSError, KeyError):
            self._drop(client)

    def _drop(self, client: Client) -> None:
        if client not in self.clients:
            return
        self.clients.discard(client)
        self.selector.unregister(client.connection)
        client.connection.close()
        for seq in client.running:
            self.batch.cancel((client, seq))
        self.alone_since = time.monotonic()


def _failure(seq: int, error: AigridError) -> wire.Failed:
    kind = "bad_request" if isinstance(error, BadRequest) else "engine"
    return wire.Failed(seq, kind, error.message, error.param, error.code)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="aigrid.engines.worker", description=__doc__.splitlines()[0])
    parser.add_argument("--socket", type=Path, required=True, help="Unix socket to listen on")
    parser.add_argument("--model", type=Path, required=True, help="GGUF file, or folder with openvino_model.xml")
    parser.add_argument("--device", default="CPU", help="OpenVINO device")
    parser.add_argument("--threads", type=int, default=0, help="inference threads; 0 lets OpenVINO choose")
    parser.add_argument("--max-batch", type=int, default=64, help="requests decoded in one step")
    parser.add_argument("--cache-gb", type=int, default=0, help="key-value cache in GiB; 0 sizes it from free memory")
    parser.add_argument("--fingerprint", default="", help="told to clients, who look whether it is theirs")
    parser.add_argument("--grace-s", type=float, default=30.0, help="seconds to live on without a client")
    parser.add_argument("--idle", action="store_true", help="run only while no other process wants to")
    return parser.parse_args()


def _load(args: argparse.Namespace) -> Loaded:
    scheduler = genai.SchedulerConfig()
    scheduler.max_num_seqs = args.max_batch
    scheduler.enable_prefix_caching = True
    scheduler.cache_size = args.cache_gb or max(1, min(4, int(free_gb() / 4)))
    properties: dict[str, Any] = {"INFERENCE_NUM_THREADS": args.threads} if args.threads else {}
    if args.device == "CPU":  # by itself it nails each thread to a processor, whoever else is at work there
        properties["ENABLE_CPU_PINNING"] = False
    return load(args.model, args.device, properties, scheduler)


def main() -> int:
    """Serve until stopped; returns the exit status."""
    args = _arguments()
    if args.idle:
        idle_priority()
    keep_seat()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C on the terminal is for the client, who tells us
    with contextlib.suppress(OSError):  # when memory runs out, the kernel should take this process first
        Path("/proc/self/oom_score_adj").write_text(str(_OOM_PREFERENCE))
    guard = open(f"{args.socket}.lock", "w")  # noqa: SIM115 - held for the life of the process
    try:
        fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print(f"another worker already serves {args.socket}", file=sys.stderr)
        return EXIT_REFUSED
    args.socket.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(args.socket))
        args.socket.chmod(0o600)
        listener.listen(64)
        try:
            Worker(_load(args), listener, args).run()
        except AigridError as error:
            print(error.message, file=sys.stderr)
            return EXIT_REFUSED
        finally:
            args.socket.unlink(missing_ok=True)
            meter_path(args.socket).unlink(missing_ok=True)
    return 0


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # OpenVINO's threads need not be torn down one by one
