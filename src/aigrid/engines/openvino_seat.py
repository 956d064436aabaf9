"""Who governs a worker says where its threads stand; the libraries in it do not.

OpenVINO and its thread pool call `sched_setaffinity` before and after each run, also where pinning is switched off, and
so undo within a step what a governor has ordered from outside. A seccomp filter answers these calls with success and
carries none of them out; what others do to the worker's threads is not touched. Linux on x86-64 and 64-bit Arm;
elsewhere threads go where the libraries want, and a governor sees that they stray.
"""

import ctypes
import platform
import struct

_PR_SET_NO_NEW_PRIVS = 38
_SET_MODE_FILTER, _SPEC_ALLOW = 1, 4
_ALLOW, _SUCCEED = 0x7FFF0000, 0x00050000
"""Carry the call out; return the errno in the lower half, which is 0: success."""
_LOAD, _IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_NUMBER_AT, _ARCHITECTURE_AT = 0, 4
_CALLS = {"x86_64": (0xC000003E, 317, 203), "aarch64": (0xC00000B7, 277, 122)}
"""By machine: the audit architecture, and the numbers of `seccomp` and `sched_setaffinity`."""


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def keep_seat() -> None:
    """Keep this thread, and those that it starts from now on, from moving themselves, where that is possible."""
    if platform.system() != "Linux" or platform.machine() not in _CALLS:
        return
    architecture, seccomp, set_affinity = _CALLS[platform.machine()]
    steps = [
        (_LOAD, 0, 0, _ARCHITECTURE_AT),
        (_IF_EQUAL, 0, 3, architecture),
        (_LOAD, 0, 0, _NUMBER_AT),
        (_IF_EQUAL, 0, 1, set_affinity),
        (_RETURN, 0, 0, _SUCCEED),
        (_RETURN, 0, 0, _ALLOW),
    ]
    program = _Program(len(steps), b"".join(struct.pack("=HBBI", *step) for step in steps))
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    libc.syscall(seccomp, _SET_MODE_FILTER, _SPEC_ALLOW, ctypes.byref(program))
