import asyncio
import json
from contextlib import asynccontextmanager

import openai
import pytest

from aigrid.engines.echo import EchoEngine
from tests.gateway.conftest import open_door

CHAT = "/v1/chat/completions"


def line(custom_id, text="one two three", url=CHAT, **more):
    body = {"model": "echo", "messages": [{"role": "user", "content": text}], "max_tokens": 8, **more}
    return {"custom_id": custom_id, "method": "POST", "url": url, "body": body}


def jsonl(rows):
    return "\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows).encode() + b"\n"


class Night:
    """A gateway with OpenAI's own client on it."""

    def __init__(self, door):
        self.door = door
        self.clients = []
        self.client = self.as_(door.secret)

    def as_(self, secret):
        client = openai.AsyncOpenAI(base_url=f"{self.door.url}/v1", api_key=secret, max_retries=0)
        self.clients.append(client)
        return client

    async def submit(self, rows, endpoint=CHAT, window="24h", client=None, **more):
        client = client or self.client
        file = await client.files.create(file=("in.jsonl", jsonl(rows)), purpose="batch")
        return await client.batches.create(input_file_id=file.id, endpoint=endpoint, completion_window=window, **more)

    async def until(self, id_, *statuses, within=60):
        async with asyncio.timeout(within):
            while True:
                batch = await self.client.batches.retrieve(id_)
                if batch.status in (statuses or ("completed", "failed", "expired", "cancelled")):
                    return batch
                await asyncio.sleep(0.02)

    async def rows(self, file_id):
        if file_id is None:
            return []
        text = (await self.client.files.content(file_id)).text
        return [json.loads(each) for each in text.splitlines()]


@pytest.fixture
def night():
    """`async with night(engine…) as night:`."""

    @asynccontextmanager
    async def make(*engines, url="sqlite", **limits):
        async with open_door(list(engines) or [EchoEngine()], url=url, **limits) as door:
            it = Night(door)
            try:
                yield it
            finally:
                for client in it.clients:
                    await client.close()

    return make
