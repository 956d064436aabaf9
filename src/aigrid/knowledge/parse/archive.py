"""Zip containers (Office files), looked at before anything in them is unpacked."""

import io
import zipfile
import zlib

from aigrid.knowledge.parse.base import Unreadable

MAX_TOTAL = 512 << 20
MAX_PART = 256 << 20
MAX_ENTRIES = 20_000
MAX_RATIO = 300
SMALL = 4 << 20
"""Parts up to this many bytes may be compressed as well as they like."""


class Archive:
    """A zip file whose parts are read by name; it refuses those that grow out of proportion."""

    def __init__(self, data: bytes) -> None:
        try:
            self._zip = zipfile.ZipFile(io.BytesIO(data))
        except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError) as error:
            raise Unreadable(f"it is a broken zip container ({str(error)[:100]})") from None
        entries = self._zip.infolist()
        if len(entries) > MAX_ENTRIES:
            raise Unreadable(f"it is a zip bomb: {len(entries):,} entries, where {MAX_ENTRIES:,} are read")
        total = sum(entry.file_size for entry in entries)
        if total > MAX_TOTAL:
            raise Unreadable(f"it is a zip bomb: {total:,} bytes unpacked, where {MAX_TOTAL:,} are read")
        for entry in entries:
            if entry.file_size > SMALL and entry.file_size > MAX_RATIO * max(1, entry.compress_size):
                ratio = entry.file_size // max(1, entry.compress_size)
                raise Unreadable(f"it is a zip bomb: a part grows {ratio:,} times when unpacked")
            if entry.flag_bits & 1:
                raise Unreadable("it asks for a password")
        self._left = MAX_TOTAL
        self.names = frozenset(entry.filename for entry in entries)

    def read(self, name: str) -> bytes:
        """Return a part. Raises `Unreadable` where it is missing, broken, or larger than it says."""
        try:
            entry = self._zip.getinfo(name)
            with self._zip.open(entry) as part:
                data = part.read(min(entry.file_size, MAX_PART, self._left) + 1)
        except KeyError:
            raise Unreadable(f"its part {name[:80]} is missing") from None
        except (
            zipfile.BadZipFile,
            zlib.error,
            EOFError,
            OSError,
            ValueError,
            NotImplementedError,
            RuntimeError,
        ) as error:
            raise Unreadable(f"its part {name[:80]} is broken ({str(error)[:100]})") from None
        if len(data) > entry.file_size or len(data) > MAX_PART:
            raise Unreadable(f"it is a zip bomb: its part {name[:80]} is larger than it says")
        self._left -= len(data)
        return data


def gunzip(data: bytes) -> bytes:
    """Return what a gzip file holds. Raises `Unreadable` where it is broken or grows out of proportion."""
    limit = min(MAX_PART, max(SMALL, MAX_RATIO * len(data)))
    unpacked = zlib.decompressobj(wbits=31)
    try:
        content = unpacked.decompress(data, limit + 1)
    except zlib.error as error:
        raise Unreadable(f"it is a broken gzip file ({str(error)[:100]})") from None
    if len(content) > limit:
        raise Unreadable(f"it is a gzip bomb: it grows past {limit:,} bytes when unpacked")
    if not unpacked.eof:
        raise Unreadable("it is a broken gzip file: it ends too early")
    return content
