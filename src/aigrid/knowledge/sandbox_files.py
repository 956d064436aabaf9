"""Opening files that nobody vouches for: only regular files, only inside the folder."""

import errno
import os
import stat
from pathlib import Path

import msgspec


class Skipped(msgspec.Struct, frozen=True):
    """A file that could not be read; `reason` is a sentence about it, such as `it is empty`."""

    reason: str


def open_regular(path: str | Path, within: str | Path | None = None) -> int | Skipped:
    """Open a regular file for reading; anything else is left untouched and named.

    Nothing is opened before it is known to be a regular file: opening a pipe waits, opening a device may act.
    """
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError as error:
        return Skipped(_refusal(error))
    except ValueError:
        return Skipped("its name holds a zero byte")
    try:
        mode = os.fstat(place).st_mode
        if not stat.S_ISREG(mode):
            return Skipped(f"it is {_what(mode)}, not a file")
        if within is not None:
            real, root = os.readlink(f"/proc/self/fd/{place}"), os.path.realpath(within)
            if os.path.commonpath([real, root]) != root:
                return Skipped("it is a link that leads out of the folder")
        return os.open(f"/proc/self/fd/{place}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        return Skipped(_refusal(error))
    finally:
        os.close(place)


def _refusal(error: OSError) -> str:
    known = {
        "ELOOP": "it is a symbolic link that leads in a circle",
        "ENOENT": "it is not there (or is a link to something that is not)",
        "EACCES": "it may not be read by this user",
        "EPERM": "it may not be read by this user",
        "ENAMETOOLONG": "its name is too long",
    }
    return known.get(errno.errorcode.get(error.errno or 0, ""), f"it cannot be opened: {error.strerror or error}")


def _what(mode: int) -> str:
    for test, name in (
        (stat.S_ISDIR, "a folder"),
        (stat.S_ISFIFO, "a pipe"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISBLK, "a block device"),
        (stat.S_ISCHR, "a character device"),
    ):
        if test(mode):
            return name
    return "something special"
