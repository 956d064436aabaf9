"""Python that the model writes: in a process of its own that can open no file, reach no network, start nothing.

Nothing is run where the kernel cannot hold it in (Landlock, Linux 5.13, and seccomp).
"""

import asyncio
import contextlib
import os
import signal
import sys
from typing import Any

import msgspec

from aigrid.core.errors import AigridError
from aigrid.core.supervise import why

_BOOT = """
import sys
sys.path[:] = sys.argv[4:]
from aigrid.core.sandbox_worker import main
main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
"""
_MOST = 1 << 20


class SandboxError(AigridError):
    """The code could not be run, or used up a limit."""

    default_code = "sandbox_failed"


async def run(code: str, cpu_s: float, memory_bytes: int, wall_s: float) -> dict[str, Any]:
    """Return what code printed and its last value; raises `SandboxError` where it failed or used up a limit."""
    limits = [str(os.getpid()), str(memory_bytes), str(cpu_s)]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-I", "-S", "-B", "-c", _BOOT, *limits, *_paths(),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        env={"PATH": "/nonexistent"}, cwd="/", start_new_session=True, limit=_MOST,
    )  # fmt: skip
    try:
        async with asyncio.timeout(wall_s):
            output, _ = await process.communicate(code.encode())
    except TimeoutError:
        raise SandboxError(f"the code ran longer than {wall_s:g} s") from None
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
    try:
        answer: dict[str, Any] = msgspec.json.decode(output, type=dict[str, Any])
    except msgspec.DecodeError:
        how = why(process.returncode or 0)
        raise SandboxError(f"the code used more time or memory than it may, or broke its process ({how})") from None
    if "refused" in answer:
        raise SandboxError(answer["refused"])
    return answer


def _paths() -> list[str]:
    return [os.path.abspath(path) for path in sys.path if path and os.path.isdir(path) and _ours(path)]


def _ours(path: str) -> bool:
    """Return whether a folder of `sys.path` holds programs: Python's own, its packages, or this one's."""
    real, here = os.path.realpath(path), os.path.realpath(__file__)
    roots = [os.path.realpath(each) for each in (sys.prefix, sys.base_prefix)]
    return any(os.path.commonpath([real, root]) == root for root in roots) or here.startswith(
        os.path.join(real, "aigrid", "")
    )
