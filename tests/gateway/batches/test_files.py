"""OpenAI's own client keeps files at a gateway."""

import os

import openai
import pytest

from aigrid.engines.http import HttpClient
from aigrid.gateway.batches.multipart import Part, boundary_of, parts
from tests.gateway.batches.conftest import jsonl, line


async def test_a_file_comes_back_as_it_was_sent(night) -> None:
    data = os.urandom(3_000_000)
    async with night() as it:
        sent = await it.client.files.create(file=('odd "name" ü.jsonl', data), purpose="batch")
        assert (sent.object, sent.bytes, sent.purpose, sent.status) == ("file", len(data), "batch", "processed")
        assert sent.filename.endswith("ü.jsonl")
        assert (await it.client.files.retrieve(sent.id)) == sent
        assert (await it.client.files.content(sent.id)).content == data
        assert (await it.client.files.delete(sent.id)).deleted
        with pytest.raises(openai.NotFoundError):
            await it.client.files.content(sent.id)
        assert (await it.client.files.list()).data == []


async def test_files_are_listed_in_either_order_by_purpose(night) -> None:
    async with night() as it:
        ids = [(await it.client.files.create(file=(f"{i}", b"x"), purpose="batch")).id for i in range(3)]
        assert [file.id for file in (await it.client.files.list()).data] == ids[::-1]
        assert [file.id async for file in it.client.files.list(order="asc", limit=2)] == ids
        done = await it.until((await it.submit([line("a")])).id)
        made = await it.client.files.list(purpose="batch_output")
        assert [file.id for file in made.data] == [done.output_file_id]


async def test_a_file_that_cannot_be_is_refused_and_nothing_of_it_stays(night) -> None:
    async with night() as it:
        it.door.gateway.config.overnight.max_file_mb = 1
        with pytest.raises(openai.APIStatusError) as large:
            await it.client.files.create(file=("a", b"x" * 1_100_000), purpose="batch")
        assert large.value.status_code == 413
        for file, purpose in ((b"", "batch"), (b"x", "vision")):
            with pytest.raises(openai.BadRequestError):
                await it.client.files.create(file=("a", file), purpose=purpose)
        with pytest.raises(openai.BadRequestError) as early:
            await it.client.files.create(
                file=("a", b"x"), purpose="batch", expires_after={"anchor": "created_at", "seconds": 1}
            )
        assert early.value.param == "expires_after.seconds"
        left = await it.door.ledger.read(lambda run: run("SELECT count(*) FROM file_parts", ()))
        assert left == [(0,)]


PURPOSE = b'--b\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
FILE = b'--b\r\ncontent-disposition: form-data; name="file"\r\n\r\nx\r\n'


async def test_a_form_that_is_broken_is_refused(night) -> None:
    bodies = [
        b"", b"--b", b"--b\r\n\r\n\r\n--b--", b"--bx\r\n", b'--b\r\ncontent-disposition: form-data; name="file"\r\n\r\nx',
        jsonl([line("a")]), PURPOSE + PURPOSE + FILE + b"--b--\r\n",
    ]  # fmt: skip
    async with night() as it:
        for body in bodies:
            headers = {"authorization": f"Bearer {it.door.secret}", "content-type": "multipart/form-data; boundary=b"}
            client = HttpClient("form", it.door.url, headers=headers, connect_timeout=60, timeout=60)
            async with await client.request("POST", "/v1/files", body) as answer:
                assert answer.status == 400, body
            client.close()
        assert (await it.door.ask("POST", "/v1/files", {"purpose": "batch"}))[0] == 400


async def test_a_form_is_read_the_same_however_it_is_cut() -> None:
    body = (
        b'preamble\r\n--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--b\r\n'
        b'content-disposition: form-data; name="file"; filename="a\\"b"\r\ncontent-type: x\r\n\r\n\r\n--\r\n-b\r\n\r\n--b--\r\nend'
    )
    for size in (1, 2, 3, 7, 1000):

        async def pieces(size=size):
            for at in range(0, len(body), size):
                yield body[at : at + size]

        found: list[list] = []
        async for item in parts(pieces(), boundary_of('multipart/form-data; boundary="b"')):
            if isinstance(item, Part):
                found.append([item.name, item.filename, b""])
            else:
                found[-1][2] += item
        assert found == [["purpose", None, b"batch"], ["file", 'a"b', b"\r\n--\r\n-b\r\n"]]
