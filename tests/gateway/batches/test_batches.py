"""OpenAI's own client makes batches at a gateway."""

import asyncio

import openai
import pytest

from aigrid.core.clock import now_ns
from aigrid.ledger.base import Limits
from tests.gateway.batches.conftest import jsonl, line


async def test_a_batch_is_answered_as_openais_client_expects(night) -> None:
    async with night() as it:
        made = await it.submit([line(f"r{i}", f"word{i} two") for i in range(20)], metadata={"who": "me"})
        assert (made.status, made.object, made.endpoint) == ("validating", "batch", "/v1/chat/completions")
        done = await it.until(made.id)
        assert done.status == "completed"
        assert (done.request_counts.total, done.request_counts.completed, done.request_counts.failed) == (20, 20, 0)
        assert done.metadata == {"who": "me"}
        assert done.error_file_id is None
        rows = await it.rows(done.output_file_id)
        assert [row["custom_id"] for row in rows] == [f"r{i}" for i in range(20)]
        assert all(row["response"]["status_code"] == 200 and row["error"] is None for row in rows)
        assert rows[3]["response"]["body"]["choices"][0]["message"]["content"].split() == ["word3", "two"] * 4
        records = [record for record in await it.door.records() if record.tier == "overnight"]
        assert len(records) == 20
        assert {record.id for record in records} == {row["response"]["request_id"] for row in rows}
        assert sum(record.revenue_nusd for record in records) == done.model_extra["aigrid"]["cost_nusd"]
        assert done.usage.output_tokens == 160


async def test_a_file_with_bad_lines_is_refused_line_by_line(night) -> None:
    good = line("a")
    bad = [
        good, "{not json", {"method": "POST"}, line("a"), {**line("b"), "method": "GET"},
        {**line("c"), "url": "/v1/embeddings"}, {**line("d"), "url": "/v1/nothing"}, {**line("e"), "body": []}, line(""),
    ]  # fmt: skip
    async with night() as it:
        made = await it.submit(bad)
        failed = await it.until(made.id)
        assert failed.status == "failed"
        assert failed.failed_at is not None
        assert [(each.line, each.code, each.param) for each in failed.errors.data] == [
            (2, "invalid_json_line", None),
            (3, "missing_required_parameter", "custom_id"),
            (4, "duplicate_custom_id", "custom_id"),
            (5, "invalid_method", "method"),
            (6, "mismatched_endpoint", "url"),
            (7, "invalid_url", "url"),
            (8, "invalid_type", "body"),
            (9, "invalid_custom_id", "custom_id"),
        ]
        assert failed.request_counts.total == 0
        assert await it.door.records() == []


async def test_a_request_that_cannot_be_answered_fails_alone(night) -> None:
    rows = [line("good"), line("bad", temperature=9), line("other", model="no-such"), line("stream", stream=True)]
    async with night() as it:
        done = await it.until((await it.submit(rows)).id)
        assert done.status == "completed"
        assert (done.request_counts.completed, done.request_counts.failed) == (1, 3)
        errors = {row["custom_id"]: row["response"] for row in await it.rows(done.error_file_id)}
        assert {name: one["status_code"] for name, one in errors.items()} == {"bad": 400, "other": 404, "stream": 400}
        assert errors["bad"]["body"]["error"]["param"] == "temperature"
        assert [record.outcome for record in await it.door.records()] == ["finished"]


@pytest.mark.parametrize("endpoint", ["/v1/completions", "/v1/responses", "/v1/embeddings"])
async def test_every_endpoint_has_batches(night, endpoint) -> None:
    asked = {"/v1/completions": "prompt"}.get(endpoint, "input")
    row = {"custom_id": "a", "method": "POST", "url": endpoint, "body": {"model": "echo", asked: "one two"}}
    async with night() as it:
        done = await it.until((await it.submit([row], endpoint)).id)
        (answer,) = await it.rows(done.output_file_id)
        kind = {"/v1/completions": "text_completion", "/v1/responses": "response"}.get(endpoint, "list")
        assert answer["response"]["body"]["object"] == kind
        (record,) = await it.door.records()
        assert (record.tier, record.prompt_tokens) == ("overnight", 2)


async def test_a_cancelled_batch_keeps_what_was_done(night) -> None:
    rows = [line("quick"), *(line(f"slow{i}", "[echo tokens=8 rate=0.2] x") for i in range(5))]
    async with night() as it:
        made = await it.submit(rows)
        while (await it.client.batches.retrieve(made.id)).request_counts.completed < 1:
            await asyncio.sleep(0.02)
        stopping = await it.client.batches.cancel(made.id)
        assert (stopping.status, stopping.cancelling_at is not None) == ("cancelling", True)
        ended = await it.until(made.id)
        assert (ended.status, ended.cancelled_at is not None) == ("cancelled", True)
        assert [row["custom_id"] for row in await it.rows(ended.output_file_id)] == ["quick"]
        records = await it.door.records()
        assert sorted(record.revenue_nusd > 0 for record in records) == [False] * 5 + [True]
        with pytest.raises(openai.ConflictError) as refused:
            await it.client.batches.cancel((await it.until((await it.submit([line("a")])).id)).id)
        assert refused.value.code == "batch_not_cancellable"


async def test_what_is_not_done_in_time_expires(night) -> None:
    rows = [line("quick"), *(line(f"slow{i}", "[echo tokens=8 rate=0.2] x") for i in range(3))]
    async with night() as it:
        made = await it.submit(rows)
        while (await it.client.batches.retrieve(made.id)).request_counts.completed < 1:
            await asyncio.sleep(0.02)
        job = it.door.gateway.shift.jobs[made.id]
        job.batch.deadline_ns = now_ns()
        job.changed.set()
        ended = await it.until(made.id)
        assert (ended.status, ended.expired_at is not None) == ("expired", True)
        assert (ended.request_counts.completed, ended.request_counts.failed) == (1, 3)
        errors = await it.rows(ended.error_file_id)
        assert {row["error"]["code"] for row in errors} == {"batch_expired"}
        assert all(row["response"] is None for row in errors)


async def test_tenants_never_see_each_others(night) -> None:
    async with night() as it:
        done = await it.until((await it.submit([line("a")])).id)
        _, secret = await it.door.ledger.create_key("rival")
        rival = it.as_(secret)
        assert (await rival.files.list()).data == (await rival.batches.list()).data == []
        for look in (
            lambda: rival.files.retrieve(done.input_file_id),
            lambda: rival.files.content(done.output_file_id),
            lambda: rival.files.delete(done.output_file_id),
            lambda: rival.batches.retrieve(done.id),
            lambda: rival.batches.cancel(done.id),
            lambda: rival.batches.create(
                input_file_id=done.input_file_id, endpoint="/v1/chat/completions", completion_window="24h"
            ),
        ):
            with pytest.raises(openai.NotFoundError):
                await look()


async def test_a_batch_that_cannot_be_is_refused_by_name(night) -> None:
    async with night() as it:
        file = await it.client.files.create(file=("in.jsonl", jsonl([line("a")])), purpose="batch")
        good = {"input_file_id": file.id, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
        for change, param in (
            ({"endpoint": "/v1/images"}, "endpoint"),
            ({"completion_window": "25h"}, "completion_window"),
            ({"metadata": {"k" * 65: "v"}}, "metadata"),
            ({"metadata": {"k": "v" * 513}}, "metadata"),
        ):
            with pytest.raises(openai.BadRequestError) as refused:
                await it.client.batches.create(**{**good, **change})
            assert (refused.value.param or "").startswith(param)


async def test_batches_are_listed_newest_first_page_by_page(night) -> None:
    async with night() as it:
        ids = [(await it.submit([line("a")])).id for _ in range(3)]
        first = await it.client.batches.list(limit=2)
        assert [batch.id for batch in first.data] == ids[:0:-1]
        assert first.has_more
        assert [batch.id async for batch in it.client.batches.list(limit=2)] == ids[::-1]


async def test_a_budget_is_waited_for_and_never_exceeded(night) -> None:
    async with night() as it:
        _, secret = await it.door.ledger.create_key("poor", limits=Limits(total_nusd=10_000))
        client = it.as_(secret)
        it.client = client
        made = await it.submit([line(f"r{i}") for i in range(10)])
        batch = await it.until(made.id, "in_progress")
        while not batch.model_extra["aigrid"]["waits_for"]:
            await asyncio.sleep(0.05)
            batch = await client.batches.retrieve(made.id)
        assert batch.model_extra["aigrid"]["waits_for"] == "budget"
        assert sum(record.revenue_nusd for record in await it.door.records()) <= 10_000
        assert (await client.batches.cancel(made.id)).status == "cancelling"


async def test_a_price_is_quoted_that_is_not_exceeded(night) -> None:
    async with night() as it:
        file = await it.client.files.create(file=("in.jsonl", jsonl([line("a"), line("b")])), purpose="batch")
        body = {"input_file_id": file.id, "endpoint": "/v1/chat/completions"}
        status, _, quote = await it.door.ask("POST", "/v1/batches/quote", body)
        assert (status, quote["requests"], quote["completion_tokens_bound"]) == (200, 2, 16)
        made = await it.client.batches.create(**body, completion_window="24h")
        done = await it.until(made.id)
        assert 0 < done.model_extra["aigrid"]["cost_nusd"] <= quote["cost_bound_nusd"]
        assert done.model_extra["aigrid"]["cost_bound_nusd"] == quote["cost_bound_nusd"]
