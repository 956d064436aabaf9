"""A mind that follows a script: each step is an answer, or the calls it makes."""

import json

from aigrid.engines.base import Chunk, Delta, ToolCall, Usage


class ScriptedMind:
    """Says `script[step]`: a text, a list of (tool, arguments), or what a function of the request returns."""

    def __init__(self, *script):
        self.script = script
        self.requests = []

    def steps_taken(self, request):
        return sum(message["role"] == "assistant" for message in request.messages)

    async def generate(self, request):
        self.requests.append(request)
        said = self.script[min(self.steps_taken(request), len(self.script) - 1)]
        if callable(said):
            said = said(request)
        if isinstance(said, BaseException):
            raise said
        yield Chunk(usage=Usage(prompt_tokens=10))
        if isinstance(said, str):
            for word in said.split(" "):
                yield Chunk([Delta(text=word + " " if word != said.split(" ")[-1] else word, tokens=1)])
            yield Chunk([Delta(finish_reason="stop")], Usage(10, len(said.split())))
            return
        for index, (name, arguments) in enumerate(said):
            text = arguments if isinstance(arguments, str) else json.dumps(arguments)
            yield Chunk([Delta(tool_calls=[ToolCall(index, f"x{index}", name, text[:3])], tokens=1)])
            yield Chunk([Delta(tool_calls=[ToolCall(index, arguments=text[3:])], tokens=1)])
        yield Chunk([Delta(finish_reason="tool_calls")], Usage(10, 2 * len(said)))

    async def count(self, request):
        return 10

    def cost_nusd(self):
        return 0

    def records(self):
        return []
