"""The worker as an operating-system process: started, found again, and understood when it dies."""

import asyncio
import hashlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar

from aigrid import __version__
from aigrid.core.config import EngineConfig
from aigrid.core.errors import AigridError, Conflict, Unavailable
from aigrid.engines import base
from aigrid.engines import openvino_wire as wire

_LONGEST_SOCKET = 100
_LARGEST_LOG = 1 << 20
_REFUSED = 3
_POLL_S = 0.02


def socket_path(run_dir: Path, name: str) -> Path:
    """Return where the worker of an engine listens: in `run_dir`, or in a private temporary folder."""
    path = run_dir.absolute() / f"engine-{name}.sock"
    if len(str(path)) <= _LONGEST_SOCKET:
        return path
    folder = Path(tempfile.gettempdir(), f"aigrid-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise Conflict(f"{folder} belongs to another user; choose a shorter AIGRID_HOME")
    return folder / f"{hashlib.sha256(str(path).encode()).hexdigest()[:24]}.sock"


class Link(Protocol):
    """What is needed of a connection here."""

    lost: asyncio.Future[None]

    def send(self, message: wire.ToWorker) -> None: ...  # noqa: D102
    def close(self) -> None: ...  # noqa: D102


L = TypeVar("L", bound=asyncio.BaseProtocol)


class WorkerProcess:
    """One worker: `pid` is 0 until a connection was made."""

    def __init__(self, model: Path, config: EngineConfig, run_dir: Path, name: str, *, idle: bool = False) -> None:
        self.pid = 0
        self._model = model.absolute()
        self._config = config
        self._name = name
        self._idle = idle
        self._run_dir = run_dir.absolute()
        self._log = self._run_dir / f"engine-{name}.log"
        self._log_start = 0
        self._child: subprocess.Popen[bytes] | None = None
        self._out_of_memory = _oom_kills()

    @property
    def socket(self) -> Path:
        """Where the worker listens: in `run_dir`, or in a private temporary folder if that path is too long."""
        return socket_path(self._run_dir, self._name)

    def fingerprint(self) -> str:
        """Return what distinguishes workers: the program and its language, the model file and the settings."""
        config = self._config
        try:
            status = self._model.stat()
            file: tuple[int, ...] = (status.st_size, status.st_mtime_ns)
        except OSError:
            file = ()
        language = hashlib.sha256(Path(wire.__file__).read_bytes() + Path(base.__file__).read_bytes()).hexdigest()
        what = (
            __version__,
            language,
            str(self._model),
            file,
            config.device,
            config.threads,
            config.max_batch,
            config.cache_gb,
        )
        return hashlib.sha256(repr(what).encode()).hexdigest()[:16]

    def matches(self, hello: wire.Hello) -> bool:
        """Whether a worker that answered is one for our model and settings."""
        return hello.fingerprint == self.fingerprint()

    async def connect(self, make: Callable[[], L]) -> L:
        """Connect to the worker that listens, or to a new one; raises `Unavailable` or what a new one says."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                _, link = await loop.create_unix_connection(make, str(self.socket))
                return link
            except (FileNotFoundError, ConnectionRefusedError):
                if self._child is None:
                    self._spawn()
                elif self._child.poll() is not None:
                    raise await self._refusal() from None
            await asyncio.sleep(_POLL_S)

    def _spawn(self) -> None:
        config = self._config
        self._run_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        command = [sys.executable, "-m", "aigrid.engines.worker", "--socket", str(self.socket)]
        command += ["--model", str(self._model), "--device", config.device, "--threads", str(config.threads)]
        command += ["--max-batch", str(config.max_batch), "--cache-gb", str(config.cache_gb)]
        command += ["--fingerprint", self.fingerprint(), *(["--idle"] if self._idle else [])]
        keep = "ab" if self._log.exists() and self._log.stat().st_size < _LARGEST_LOG else "wb"
        with self._log.open(keep) as log:
            self._log_start = log.tell()
            self._child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    async def _refusal(self) -> AigridError:
        """Return why the worker that we started ended at once, and forget it."""
        assert self._child is not None
        status, said = self._child.returncode, self._last_words()
        reason = await self.explain()
        if status == _REFUSED and "another worker" not in said:
            return AigridError(said, code="unsupported_model")
        return Unavailable(reason)

    async def explain(self) -> str:
        """Return why there is no model loaded: a sentence for whoever waits for it."""
        return f"the engine process {await self.obituary()} while it loaded the model; see {self._log}"

    async def obituary(self) -> str:
        """Return how the worker ended, as the end of a sentence, and forget it."""
        child, self._child, self.pid = self._child, None, 0
        for _ in range(100):
            if child is None or child.poll() is not None:
                break
            await asyncio.sleep(_POLL_S)
        before, self._out_of_memory = self._out_of_memory, _oom_kills()
        status = child.returncode if child is not None else None
        if self._out_of_memory > before and status in (None, -signal.SIGKILL):
            return "was killed because the machine ran out of memory (a smaller engine.cache_gb or model needs less)"
        if status is None:
            return "went away"
        if status < 0:
            return f"was killed by {signal.Signals(-status).name}"
        words = self._last_words()
        return f"ended with status {status}" + (f" ({words})" if words else "")

    def _last_words(self) -> str:
        with self._log.open("rb") as log:
            log.seek(self._log_start)
            lines = log.read().decode(errors="replace").strip().splitlines()
        return lines[-1][:500] if lines else ""

    async def send_away(self, link: Link, hello: wire.Hello) -> None:
        """End a worker that serves something else; raises `Conflict` when others use it."""
        if hello.clients > 1:
            link.close()
            raise Conflict(
                f"process {hello.pid} serves another model or other settings on {self.socket} and is in use; "
                "stop the other aigrid, or give this one its own AIGRID_HOME"
            )
        link.send(wire.Stop())
        await asyncio.shield(link.lost)
        self._child = None

    async def end(self, *, force: bool) -> None:
        """Wait for the worker which we started to be gone; `force` kills one that does not go by itself."""
        child, self._child, self.pid = self._child, None, 0
        if child is None:
            return
        for send in (child.terminate, child.kill) if force else (lambda: None,):
            send()
            for _ in range(100):
                if child.poll() is not None:
                    return
                await asyncio.sleep(_POLL_S)


def _oom_kills() -> int:
    """Return how many processes this machine has killed for lack of memory since it started."""
    try:
        for line in Path("/proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    except OSError:
        pass
    return 0
