"""From a question to an answer: the schema goes into the prompt, a plan comes back, the database answers it."""

import json
from dataclasses import dataclass
from typing import Any

from aigrid.client.model import Model
from askdb.database import Database, Refused, Result, schema
from askdb.narrow import narrowed
from askdb.plan import sql_of

_INSTRUCTIONS = """You answer questions about a database by filling in a query.
`show` is what to show: a column as it is (function none), or a function over a column; count may take column *.
`where` holds the conditions the question states; leave it empty if it states none. Write values as the schema shows them.
`for_each` groups the rows by a column; "" where the question does not ask for each. `order.by` is "" or a column or
result; direction down puts the largest first. `limit` is how many rows are asked for; 1 for the most or the least.

The schema, with some values of each column:
{schema}"""


@dataclass(frozen=True)
class Answer:
    """A question's SQL, its values, and the result."""

    sql: str
    values: tuple[Any, ...]
    result: Result


def form_of(question: str, database: Database) -> dict[str, Any]:
    """Return the form to fill in, as a JSON schema."""
    return {"type": "object", "properties": {"plan": narrowed(question, database)}, "required": ["plan"]}


def messages_of(question: str, database: Database) -> list[dict[str, Any]]:
    """Return what a model is told: how to fill in the form, the schema, an example, the question."""
    first = database.tables[0].name
    blank = {"where": [], "for_each": "", "order": {"by": "", "direction": "up"}, "limit": 1}
    plan = {"table": first, "show": [{"column": "*", "function": "count"}], **blank}
    call = {"name": "query", "arguments": json.dumps({"plan": plan})}
    return [
        {"role": "system", "content": _INSTRUCTIONS.format(schema=schema(database.tables))},
        {"role": "user", "content": f"How many rows are there in table {first}?"},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "call_1", "type": "function", "function": call}]},
        {"role": "tool", "tool_call_id": "call_1", "content": "done"},
        {"role": "user", "content": question},
    ]


def ask(question: str, database: Database, model: Model) -> Answer:
    """Answer a question; raises `Refused` where the model's plan or the database does not allow it."""
    about, form = "Ask the database.", form_of(question, database)
    filled = model.fill(messages_of(question, database), "query", about, form, max_tokens=512)
    if not isinstance(filled.get("plan"), dict):
        raise Refused("the model's query is incomplete: try again or ask a larger model")
    return answer_of(filled["plan"], database)


def answer_of(plan: dict[str, Any], database: Database) -> Answer:
    """Return what the database answers to a plan; raises `Refused`."""
    sql, values = sql_of(plan, database.tables, database.mark)
    return Answer(sql, values, database.ask(sql, values))
