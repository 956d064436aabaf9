"""Runs its_hub's self-consistency or best-of-N against a gateway; started in an environment of its own, without aigrid.

Reads one JSON object on stdin (`url`, `key`, `model`, `ways`, `tasks`) and prints the texts that won and the tokens.
"""

import asyncio
import json
import re
import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor

from its_hub.api.lm import AbstractLanguageModel
from its_hub.api.reward_models.orm import AbstractOutcomeRewardModel
from its_hub.api.types import ChatMessage
from its_hub.core.algorithms.bon import BestOfN
from its_hub.core.algorithms.self_consistency import SelfConsistency

NUMBER = re.compile(r"\d[\d,]*")
PRODUCT = re.compile(r"(\d+) (?:times|x|\*) (\d+) (?:=|is) (\d+)")


class Model(AbstractLanguageModel):
    """The gateway's model, one request for each candidate, 32 at once."""

    def __init__(self, url, key, model, options):
        self.url, self.key, self.model, self.options = url, key, model, options
        self.tokens = 0
        self.pool = ThreadPoolExecutor(32)

    def ask(self, messages):
        plain = [{"role": each.role, "content": each.content} for each in messages]
        body = json.dumps({**self.options, "model": self.model, "messages": plain}).encode()
        headers = {"content-type": "application/json", "authorization": f"Bearer {self.key}"}
        request = urllib.request.Request(f"{self.url}/v1/chat/completions", body, headers)
        with urllib.request.urlopen(request, timeout=120) as answer:
            said = json.loads(answer.read())
        self.tokens += said["usage"]["completion_tokens"]
        return {"role": "assistant", "content": said["choices"][0]["message"]["content"]}

    async def agenerate_single(self, messages, stop=None, **more):
        return await asyncio.get_running_loop().run_in_executor(self.pool, self.ask, messages)

    async def agenerate(self, messages, stop=None, **more):
        if messages and isinstance(messages[0], list):
            return await asyncio.gather(*(self.agenerate_single(each) for each in messages))
        return await self.agenerate_single(messages)


class Products(AbstractOutcomeRewardModel):
    """1 for a text whose product is right."""

    def score(self, messages, **more):
        return [float(right(each[-1].content)) for each in messages]

    async def ascore(self, messages, orchestrator=None, **more):
        return self.score(messages)


def right(text):
    found = PRODUCT.search(text or "")
    return found is not None and int(found[1]) * int(found[2]) == int(found[3])


def number(text):
    found = NUMBER.findall(text or "")
    return found[-1].replace(",", "") if found else ""


async def main():
    asked = json.load(sys.stdin)
    results = {}
    for way, n in asked["ways"].items():
        model = Model(asked["url"], asked["key"], asked["model"], asked["options"])
        algorithm = SelfConsistency(number) if way == "self_consistency" else BestOfN(Products())
        texts = []
        for messages in asked["tasks"]:
            chat = [ChatMessage(role=each["role"], content=each["content"]) for each in messages]
            texts.append((await algorithm.ainfer(model, chat, n))["content"])
        results[way] = {"texts": texts, "tokens": model.tokens}
    print(json.dumps(results))


asyncio.run(main())
