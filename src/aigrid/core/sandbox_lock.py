"""What a parsing process gives up before it sees its first file: memory without end, files, network, programs.

Landlock (Linux 5.13) takes away the file system but for Python's own folders, seccomp takes away sockets and the
starting of programs. A kernel without one of them still has the rest: a file is handed over already open.
"""

import contextlib
import ctypes
import os
import platform
import resource
import signal
import struct
import sys

_PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS = 4, 22, 38
_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446
_ACCESS_BY_ABI = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1}
_ACCESS_LATEST = (1 << 16) - 1
_READ = 1 << 2 | 1 << 3
_PATH_BENEATH = 1
_FILTERS = {  # audit architecture, then: socket, socketpair, connect, execve, execveat, ptrace, process_vm_readv/writev
    "x86_64": (0xC000003E, (41, 53, 42, 59, 322, 101, 310, 311)),
    "aarch64": (0xC00000B7, (198, 199, 203, 221, 281, 117, 270, 271)),
}
_ALONE = {  # clone, fork, vfork, clone3, kill, tkill, tgkill, rt_sigqueueinfo, pidfd_send_signal, io_uring_setup
    "x86_64": (56, 57, 58, 435, 62, 200, 234, 129, 424, 425),
    "aarch64": (220, 435, 129, 130, 131, 138, 424, 425),
}
_EPERM = 1


def lock(memory_bytes: int, *, alone: bool = False) -> list[str]:
    """Give up all that parsing does not need; return the names of the walls that stand.

    A process that is to be `alone` gives up starting threads and processes and sending signals, too.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    limit = _address_space() + memory_bytes
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    walls = ["limits"]
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0:
        if _landlock(libc):
            walls.append("landlock")
        if _seccomp(libc, alone):
            walls.append("seccomp")
    return walls


def limit_cpu(seconds: float) -> None:
    """Let this process use that much more processor time; the kernel ends it when it is used up."""
    used = sum(os.times()[:2])
    resource.setrlimit(resource.RLIMIT_CPU, (int(used + seconds) + 1, resource.RLIM_INFINITY))


def die_with(parent: int) -> None:
    """End when the parent has ended, which may have happened already."""
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def _address_space() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * resource.getpagesize()


def _landlock(libc: ctypes.CDLL) -> bool:
    """Leave only reading below Python's folders."""
    abi = libc.syscall(_LANDLOCK_CREATE, None, 0, 1)
    if abi < 1:
        return False
    handled = struct.pack("=Q", _ACCESS_BY_ABI.get(abi, _ACCESS_LATEST))
    ruleset = libc.syscall(_LANDLOCK_CREATE, handled, len(handled), 0)
    if ruleset < 0:
        return False
    for folder in {os.path.realpath(path) for path in (*sys.path, sys.prefix, sys.base_prefix)}:
        if not os.path.isdir(folder) or folder == "/":
            continue
        with contextlib.suppress(OSError):
            handle = os.open(folder, os.O_PATH | os.O_CLOEXEC)
            rule = struct.pack("=Qi", _READ, handle)
            libc.syscall(_LANDLOCK_ADD, ruleset, _PATH_BENEATH, rule, 0)
            os.close(handle)
    done = bool(libc.syscall(_LANDLOCK_RESTRICT, ruleset, 0) == 0)
    os.close(ruleset)
    return done


def _seccomp(libc: ctypes.CDLL, alone: bool) -> bool:
    """Refuse to make sockets, start programs, or look into other processes."""
    known = _FILTERS.get(platform.machine())
    if known is None:
        return False
    architecture, refused = known
    calls = (*refused, *(_ALONE[platform.machine()] if alone else ()))
    load, equal, answer, allow = 0x20, 0x15, 0x06, 0x7FFF0000
    code = [(load, 0, 0, 4), (equal, 0, len(calls) + 2, architecture), (load, 0, 0, 0)]
    code += [(equal, len(calls) - number, 0, call) for number, call in enumerate(calls)]
    code += [(answer, 0, 0, allow), (answer, 0, 0, 0x00050000 | _EPERM)]
    program = b"".join(struct.pack("=HBBI", *step) for step in code)
    buffer = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("@HP", len(code), ctypes.addressof(buffer))
    return bool(libc.prctl(_PR_SET_SECCOMP, 2, ctypes.c_char_p(header), 0, 0) == 0)
