"""The embedded engine when processes die, with workers of their own."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from aigrid.core import models
from aigrid.core.config import Config, EngineConfig
from aigrid.core.errors import AigridError, Conflict, EngineDied
from aigrid.engines import openvino_load, openvino_watch
from aigrid.engines.base import GenerateRequest, Sampling
from aigrid.engines.openvino import OpenVinoEngine

pytestmark = pytest.mark.xdist_group("engine")


@pytest.fixture(scope="module")
def model():
    return models.pull(models.resolve("smollm2-135m-instruct", Config()))


@pytest.fixture
async def engine(model, tmp_path):
    engine = OpenVinoEngine("small", model, EngineConfig(cache_gb=1, max_batch=1), tmp_path / "run")
    await engine.start()
    yield engine
    await engine.stop()


def request(id="r", max_tokens=12):
    return GenerateRequest(
        id=id, model="small", max_tokens=max_tokens, prompt="Once upon a time", sampling=Sampling(temperature=0)
    )


async def tokens(engine, request):
    return sum([delta.tokens async for chunk in engine.generate(request) for delta in chunk.deltas])


async def wait_gone(pid):
    for _ in range(3000):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return
        if state == "Z":
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"process {pid} still lives")


async def test_a_killed_worker_ends_what_had_begun_and_retries_the_rest(engine):
    begun = engine.generate(request("begun", 4000))
    for _ in range(3):
        await anext(begun)
    # the batch holds one request, so this one waits behind it and has sent nothing
    waiting = asyncio.create_task(tokens(engine, request("waiting")))
    await asyncio.sleep(0.1)
    (pid,) = engine.load().pids
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(EngineDied, match=r"was killed by SIGKILL while it worked on this request; .* send the request"):
        async for _ in begun:
            pass
    assert engine.load().state in ("starting", "down")
    assert await waiting == 12
    assert engine.load().pids != (pid,)
    assert await tokens(engine, request("after")) == 12


async def test_a_request_is_retried_once_only(engine):
    first = engine.generate(request("first", 4000))
    await anext(first)
    waiting = asyncio.create_task(tokens(engine, request("waiting")))
    await asyncio.sleep(0.1)
    os.kill(engine.load().pids[0], signal.SIGKILL)
    with pytest.raises(EngineDied):
        async for _ in first:
            pass
    entry = next(iter(engine._open.values()))
    assert entry.retried
    assert not entry.begun
    engine._bury()
    with pytest.raises(EngineDied):
        await waiting


async def test_a_worker_that_stands_still_is_ended_and_another_takes_over(engine, monkeypatch):
    begun = engine.generate(request("begun", 4000))
    await anext(begun)
    waiting = asyncio.create_task(tokens(engine, request("waiting")))
    (pid,) = engine.load().pids
    os.kill(pid, signal.SIGSTOP)
    monkeypatch.setattr(openvino_watch, "STALL_S", 1.0)
    message = r"stood still for 1 s and was ended while it worked on this request; .* send the request again"
    with pytest.raises(EngineDied, match=message):
        async with asyncio.timeout(60):
            async for _ in begun:
                pass
    monkeypatch.undo()
    with pytest.raises(EngineDied):  # whichever of them it was that stopped the worker, it does not stop the next
        await waiting
    assert await tokens(engine, request("after")) == 12
    assert engine.load().pids != (pid,)
    await wait_gone(pid)


async def test_an_idle_worker_is_left_alone_however_long_it_says_nothing(engine, monkeypatch):
    (pid,) = engine.load().pids
    monkeypatch.setattr(openvino_watch, "STALL_S", 0.1)
    await asyncio.sleep(4.0)
    monkeypatch.undo()
    assert engine.load().pids == (pid,)
    assert await tokens(engine, request()) == 12


async def test_a_silent_worker_is_first_doubted_then_ended_and_one_that_speaks_is_neither(monkeypatch):
    class Line:
        heard, closed = 0, False

        def close(self):
            self.closed = True

    monkeypatch.setattr(openvino_watch, "STALL_S", 0.4)
    gone = subprocess.Popen(["true"])
    gone.wait()
    line = Line()
    watch = openvino_watch.Watch(line, gone.pid, lambda: True)
    task = asyncio.create_task(watch.run())
    for _ in range(100):
        line.heard += 1
        await asyncio.sleep(0.01)
        assert not watch.doubtful
    while not watch.doubtful:
        assert not watch.killed
        await asyncio.sleep(0.001)
    await task
    assert watch.killed
    assert line.closed, "a process that is gone cannot be killed, but its connection ends"


async def test_the_worker_outlives_its_client_and_tells_the_next_what_was_made(model, tmp_path):
    script = textwrap.dedent(
        """
        import asyncio, sys
        from pathlib import Path
        from aigrid.core.config import EngineConfig
        from aigrid.engines.base import GenerateRequest, Sampling
        from aigrid.engines.openvino import OpenVinoEngine

        async def main():
            engine = OpenVinoEngine("small", Path(sys.argv[1]), EngineConfig(cache_gb=1), Path(sys.argv[2]))
            await engine.start()
            sampling = Sampling(temperature=0)
            request = GenerateRequest(id="lost", model="m", max_tokens=4000, prompt="Once", sampling=sampling)
            count = 0
            async for chunk in engine.generate(request):
                count += 1
                if count == 5:
                    print(engine.load().pids[0], flush=True)

        asyncio.run(main())
        """
    )
    run = tmp_path / "run"
    gateway = subprocess.Popen([sys.executable, "-c", script, str(model), str(run)], stdout=subprocess.PIPE, text=True)
    pid = int(gateway.stdout.readline())
    gateway.kill()
    gateway.wait()
    engine = OpenVinoEngine("small", model, EngineConfig(cache_gb=1), run)
    await engine.start()
    assert engine.load().pids == (pid,)
    made = (await engine.report(["lost"]))["lost"]
    assert 5 <= made < 4000
    await asyncio.sleep(0.2)
    assert (await engine.report(["lost"]))["lost"] == made, "what ran for the dead client was cancelled"
    await engine.stop()
    await wait_gone(pid)


async def test_another_model_or_setting_replaces_an_idle_worker_but_not_one_in_use(engine, model):
    run = engine._process._run_dir
    other = OpenVinoEngine("small", model, EngineConfig(cache_gb=1, max_batch=7), run)
    with pytest.raises(Conflict, match="serves another model or other settings"):
        await other.start()
    await other.stop()
    (pid,) = engine.load().pids
    engine._supervisor.cancel()
    engine._link.close()
    engine._link = None
    engine._process._child = None
    other = OpenVinoEngine("small", model, EngineConfig(cache_gb=1, max_batch=7), run)
    await other.start()
    assert other.load().pids != (pid,)
    await other.stop()


async def test_a_file_that_is_no_model_is_refused_with_the_reason(tmp_path):
    path = tmp_path / "m.gguf"
    path.write_bytes(b"GGUF nonsense")
    engine = OpenVinoEngine("small", path, EngineConfig(), tmp_path / "run")
    with pytest.raises(AigridError, match=r"damaged header|cut short") as caught:
        await engine.start()
    assert engine.load().state == "down"
    assert str(path.name) in caught.value.message
    await engine.stop()


@pytest.mark.slow
async def test_a_damaged_conversion_is_made_again_and_a_folder_works_as_a_model(model, tmp_path):
    own = tmp_path / "m.gguf"
    own.symlink_to(model)
    os.environ["XDG_CACHE_HOME"], before = str(tmp_path / "cache"), os.environ.get("XDG_CACHE_HOME")
    try:
        for damaged in (False, True):
            engine = OpenVinoEngine("small", own, EngineConfig(cache_gb=1), tmp_path / "run")
            if damaged:
                weights = next((tmp_path / "cache" / "aigrid" / "converted").glob("openvino-*/openvino_model.bin"))
                weights.write_bytes(weights.read_bytes()[:1000])
            await engine.start()
            assert await tokens(engine, request()) == 12
            await engine.stop()
        folder = next((tmp_path / "cache" / "aigrid" / "converted").glob("openvino-*[0-9a-f]"))
        assert openvino_load._intact(folder)
        (folder / "loading").touch()  # as when the process died while it loaded
        assert not openvino_load._intact(folder)
        exported = shutil.copytree(folder, tmp_path / "exported", ignore=shutil.ignore_patterns("compiled"))
        (exported / "config.json").write_text('{"max_position_embeddings": 16}')
        engine = OpenVinoEngine("small", exported, EngineConfig(cache_gb=1), tmp_path / "run")
        await engine.start()
        assert engine.models()[0].context == 16
        prompt = await engine.count(request())
        assert await tokens(engine, request(max_tokens=100)) == 16 - prompt  # an answer ends where the context does
        await engine.stop()
    finally:
        if before is None:
            del os.environ["XDG_CACHE_HOME"]
        else:
            os.environ["XDG_CACHE_HOME"] = before


def test_the_fingerprint_sees_a_change_in_content(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"a" * 100)
    first = openvino_load._fingerprint(path)
    path.write_bytes(b"a" * 99 + b"b")
    assert openvino_load._fingerprint(path) != first
