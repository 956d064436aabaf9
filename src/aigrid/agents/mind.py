"""The model that pydantic-ai calls: the factory's own engine protocol, with each answer in the run's journal.

An answer that is recorded is given again without a model; that is all there is to resuming, and to replaying.
"""

import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any, Protocol

import msgspec
from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelResponse,
    ModelResponsePart,
    RetryPromptPart,
    SystemPromptPart,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.models import Model, ModelRequestParameters
from pydantic_ai.profiles import ModelProfile
from pydantic_ai.settings import ModelSettings
from pydantic_ai.tools import ToolDefinition
from pydantic_ai.usage import RequestUsage

from aigrid.agents.digest import digest
from aigrid.agents.events import Listener, Text, Thought
from aigrid.agents.halt import Exhausted, Spent
from aigrid.agents.journal import Journal
from aigrid.agents.spec import Agent
from aigrid.agents.team_books import joined
from aigrid.engines.base import Chunk, GenerateRequest, Grammar, Sampling, Usage, byte_bound

MALFORMED = "not a JSON object: "
"""Marks arguments that are none, so that the policy refuses them in words."""


class Mind(Protocol):
    """Who makes a run's tokens, on the run's account."""

    def generate(self, request: GenerateRequest) -> AsyncGenerator[Chunk, None]:
        """Make tokens for one step."""

    async def count(self, request: GenerateRequest) -> int:
        """Return the number of prompt tokens."""

    def cost_nusd(self) -> int:
        """Return what the run has cost in this sitting, in nano-dollars."""

    def records(self) -> list[str]:
        """Return the ledger's records of what the run has done in this sitting, oldest first."""


class ToolAsked(msgspec.Struct):
    """A call that the model asks for; its id is the run's own, so that it is the same each time."""

    id: str
    name: str
    arguments: str


class Said(msgspec.Struct):
    """A model's answer as the journal keeps it. `cost_nusd` and `records` are of what was spent since the answer before."""

    text: str = ""
    reasoning: str = ""
    calls: list[ToolAsked] = []
    finish: str = "stop"
    usage: Usage = Usage()
    cost_nusd: int = 0
    records: list[str] = []


class Cut(msgspec.Struct, frozen=True):
    """What was spent after the last answer that the journal has."""

    cost_nusd: int
    records: list[str]


class JournaledModel(Model[None]):
    """Answers from the journal as far as it goes, and from then on from a mind."""

    def __init__(self, agent: Agent, model: str, mind: Mind | None, journal: Journal, listen: Listener) -> None:
        super().__init__(profile=ModelProfile(supports_json_schema_output=True, supports_json_object_output=True))
        self._agent = agent
        self._name = model
        self._mind = mind
        self._journal = journal
        self._listen = listen
        self._step = self._paid = self._recorded = 0
        self.used = Usage()

    @property
    def model_name(self) -> str:
        """The name of the factory's model."""
        return self._name

    @property
    def system(self) -> str:
        """Who provides it."""
        return "aigrid"

    async def request(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
    ) -> ModelResponse:
        """Return the model's answer; raises `Spent` beyond the budget."""
        _, parameters = self.prepare_request(model_settings, model_request_parameters)
        step, self._step = self._step, self._step + 1
        request = self._ask(step, messages, parameters)
        asked = digest([request.messages, request.tools, request.grammar, request.sampling, self._name])
        found = self._journal.find("model", str(step), asked)
        if found is not None:
            said = msgspec.convert(found.body, Said)
        elif self._mind is None:
            raise Exhausted(f"nothing is recorded beyond step {step}")
        else:
            said = await self._think(self._mind, request, step)
            await self._journal.put("model", str(step), asked, said)
        self.used = _sum(self.used, said.usage)
        return ModelResponse(
            parts=_parts(said),
            usage=RequestUsage(input_tokens=said.usage.prompt_tokens, output_tokens=said.usage.completion_tokens),
            model_name=self._name,
        )

    def cut(self) -> Cut | None:
        """Return what was spent since the last answer that the journal has, None where nothing was; to be asked once."""
        if self._mind is None:
            return None
        cost, records = self._mind.cost_nusd() - self._paid, self._mind.records()[self._recorded :]
        self._paid, self._recorded = self._paid + cost, self._recorded + len(records)
        return Cut(cost, records) if cost or records else None

    def _ask(self, step: int, messages: Sequence[ModelMessage], parameters: ModelRequestParameters) -> GenerateRequest:
        agent = self._agent
        tools = [_function(each) for each in (*parameters.function_tools, *parameters.output_tools)]
        grammar = None
        if parameters.output_mode == "native" and parameters.output_object is not None:
            schema = json.dumps(parameters.output_object.json_schema, sort_keys=True)
            grammar = Grammar("json_schema", schema)
        must_call = not parameters.allow_text_output or (agent.tool_first and step == 0)
        request = GenerateRequest(
            id=f"step_{step}",
            model=self._name,
            max_tokens=agent.max_tokens,
            messages=as_chat(messages),
            sampling=Sampling(temperature=agent.temperature, seed=agent.seed),
            grammar=grammar,
            tools=tools,
            tool_choice=None if not tools else "required" if must_call else "auto",
            stream=True,
            include_usage=True,
        )
        request.body = _body(request)
        return request

    async def _think(self, mind: Mind, request: GenerateRequest, step: int) -> Said:
        left = self._agent.budget.tokens - self.used.total_tokens - joined(self._journal.steps).tokens
        if left < byte_bound(request) + request.max_tokens:
            prompt = await mind.count(request)
            if left <= prompt:
                raise Spent(f"step {step} would read {prompt:,} tokens, and {max(left, 0):,} of budget.tokens are left")
            request.max_tokens = min(request.max_tokens, left - prompt)
        said = Said()
        calls: dict[int, ToolAsked] = {}
        async with aclosing(mind.generate(request)) as chunks:
            async for chunk in chunks:
                said.usage = chunk.usage or said.usage
                for delta in chunk.deltas:
                    if delta.text:
                        said.text += delta.text
                        self._listen(Text(delta.text))
                    if delta.reasoning:
                        said.reasoning += delta.reasoning
                        self._listen(Thought(delta.reasoning))
                    for piece in delta.tool_calls or ():
                        call = calls.setdefault(piece.index, ToolAsked(f"call_{step}_{piece.index}", "", ""))
                        call.name += piece.name or ""
                        call.arguments += piece.arguments
                    said.finish = delta.finish_reason or said.finish
        cost = mind.cost_nusd()
        said.cost_nusd, self._paid = cost - self._paid, cost
        records = mind.records()
        said.records, self._recorded = records[self._recorded :], len(records)
        said.calls = [calls[index] for index in sorted(calls)]
        return said


def as_chat(messages: Sequence[ModelMessage]) -> list[dict[str, Any]]:
    """Return pydantic-ai's messages as OpenAI's chat messages."""
    chat: list[dict[str, Any]] = []
    instructions = next((each.instructions for each in reversed(messages) if isinstance(each, ModelRequest)), None)
    if instructions:
        chat.append({"role": "system", "content": instructions})
    for message in messages:
        if isinstance(message, ModelResponse):
            chat.append(_answer(message))
            continue
        for part in message.parts:
            match part:
                case SystemPromptPart():
                    chat.append({"role": "system", "content": part.content})
                case UserPromptPart():
                    chat.append({"role": "user", "content": _plain(part.content)})
                case ToolReturnPart():
                    text = part.model_response_str()
                    chat.append({"role": "tool", "tool_call_id": part.tool_call_id, "content": text})
                case RetryPromptPart() if part.tool_name is not None:
                    text = part.model_response()
                    chat.append({"role": "tool", "tool_call_id": part.tool_call_id, "content": text})
                case RetryPromptPart():
                    chat.append({"role": "user", "content": part.model_response()})
                case _:
                    raise TypeError(f"an agent's model cannot be sent a {type(part).__name__}")
    return chat


def _answer(message: ModelResponse) -> dict[str, Any]:
    text = "".join(part.content for part in message.parts if isinstance(part, TextPart))
    calls = [part for part in message.parts if isinstance(part, ToolCallPart)]
    said: dict[str, Any] = {"role": "assistant", "content": text if text or not calls else None}
    if calls:
        said["tool_calls"] = [
            {
                "id": call.tool_call_id,
                "type": "function",
                "function": {"name": call.tool_name, "arguments": call.args_as_json_str()},
            }
            for call in calls
        ]
    return said


def _plain(content: Any) -> str:
    return content if isinstance(content, str) else "\n".join(each for each in content if isinstance(each, str))


def _parts(said: Said) -> list[ModelResponsePart]:
    parts: list[ModelResponsePart] = []
    if said.reasoning:
        parts.append(ThinkingPart(said.reasoning))
    if said.text or not said.calls:
        parts.append(TextPart(said.text))
    for call in said.calls:
        try:
            arguments = msgspec.json.decode(call.arguments or "{}", type=dict[str, Any])
        except msgspec.DecodeError:
            arguments = {MALFORMED: call.arguments[:2000]}
        parts.append(ToolCallPart(call.name, arguments, tool_call_id=call.id))
    return parts


def _body(request: GenerateRequest) -> dict[str, Any]:
    """Return a request as a client would have sent it, for engines that forward what clients send."""
    sampling = request.sampling
    body = {
        "messages": request.messages,
        "tool_choice": request.tool_choice,
        "temperature": sampling.temperature,
        "seed": sampling.seed,
    }
    if request.grammar is not None:
        shape = {"name": "answer", "schema": json.loads(request.grammar.value), "strict": True}
        body["response_format"] = {"type": "json_schema", "json_schema": shape}
    return {name: value for name, value in body.items() if value is not None}


def _function(tool: ToolDefinition) -> dict[str, Any]:
    shape = {"name": tool.name, "description": tool.description or "", "parameters": tool.parameters_json_schema}
    return {"type": "function", "function": shape}


def _sum(one: Usage, other: Usage) -> Usage:
    return Usage(
        one.prompt_tokens + other.prompt_tokens,
        one.completion_tokens + other.completion_tokens,
        one.reasoning_tokens + other.reasoning_tokens,
        one.cached_tokens + other.cached_tokens,
    )
