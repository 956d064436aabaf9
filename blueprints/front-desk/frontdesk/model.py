"""A model behind an OpenAI-compatible server: it words answers, and chooses where a customer's words leave a choice."""

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

_TIMEOUT_S = 300


class NoServer(Exception):
    """The server cannot be asked; the message says why and what to do."""


@dataclass
class Model:
    """A server's address (with or without /v1), its key and a model ("" is the first that it lists).

    `calls` counts what was asked of it and `tokens` what that took, prompt and completion together.
    """

    url: str
    key: str = "none"
    name: str = ""
    calls: int = field(default=0, init=False)
    tokens: int = field(default=0, init=False)

    def choose(self, about: str, said: str, choices: Mapping[str, str]) -> str:
        """Return the name of the choice that suits what was said; the server lets the model write nothing else."""
        listed = "\n".join(f"- {name}: {meaning}" for name, meaning in choices.items())
        schema = {
            "type": "object",
            "properties": {"choice": {"type": "string", "enum": [*choices]}},
            "required": ["choice"],
            "additionalProperties": False,
        }
        said = " ".join(said.split())
        function = {"name": "choose", "description": about, "parameters": schema}
        body = {
            "messages": [
                {"role": "system", "content": f"{about} Choose what suits the customer's words best.\n{listed}"},
                {"role": "user", "content": f"The customer said: {said}"},
            ],
            "tools": [{"type": "function", "function": function}],
            "tool_choice": "required",
            "temperature": 0,
            "max_tokens": 64,
        }
        calls = self._chat(body).get("tool_calls") or []
        try:
            choice = json.loads(calls[0]["function"]["arguments"])["choice"]
        except (IndexError, KeyError, TypeError, ValueError) as error:
            raise NoServer(
                f"{self.url} made no whole call of a tool ({error!r}); ask a model that calls tools"
            ) from None
        if choice not in choices:
            raise NoServer(f"{self.url} chose {choice!r}, which is no choice; ask a server that keeps to schemas")
        return str(choice)

    async def complete(self, messages: list[dict[str, str]], **options: object) -> AsyncIterator[str]:
        """Yield the model's answer to chat messages: what the handbook's answers call (`aigrid.knowledge.answer`)."""
        said = await asyncio.to_thread(self._chat, {"messages": messages, **options})
        yield said.get("content") or ""

    def _chat(self, body: dict[str, Any]) -> dict[str, Any]:
        if not self.name:
            models = [each["id"] for each in self._ask("/models", None)["data"]]
            chat = [name for name in models if "minilm" not in name and not name.startswith("agent:")]
            self.name = (chat or models)[0]
        answer = self._ask("/chat/completions", {"model": self.name, **body})
        self.calls += 1
        self.tokens += (answer.get("usage") or {}).get("total_tokens", 0)
        message: dict[str, Any] = answer["choices"][0]["message"]
        return message

    def _ask(self, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
        address = self.url.rstrip("/").removesuffix("/v1") + "/v1" + path
        if not address.startswith(("http://", "https://")):
            raise NoServer(f"{self.url} is no address of a server: it begins with http:// or https://")
        headers = {"authorization": f"Bearer {self.key}", "content-type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        try:
            with urllib.request.urlopen(urllib.request.Request(address, data, headers), timeout=_TIMEOUT_S) as response:
                value: dict[str, Any] = json.load(response)
                return value
        except urllib.error.HTTPError as error:
            raise NoServer(f"{address} answered {error.code}: {error.read(500).decode(errors='replace')}") from None
        except (OSError, ValueError) as error:
            raise NoServer(f"{address} cannot be asked: {error}; is it running (`aigrid up`)?") from None
