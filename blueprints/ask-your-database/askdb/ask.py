"""From a question to an answer: the schema goes into the prompt, a plan comes back, the database answers it."""

import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any

from askdb.database import Database, Refused, Result
from askdb.narrow import narrowed
from askdb.plan import sql_of

_INSTRUCTIONS = """You answer questions about a database by filling in a query.
`show` is what to show: a column as it is (function none), or a function over a column; count may take column *.
`where` holds the conditions the question states; leave it empty if it states none. Write values as the schema shows them.
`for_each` groups the rows by a column; "" where the question does not ask for each. `order.by` is "" or a column or
result; direction down puts the largest first. `limit` is how many rows are asked for; 1 for the most or the least.

The schema, with some values of each column:
{schema}"""
_EXAMPLE = [
    ("How many rows are there in table {table}?", {"show": [{"column": "*", "function": "count"}]}),
]
_TIMEOUT_S = 300


@dataclass(frozen=True)
class Server:
    """An OpenAI-compatible server: its address (with or without /v1), key and model ("" is the server's own choice)."""

    url: str
    key: str = "none"
    model: str = ""

    def post(self, body: dict[str, Any]) -> dict[str, Any]:
        """Ask for one chat completion; raises `Refused` with what the server said."""
        address = self.url.rstrip("/").removesuffix("/v1") + "/v1/chat/completions"
        if not address.startswith(("http://", "https://")):
            raise Refused(f"{self.url} is no address of a server: it begins with http:// or https://")
        headers = {"authorization": f"Bearer {self.key}", "content-type": "application/json"}
        request = urllib.request.Request(address, json.dumps(body).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as response:
                value: dict[str, Any] = json.load(response)
                return value
        except urllib.error.HTTPError as error:
            raise Refused(f"{address} answered {error.code}: {error.read(500).decode(errors='replace')}") from error
        except (OSError, ValueError) as error:
            raise Refused(f"{address} cannot be asked: {error}; is it running (`aigrid up`)?") from error

    def any_model(self) -> str:
        """Return the model to ask: the one named, or the first that the server lists and that is no embedder."""
        if self.model:
            return self.model
        address = self.url.rstrip("/").removesuffix("/v1") + "/v1/models"
        request = urllib.request.Request(address, headers={"authorization": f"Bearer {self.key}"})
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                names = [each["id"] for each in json.load(response)["data"]]
        except (OSError, ValueError, KeyError) as error:
            raise Refused(f"{address} cannot be read: {error}; is the server running (`aigrid up`)?") from error
        return next((name for name in names if "minilm" not in name and not name.startswith("agent:")), names[0])


@dataclass(frozen=True)
class Answer:
    """A question's SQL, its values, and the result."""

    sql: str
    values: tuple[Any, ...]
    result: Result


def request_of(question: str, database: Database, model: str) -> dict[str, Any]:
    """Return the request that makes a model fill in the form."""
    schema = {"type": "object", "properties": {"plan": narrowed(question, database)}, "required": ["plan"]}
    function = {"name": "query", "description": "Ask the database.", "parameters": schema}
    first = database.tables[0].name
    shots: list[dict[str, Any]] = []
    for asked, part in _EXAMPLE:
        blank = {"where": [], "for_each": "", "order": {"by": "", "direction": "up"}, "limit": 1}
        arguments = json.dumps({"plan": {"table": first, **part, **blank}})
        call = {"id": "call_1", "type": "function", "function": {"name": "query", "arguments": arguments}}
        shots += [
            {"role": "user", "content": asked.format(table=first)},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "call_1", "content": "done"},
        ]
    return {
        "model": model,
        "messages": [
            {"role": "system", "content": _INSTRUCTIONS.format(schema=database.schema())},
            *shots,
            {"role": "user", "content": question},
        ],
        "tools": [{"type": "function", "function": function}],
        "tool_choice": "required",
        "temperature": 0,
        "max_tokens": 512,
    }


def ask(question: str, database: Database, server: Server) -> Answer:
    """Answer a question; raises `Refused` where the model's plan or the database does not allow it."""
    message = server.post(request_of(question, database, server.any_model()))["choices"][0]["message"]
    calls = message.get("tool_calls") or []
    if not calls:
        raise Refused("the model filled in no query: ask a model that can call tools")
    try:
        plan = json.loads(calls[0]["function"]["arguments"])["plan"]
    except (ValueError, KeyError, TypeError) as error:
        raise Refused(f"the model's query is incomplete ({error!r}): try again or ask a larger model") from error
    sql, values = sql_of(plan, database.tables)
    return Answer(sql, values, database.ask(sql, values))
