"""The meter of a worker: what it tells, what it obeys, and for how long."""

import asyncio
import os
import time

import pytest

from aigrid.core import models
from aigrid.core.clock import SECOND
from aigrid.core.config import Config, EngineConfig
from aigrid.core.errors import NotFound
from aigrid.engines import meter as metering
from aigrid.engines.base import GenerateRequest, Load, Sampling
from aigrid.engines.meter import Meter, meter_path
from aigrid.engines.openvino import OpenVinoEngine
from aigrid.engines.openvino_process import socket_path
from aigrid.ran.harvest.compare import each_thread


def test_orders_hold_for_a_second_and_no_longer(tmp_path, monkeypatch):
    assert metering.LEASE_NS == SECOND
    monkeypatch.setattr(metering, "LEASE_NS", 3600 * SECOND)  # a slow machine may take that second to the next line
    meter = Meter(tmp_path / "meter", create=True)
    other = Meter(tmp_path / "meter")
    assert meter.promised is None
    assert not meter.pause
    other.order(pause=True, most_running=8, promised=12.5)
    assert meter.pause
    assert meter.most_running(64) == 8
    assert meter.promised == 12.5
    monkeypatch.setattr(metering, "LEASE_NS", -1)
    assert not meter.pause, "who governed it has died"
    assert meter.most_running(64) == 64
    assert meter.promised is None


def test_orders_are_taken_back(tmp_path):
    meter = Meter(tmp_path / "meter", create=True)
    meter.order(pause=True, most_running=8, promised=0.0)
    meter.free()
    assert (meter.pause, meter.promised, meter.most_running(64)) == (False, None, 64)


def test_what_is_no_meter_is_refused(tmp_path):
    with pytest.raises(NotFound, match="is the engine started"):
        Meter(tmp_path / "none")
    (tmp_path / "short").write_bytes(b"x")
    with pytest.raises(NotFound, match="not the meter"):
        Meter(tmp_path / "short")
    (tmp_path / "zeros").write_bytes(bytes(4096))
    with pytest.raises(NotFound, match="not the meter"):
        Meter(tmp_path / "zeros")


def test_a_new_meter_leaves_the_former_one_whole_to_who_has_it(tmp_path):
    former = Meter(tmp_path / "meter", create=True)
    former["tokens"] = 7
    assert Meter(tmp_path / "meter", create=True)["tokens"] == 0
    assert former["tokens"] == 7


def test_an_engine_whose_promise_is_used_up_is_spent():
    assert not Load(tokens_per_second=900.0).spent
    assert not Load(tokens_per_second=90.0, promised_tokens_per_second=100.0).spent
    assert Load(tokens_per_second=100.0, promised_tokens_per_second=100.0).spent
    assert Load(promised_tokens_per_second=0.0).spent


@pytest.mark.xdist_group("engine")
def test_the_worker_counts_pauses_runs_fewer_and_stays_where_it_is_put(tmp_path):
    """The real engine: no step while it is told to pause, though it lives; no thread on a processor it was sent from."""

    async def ask(engine, at):
        request = GenerateRequest(
            id=f"r{at}", model="small", max_tokens=400, prompt=f"Number {at} once", sampling=Sampling(temperature=1.0)
        )
        async for _ in engine.generate(request):
            pass

    async def until(said):
        end = time.monotonic() + 60
        while not said():
            assert time.monotonic() < end
            await asyncio.sleep(0.02)

    async def main():
        path = models.pull(models.resolve("smollm2-135m-instruct", Config()))
        engine = OpenVinoEngine("small", path, EngineConfig(cache_gb=1), tmp_path, name="m")
        await engine.start()
        try:
            meter = Meter(meter_path(socket_path(tmp_path, "m")))
            assert meter["slots"] == EngineConfig().max_batch
            tasks = [asyncio.create_task(ask(engine, at)) for at in range(6)]
            await until(lambda: meter["tokens"] > 20 and meter["running"] > 3)  # an answer may be short, or begin late
            meter.order(pause=True, most_running=3, promised=0.0)
            await until(lambda: meter["paused"])
            before, heard = meter["tokens"], engine._link.heard
            for _ in range(15):
                meter.order(pause=True, most_running=3, promised=0.0)
                await asyncio.sleep(0.1)
            assert meter["tokens"] == before
            assert engine._link.heard > heard, "a paused worker says that it lives"
            assert engine.load().promised_tokens_per_second == 0.0
            assert engine.load().capacity == 3
            meter.free()
            await until(lambda: meter["tokens"] > before)
            assert engine.load().promised_tokens_per_second is None
            assert engine.load().capacity == EngineConfig().max_batch
            only = {min(os.sched_getaffinity(0))}
            each_thread(meter["pid"], lambda tid: os.sched_setaffinity(tid, only))
            before = meter["steps"]
            await until(lambda: meter["steps"] > before + 10)
            stand: list[set[int]] = []
            each_thread(meter["pid"], lambda tid: stand.append(os.sched_getaffinity(tid)))
            assert all(processors == only for processors in stand)
            for task in tasks:
                task.cancel()
        finally:
            await engine.stop()

    asyncio.run(main())
