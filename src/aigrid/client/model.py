"""A model to ask: behind any OpenAI-compatible server, or in a factory of its own while a block runs.

    from aigrid.client.model import factory

    with factory() as model:  # `aigrid up` with the embedded model, in a temporary folder
        print(model.say([{"role": "user", "content": "Name three tools."}]))

`add_options` and `chosen` give a program the options `--url`, `--model` and `--engine`.
"""

import argparse
import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from aigrid.client.http import Gateway, RemoteError
from aigrid.core.errors import Unavailable, UpstreamError

Messages = Sequence[dict[str, Any]]
TIMEOUT_S = 300.0
_STOP_S = 60.0


@dataclass
class Model:
    """A server's address (with or without /v1), its key and a model ("" is the first chat model that it lists).

    `calls` counts what was asked of it and `tokens` what that took, prompt and completion together. Any number of
    threads may ask at once.
    """

    url: str
    key: str = ""
    name: str = ""
    calls: int = field(default=0, init=False)
    tokens: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._server = Gateway(self.url, self.key, TIMEOUT_S)
        self._lock = threading.Lock()

    def chat(self, messages: Messages, **options: Any) -> dict[str, Any]:
        """Return the message that answers; raises `AigridError` that says why there is none."""
        with self._lock:
            self.name = self.name or _first_chat_model(self._server)
        body = {"model": self.name, "messages": messages, "temperature": 0, **options}
        status, answer = self._server.post("/v1/chat/completions", body)
        if status != 200:
            raise RemoteError(status, answer)
        try:
            message: dict[str, Any] = answer["choices"][0]["message"]
            tokens = (answer.get("usage") or {}).get("total_tokens", 0)
        except (IndexError, KeyError, TypeError, AttributeError) as error:
            raise UpstreamError(f"{self.url} answered with no chat completion ({error!r})") from None
        with self._lock:
            self.calls += 1
            self.tokens += tokens
        return message

    def say(self, messages: Messages, **options: Any) -> str:
        """Return the text that answers; raises as `chat` does."""
        return self.chat(messages, **options).get("content") or ""

    def fill(self, messages: Messages, name: str, about: str, schema: dict[str, Any], **options: Any) -> dict[str, Any]:
        """Return the arguments that the model gives to the one function that it must call, by its JSON schema.

        aigrid's own engine can write nothing that breaks the schema; of other servers that is to be checked. Raises
        as `chat` does, and `UpstreamError` where there is no whole call.
        """
        function = {"name": name, "description": about, "parameters": schema}
        tools = [{"type": "function", "function": function}]
        message = self.chat(messages, tools=tools, tool_choice="required", **options)
        try:
            filled = json.loads(message["tool_calls"][0]["function"]["arguments"])
        except (IndexError, KeyError, TypeError, ValueError) as error:
            raise UpstreamError(
                f"{self.name} made no whole call of `{name}` ({error!r}); ask a model that calls tools"
            ) from None
        if not isinstance(filled, dict):
            raise UpstreamError(f"{self.name} called `{name}` with {type(filled).__name__}, not with an object")
        return filled

    async def complete(self, messages: Messages, **options: Any) -> AsyncIterator[str]:
        """Yield the text that answers: the shape that `aigrid.knowledge.answer` asks for."""
        yield await asyncio.to_thread(self.say, messages, **options)


@contextlib.contextmanager
def factory(model: str = "", engine: str = "") -> Iterator[Model]:
    """Run a factory in a temporary folder until the block ends; gives its model. Raises `Unavailable` with what it said."""
    chosen = [*(["--model", model] if model else []), *(["--engine", engine] if engine else [])]
    command = [sys.executable, "-m", "aigrid.cli", "up", "--json", "--no-console", "--port", "0", *chosen]
    with tempfile.TemporaryDirectory(prefix="aigrid-") as home:
        process = subprocess.Popen(
            command, env={**os.environ, "AIGRID_HOME": home}, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            text=True,
        )  # fmt: skip
        try:
            started = _started(process)
            yield Model(started["url"], started["key"] or "", model)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.communicate(timeout=_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say which model is asked: `--url`, `--model`, `--engine`."""
    parser.add_argument("--url", help="an OpenAI-compatible server; its key is in OPENAI_API_KEY")
    parser.add_argument("--model", default="", help="the model to ask (default: the server's own)")
    parser.add_argument("--engine", default="", help="without --url: the engine of the factory that is started")


@contextlib.contextmanager
def chosen(options: argparse.Namespace) -> Iterator[Model]:
    """Give the model that the options of `add_options` name; without `--url`, in a factory until the block ends."""
    if options.url:
        yield Model(options.url, os.environ.get("OPENAI_API_KEY", ""), options.model)
    else:
        with factory(options.model, options.engine) as own:
            yield own


def _started(process: "subprocess.Popen[str]") -> dict[str, Any]:
    """Return the first JSON document that `aigrid up` prints."""
    lines = []
    for line in process.stdout or ():
        lines.append(line)
        if line.startswith("}"):
            break
    if not lines:
        raise Unavailable("the factory ended and said nothing; `aigrid doctor` says what is wrong")
    started: dict[str, Any] = json.loads("".join(lines))
    if "error" in started:
        raise Unavailable(f"the factory did not start: {started['error']['message']}")
    return started


def _first_chat_model(server: Gateway) -> str:
    """Return the first model that a server lists and that is neither an embedder nor an agent."""
    names = server.models()
    if not names:
        raise Unavailable(f"{server.url} serves no model")
    return next((name for name in names if "minilm" not in name and not name.startswith("agent:")), names[0])
