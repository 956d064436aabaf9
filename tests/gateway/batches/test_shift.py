"""Whose turn it is, what is recovered, and that live requests go first."""

import asyncio

import pytest

from aigrid.core.clock import SECOND, now_ns
from aigrid.core.config import Config
from aigrid.engines.echo import EchoEngine
from aigrid.ledger import open_ledger, shelf
from aigrid.ledger.base import Order
from aigrid.ledger.shelf import Batch, Line, Plan, Result
from tests.gateway.batches.conftest import jsonl, line


async def test_tenants_take_turns_however_much_each_hands_in(night) -> None:
    async with night(EchoEngine(rate=200)) as it:
        it.door.gateway.config.overnight.streams = 2
        _, secret = await it.door.ledger.create_key("rival")
        rival = it.as_(secret)
        large = await it.submit([line(f"r{i}") for i in range(600)])
        await it.until(large.id, "in_progress")
        small = await it.submit([line(f"r{i}") for i in range(10)], client=rival)
        while (await rival.batches.retrieve(small.id)).status != "completed":
            await asyncio.sleep(0.05)
        assert (await it.client.batches.retrieve(large.id)).request_counts.completed < 400


async def test_the_earlier_deadline_goes_first(night) -> None:
    async with night(EchoEngine(rate=200)) as it:
        it.door.gateway.config.overnight.streams = 2
        late = await it.submit([line(f"r{i}") for i in range(600)])
        await it.until(late.id, "in_progress")
        early = await it.until((await it.submit([line(f"r{i}") for i in range(10)], window="1h")).id)
        assert early.status == "completed"
        assert (await it.client.batches.retrieve(late.id)).request_counts.completed < 400


class Starved(EchoEngine):
    """An engine whose idle time never comes."""

    patient = True
    asked = 0

    async def generate(self, request):
        self.asked += 1
        if request.idle:
            await asyncio.Event().wait()
        async for chunk in super().generate(request):
            yield chunk


async def test_a_batch_waits_for_idle_time_until_its_deadline_comes_near(night) -> None:
    engine = Starved()
    async with night(engine) as it:
        made = await it.submit([line(f"r{i}") for i in range(5)])
        async with asyncio.timeout(60):
            while engine.asked < 5:
                await asyncio.sleep(0.02)
        assert (await it.client.batches.retrieve(made.id)).request_counts.completed == 0
        it.door.gateway.shift.rate = 0.0001  # tokens per second: a day is short
        it.door.gateway.shift.wake()
        done = await it.until(made.id)
        assert (done.status, done.request_counts.completed, engine.asked) == ("completed", 5, 10)


async def test_a_live_request_is_not_kept_waiting(night) -> None:
    async with night(EchoEngine()) as it:
        slow = "[echo tokens=50 rate=0.1] x"
        made = await it.submit([line(f"r{i}", slow, max_tokens=50) for i in range(100)])
        await it.until(made.id, "in_progress")
        for _ in range(5):
            async with asyncio.timeout(60):  # a request of the batch takes minutes
                assert (await it.door.chat("hello [echo tokens=1]"))[0] == 200
        assert (await it.client.batches.cancel(made.id)).status == "cancelling"


async def test_a_batch_waits_for_cheap_hours_and_says_so(night) -> None:
    async with night() as it:
        it.door.gateway.shift.hours.until = lambda now, deadline, work: now + 7200 * SECOND
        made = await it.submit([line("a")])
        while True:
            found = (await it.client.batches.retrieve(made.id)).model_extra["aigrid"]["waits_for"]
            if found:
                break
            await asyncio.sleep(0.02)
        assert found.startswith("cheap energy from ")
        del it.door.gateway.shift.hours.until
        assert (await it.until(made.id)).status == "completed"


def _batch(status="in_progress", total=2):
    plan = Plan("/v1/chat/completions", "file-x", "24h", times={}, model="echo", tokens_bound=16)
    now = now_ns()
    return Batch("batch_1", "acme", "k", status, now, now + 3600 * SECOND, "", 0, total, 0, 0, 0, 0, 0, 0, 0, plan)


@pytest.mark.parametrize("backend", ["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
async def test_an_answer_that_is_written_is_charged_after_a_crash_and_one_that_is_not_is_free(
    backend, request, tmp_path
) -> None:
    config = Config()
    if backend == "postgresql":
        config.ledger.url = request.getfixturevalue("postgres_url")
    ledger = open_ledger(config, owner=True)
    await ledger.open()
    key, _ = await ledger.create_key("acme")
    holds = [
        await ledger.hold(Order(f"req_{name}", key, "echo", "local", "overnight", 10, 10)) for name in ("kept", "lost")
    ]
    runner = "me"

    def put(run):
        shelf.put_batch(run, _batch())
        shelf.put_lines(run, "batch_1", [Line(1, "a", b"{}"), Line(2, "b", b"{}")])
        shelf.claim(run, runner, now_ns(), 60 * SECOND)

    await ledger.write(put)
    result = Result("batch_1", 1, shelf.DONE, b"{}", holds[0].id, 5, 0, 7, 0, 1650)
    assert await ledger.write(lambda run: shelf.keep(run, [result, result], runner)) == [True, False]
    assert await ledger.write(lambda run: shelf.keep(run, [result], "another")) == [False]
    await ledger.close()  # leaves the holds open, as a kill does
    again = open_ledger(config, owner=True)
    records = {record.id: record for record in await again.open()}
    assert {id_: record.outcome for id_, record in records.items()} == {
        "req_kept": "recovered",
        "req_lost": "recovered",
    }
    assert (records["req_kept"].prompt_tokens, records["req_kept"].completion_tokens) == (5, 7)
    assert records["req_kept"].revenue_nusd == 5 * 50 + 7 * 200
    assert records["req_lost"].revenue_nusd == records["req_lost"].completion_tokens == 0
    waiting = await again.read(lambda run: shelf.waiting(run, "batch_1", -1, 10))
    assert [each.custom_id for each in waiting] == ["b"]
    assert await again.check() == []
    await again.close()


async def test_files_and_batches_work_on_postgresql(postgres_url, night) -> None:
    async with night(url=postgres_url) as it:
        file = await it.client.files.create(file=("in.jsonl", jsonl([line("a"), line("b")])), purpose="batch")
        made = await it.client.batches.create(
            input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
        )
        done = await it.until(made.id)
        assert (done.status, done.request_counts.completed) == ("completed", 2)
        assert [row["custom_id"] for row in await it.rows(done.output_file_id)] == ["a", "b"]
        assert (await it.client.batches.list()).data[0].id == made.id
        assert len(await it.door.records()) == 2
        assert await it.door.ledger.check() == []
