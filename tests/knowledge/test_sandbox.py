import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from aigrid.knowledge.base import Parsed
from aigrid.knowledge.sandbox import Limits, Sandbox, Skipped, parse_file
from benchmarks.good_files import GOOD
from benchmarks.hostile_corpus import BAD, SECRET, Outside, make
from benchmarks.make_files import pdf, sparse


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(Limits(wall_s=30, cpu_s=20), workers=2) as made:
        yield made


def text_of(result: Parsed | Skipped) -> str:
    assert isinstance(result, Parsed), result
    return "\n".join(block.text for block in result.blocks)


def test_good_files_are_read_and_bad_ones_named(sandbox: Sandbox, tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    left_out = make(folder, Outside(tmp_path / "secret.txt", "http://127.0.0.1:9/"))
    for name, (_, reasons) in BAD.items():
        if name in left_out:
            continue
        result = sandbox.parse(folder / name, within=folder)
        assert isinstance(result, Skipped), name
        assert any(reason in result.reason for reason in reasons), (name, result.reason)
        assert SECRET not in result.reason
    for name, (_, fact, _, _) in GOOD.items():
        assert fact in text_of(sandbox.parse(folder / name, within=folder)), name


def test_a_gigabyte_of_zeros_is_refused_without_reading_it(sandbox: Sandbox, tmp_path: Path) -> None:
    sparse(tmp_path / "zeros.txt", 1 << 40)
    assert sandbox.parse(tmp_path / "zeros.txt") == Skipped("it holds nothing but zero bytes")  # not: took too long


def test_a_parser_that_dies_costs_its_file_and_nothing_else(tmp_path: Path) -> None:
    good = tmp_path / "good.txt"
    good.write_text("still here")
    slow = tmp_path / "slow.pdf"
    slow.write_bytes(pdf([[(72, 700, 10, f"page {n}")] for n in range(3_000)]))
    with Sandbox(workers=1) as sandbox:
        assert text_of(sandbox.parse(good)) == "still here"
        results: list[Parsed | Skipped] = []
        thread = threading.Thread(target=lambda: results.append(sandbox.parse(slow)))
        thread.start()
        pid = _busy_child()
        os.kill(pid, signal.SIGSEGV)
        thread.join(90)
        assert results == [Skipped("it crashed its parser (killed by SIGSEGV)")]
        assert text_of(sandbox.parse(good)) == "still here"


def _busy_child() -> int:
    """Return the parsing process once it is at work."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for pid in _children():
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "R":
                return pid
        time.sleep(0.005)
    raise AssertionError("no parser is at work")


def _children() -> list[int]:
    """Return the parsing processes of this one."""
    found = []
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):  # a thread or a process that has ended since
            for pid in (task / "children").read_text().split():
                if b"sandbox_worker" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    found.append(int(pid))
    return found


def test_a_file_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    slow = tmp_path / "slow.pdf"
    slow.write_bytes(pdf([[(72, 700, 10, f"page {n}")] for n in range(3_000)]))
    good = tmp_path / "good.txt"
    good.write_text("still here")
    with Sandbox(Limits(wall_s=0.02), workers=1) as sandbox:
        sandbox.walls()
        assert sandbox.parse(slow) == Skipped("reading it took too long")
    with Sandbox(Limits(wall_s=30), workers=1) as sandbox:
        assert text_of(sandbox.parse(good)) == "still here"


def test_a_file_that_needs_too_much_memory_is_given_up(tmp_path: Path) -> None:
    big = tmp_path / "big.txt"
    big.write_bytes(b"word " * 10_000_000)
    with Sandbox(Limits(memory_bytes=64 << 20), workers=1) as sandbox:
        assert sandbox.parse(big) == Skipped("it needs more memory to be read than is allowed")


def test_long_texts_are_cut_and_say_so(sandbox: Sandbox, tmp_path: Path) -> None:
    long = tmp_path / "long.txt"
    long.write_bytes((b"a word or two " * 200 + b"\n\n") * 10_000)
    result = sandbox.parse(long)
    assert len(text_of(result)) < 25_000_000
    assert isinstance(result, Parsed)
    assert result.notes == ["only the first 20,000,000 characters were read"]


def test_many_files_are_read_in_order_by_the_same_few_processes(sandbox: Sandbox, tmp_path: Path) -> None:
    paths = []
    for number in range(300):
        path = tmp_path / f"{number}.md"
        path.write_text(f"# File {number}\n\nwords\n")
        paths.append(str(path))
    results = list(sandbox.parse_all(paths))
    assert [path for path, _ in results] == paths
    assert [result.title for _, result in results if isinstance(result, Parsed)] == [f"File {n}" for n in range(300)]


def test_names_that_are_no_text_are_opened_all_the_same(sandbox: Sandbox, tmp_path: Path) -> None:
    for name in ("two\nlines.txt", "‮txt.exe", os.fsdecode(b"\xff\xfe.txt"), "-rf", "é" * 100):
        path = tmp_path / name
        path.write_text("words")
        assert text_of(sandbox.parse(path)) == "words"


def test_bytes_are_parsed_under_a_name(sandbox: Sandbox) -> None:
    result = sandbox.parse_bytes(b"# Title\n\nwords", "page.md")
    assert isinstance(result, Parsed)
    assert result.title == "Title"


def test_links_within_the_folder_are_followed_and_others_are_not(sandbox: Sandbox, tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "a.txt").write_text("inside")
    (folder / "b.txt").symlink_to("a.txt")
    (tmp_path / "files-2").mkdir()
    (tmp_path / "files-2" / "c.txt").write_text("a folder that begins with the same name")
    (folder / "d.txt").symlink_to("../files-2/c.txt")
    assert text_of(sandbox.parse(folder / "b.txt", within=folder)) == "inside"
    assert sandbox.parse(folder / "d.txt", within=folder) == Skipped("it is a link that leads out of the folder")


def test_parse_file_keeps_its_processes(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("words")
    parse_file(path)
    before = set(_children())
    assert text_of(parse_file(path)) == "words"
    assert before
    assert set(_children()) == before


PROBE = """
import sys
sys.path[:] = sys.argv[2:]
import os, socket
from aigrid.core.sandbox_lock import lock
walls = lock(1 << 30)
def tried(what):
    try:
        what()
        return "done"
    except OSError as error:
        return error.strerror
print(walls)
print(tried(lambda: open(sys.argv[1]).read()))
print(tried(lambda: open("/tmp/aigrid-probe", "w").write("x")))
print(tried(lambda: socket.socket()))
print(tried(lambda: os.execv("/bin/true", ["true"])))
"""


def test_a_locked_process_can_open_connect_and_start_nothing(sandbox: Sandbox, tmp_path: Path) -> None:
    import subprocess
    import sys

    walls = sandbox.walls()
    if walls != ["limits", "landlock", "seccomp"]:
        pytest.skip(f"this kernel has only {walls}")
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    output = subprocess.check_output([sys.executable, "-I", "-S", "-c", PROBE, str(secret), *sys.path], text=True)
    refused = ["Permission denied", "Permission denied", "Operation not permitted", "Operation not permitted"]
    assert output.splitlines()[1:] == refused


def test_processes_end_with_the_sandbox() -> None:
    sandbox = Sandbox(workers=2)
    sandbox.parse_bytes(b"x", "x.txt")
    sandbox.close()
    with pytest.raises(RuntimeError, match="closed"):
        sandbox.parse_bytes(b"x", "x.txt")
