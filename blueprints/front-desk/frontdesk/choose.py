"""What a model decides at the desk: one of a list of choices, where the customer's words leave more than one."""

from collections.abc import Mapping

from aigrid.client.model import Model
from aigrid.core.errors import UpstreamError


def choose(model: Model, about: str, said: str, choices: Mapping[str, str]) -> str:
    """Return the name of the choice that suits what was said; raises `AigridError` where the server makes none."""
    listed = "\n".join(f"- {name}: {meaning}" for name, meaning in choices.items())
    schema = {
        "type": "object",
        "properties": {"choice": {"type": "string", "enum": [*choices]}},
        "required": ["choice"],
        "additionalProperties": False,
    }
    messages = [
        {"role": "system", "content": f"{about} Choose what suits the customer's words best.\n{listed}"},
        {"role": "user", "content": f"The customer said: {' '.join(said.split())}"},
    ]
    choice = model.fill(messages, "choose", about, schema, max_tokens=64).get("choice")
    if choice not in choices:
        raise UpstreamError(f"{model.url} chose {choice!r}, which is no choice; ask a server that keeps to schemas")
    return str(choice)
