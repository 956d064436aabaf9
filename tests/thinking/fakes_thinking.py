"""Models that say what a test wants, counted and capped like real ones."""

import asyncio

from aigrid.engines.base import Chunk, Delta, GenerateRequest, TokenLogprob, Usage
from aigrid.thinking.budget import Cost


class ScriptedModels:
    """Says `script(request, number)` for each candidate, one word a token; `number` counts all candidates made.

    What it returns is a text, or an exception to raise at once. A prompt takes 10 tokens; a token costs 1 nano-dollar
    and 1 mJ.
    """

    def __init__(self, script):
        self.script = script
        self.requests = []
        self.made = self.cancelled = 0
        self.heard = []

    def bound(self, request):
        tokens = 10 + request.n * request.max_tokens
        return Cost(tokens, tokens)

    def told(self, candidate):
        self.heard.append(candidate)

    async def generate(self, request, draw):
        self.requests.append(request)
        texts = []
        for _ in range(request.n):
            said = self.script(request, self.made)
            self.made += 1
            if isinstance(said, BaseException):
                raise said
            texts.append(said.split(" "))
        draw.spend(Cost(10, 10, 10))
        yield Chunk(usage=Usage(prompt_tokens=10))
        done = [False] * request.n
        try:
            for at in range(max(map(len, texts)) + 1):
                await asyncio.sleep(0)
                deltas = []
                for index, words in enumerate(texts):
                    if done[index]:
                        continue
                    if at == min(len(words), request.max_tokens):
                        done[index] = True
                        deltas.append(Delta(index, finish_reason="stop" if at == len(words) else "length"))
                    else:
                        logprobs = [TokenLogprob(words[at], -0.1)] if request.sampling.logprobs else None
                        deltas.append(
                            Delta(index, words[at] + " " * (at + 1 < len(words)), tokens=1, logprobs=logprobs)
                        )
                tokens = sum(delta.tokens for delta in deltas)
                draw.spend(Cost(tokens, tokens, tokens))
                yield Chunk(deltas)
        finally:
            self.cancelled += sum(not each for each in done)


def request(text="What is 6 times 7?", **more):
    return GenerateRequest("req_1", "fake", max_tokens=64, messages=[{"role": "user", "content": text}], **more)


def saying(*texts):
    """Return a script that says each text in turn, the last one again and again."""
    return lambda request, number: texts[min(number, len(texts) - 1)]
