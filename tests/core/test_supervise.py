import asyncio
import os
import signal
import subprocess
import sys
import time

import pytest

from aigrid.core.errors import ConfigError
from aigrid.core.supervise import Program, ProgramFailed, Supervisor, why


class Watcher:
    """A supervisor whose lines and events are kept, and can be waited for."""

    def __init__(self, *programs, **options):
        self.lines = []
        self.events = []
        self.supervisor = Supervisor(
            programs,
            on_line=lambda name, line: self.lines.append((name, line)),
            on_event=self.events.append,
            **options,
        )

    def start(self, settle=None):
        async def at_once():
            pass

        return asyncio.create_task(self.supervisor.run(settle or at_once))

    async def until(self, holds):
        async with asyncio.timeout(60):
            while not holds():
                await asyncio.sleep(0.01)

    async def line(self, text, count=1):
        await self.until(lambda: sum(text in line for _, line in self.lines) >= count)


def python(name, code, **options):
    return Program(name, [sys.executable, "-uc", code], **options)


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_gone(pid, seconds=60):
    until = time.monotonic() + seconds
    while alive(pid):
        assert time.monotonic() < until, f"process {pid} still runs"
        time.sleep(0.01)


async def test_a_crashed_program_is_started_again():
    watcher = Watcher(python("gate", "print('up', flush=True); import time; time.sleep(60)"), backoff_s=0.01)
    run = watcher.start()
    await watcher.line("up")
    os.kill(watcher.supervisor.pids()["gate"], signal.SIGKILL)
    await watcher.line("up", count=2)
    watcher.supervisor.stop()
    await run
    assert watcher.supervisor.restarts == {"gate": 1}
    assert "killed by SIGKILL" in watcher.events[0]
    assert "again in 0.01 s" in watcher.events[0]


async def test_pauses_between_crashes_grow():
    watcher = Watcher(python("gate", "raise SystemExit(3)"), backoff_s=0.01)
    settled = asyncio.Event()
    watcher.supervisor._settled = True
    run = watcher.start(settled.wait)
    await watcher.until(lambda: len(watcher.events) >= 4)
    watcher.supervisor.stop()
    await run
    assert [event.split("again in ")[1] for event in watcher.events[:4]] == ["0.01 s", "0.02 s", "0.04 s", "0.08 s"]


async def test_a_program_that_ends_before_all_is_settled_fails_the_start_with_its_last_words():
    watcher = Watcher(
        python("gate", "print('the model is missing'); raise SystemExit(1)"),
        python("other", "import time; print('up'); time.sleep(60)"),
    )
    with pytest.raises(ProgramFailed, match=r"the gate did not start \(exit code 1\): the model is missing"):
        await watcher.start(asyncio.Event().wait)
    assert watcher.supervisor.pids() == {}


async def test_an_error_while_settling_stops_everything():
    watcher = Watcher(python("gate", "import time; print('up'); time.sleep(60)"))

    async def settle():
        await watcher.line("up")
        raise ConfigError("no such thing")

    with pytest.raises(ConfigError, match="no such thing"):
        await watcher.start(settle)
    assert watcher.supervisor.pids() == {}


async def test_stop_lets_programs_drain():
    code = """
import signal, sys, time
def drain(*_):
    time.sleep(0.2); print("drained"); sys.exit(0)
signal.signal(signal.SIGTERM, drain)
print("up"); time.sleep(60)
"""
    watcher = Watcher(python("gate", code))
    run = watcher.start()
    await watcher.line("up")
    watcher.supervisor.stop()
    await run
    assert ("gate", "drained") in watcher.lines


DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up'); time.sleep(60)"


async def test_a_program_that_does_not_stop_is_killed_after_its_time():
    watcher = Watcher(python("gate", DEAF, stop_s=0.1))
    run = watcher.start()
    await watcher.line("up")
    watcher.supervisor.stop()
    await run
    assert "did not stop within 0.1 s" in watcher.events[-1]


async def test_the_second_stop_is_at_once():
    watcher = Watcher(python("gate", DEAF, stop_s=60))
    run = watcher.start()
    await watcher.line("up")
    watcher.supervisor.stop()
    await asyncio.sleep(0.05)
    watcher.supervisor.stop()
    await asyncio.wait_for(run, 40)


async def test_what_a_program_leaves_behind_is_killed_and_does_not_hold_up_the_restart():
    code = "import subprocess; print('left', subprocess.Popen(['sleep', '60']).pid, flush=True); raise SystemExit(1)"
    watcher = Watcher(python("gate", code), backoff_s=0.01)
    watcher.supervisor._settled = True
    run = watcher.start()
    await watcher.line("left", count=2)
    wait_gone(int(watcher.lines[0][1].split()[1]))
    watcher.supervisor.stop()
    await run


async def test_endless_lines_are_cut_and_bad_bytes_are_shown():
    code = "import sys; sys.stdout.buffer.write(b'x' * 3_000_000 + b'\\n\\xff end\\n'); print('up'); input()"
    watcher = Watcher(Program("gate", [sys.executable, "-uc", code + "\nimport time; time.sleep(60)"]))
    with pytest.raises(ProgramFailed):
        await watcher.start(asyncio.Event().wait)
    assert max(len(line) for _, line in watcher.lines) <= (1 << 20) + 65536
    assert ("gate", "� end") in watcher.lines


def test_children_die_with_a_killed_supervisor():
    code = """
import asyncio, sys
from aigrid.core.supervise import Program, Supervisor
child = Program("gate", [sys.executable, "-uc", "import os, time; print(os.getpid()); time.sleep(60)"])
supervisor = Supervisor([child], on_line=lambda name, line: print(line, flush=True), on_event=print)
asyncio.run(supervisor.run(asyncio.Event().wait))
"""
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    child = int(parent.stdout.readline())
    assert alive(child)
    parent.kill()
    parent.wait()
    wait_gone(child)


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
def test_signals_are_passed_on_and_the_supervisor_ends_well(sig):
    code = """
import asyncio, sys
from aigrid.core.supervise import Program, Supervisor
program = "import signal, sys, time; signal.signal(15, lambda *_: sys.exit(print('bye'))); print('up'); time.sleep(60)"
child = Program("gate", [sys.executable, "-uc", program])
supervisor = Supervisor([child], on_line=lambda name, line: print(line, flush=True), on_event=print)
asyncio.run(supervisor.run(asyncio.Event().wait))
"""
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout.readline() == "up\n"
    parent.send_signal(sig)
    assert parent.stdout.read() == "bye\n"
    assert parent.wait() == 0


def test_ends_are_told_in_words():
    assert why(3) == "exit code 3"
    assert why(-9) == "killed by SIGKILL"
    assert why(-250) == "killed by signal 250"
