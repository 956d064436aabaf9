"""New examples by a model through the gateway: constrained to the shape of a question, judged, within a budget.

`paraphrase` asks for other words for the same question; `from_answer` asks for a question to a given answer, shown a
few examples (back-translation of labels, after R. Sennrich et al., arXiv:1511.06709). A judge then has to find the
same answer among all answers, or to say that the meaning is the same; what it does not confirm is thrown away. What
was asked before a crash is not asked again.
"""

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from aigrid.client.http import Gateway, RemoteError
from aigrid.core.errors import BadRequest
from aigrid.factory.base import Cost, Tell
from aigrid.factory.rows import Row, canonical

_SHOWN = 4
_LONGEST = 400


class Made(msgspec.Struct, frozen=True):
    """A question that a model made, from which rows; `ok` is the judge's word. Tokens and money are of both."""

    input: str
    parents: tuple[str, ...]
    output: Any
    ok: bool
    tokens: int
    nusd: int


class Asked:
    """A model at a gateway, asked within a budget of tokens. `path` keeps what was made."""

    def __init__(self, gateway: Gateway, model: str, judge: str, tokens: int, path: Path, cost: Cost) -> None:
        self._gateway, self._model, self._judge = gateway, model, judge or model
        self._left = tokens
        self._path, self._cost = path, cost

    def make(
        self, way: Literal["paraphrase", "from_answer"], found: Sequence[Row], count: int, seed: int, tell: Tell
    ) -> Iterator[Made]:
        """Yield up to `count` new questions; ends early where the budget does."""
        rng = random.Random(f"{way}:{seed}")
        kept = (
            [msgspec.json.decode(line, type=Made) for line in self._path.read_bytes().splitlines()]
            if self._path.exists()
            else []
        )
        answers = sorted({row.text for row in found})
        with self._path.open("ab", buffering=0) as file:
            for at in range(count):
                row = rng.choice(found)
                shown = rng.sample(list(found), min(_SHOWN, len(found)))
                if at < len(kept):
                    made = kept[at]
                elif self._left > 0:
                    made = self._one(way, row, shown, answers, seed + at)
                    file.write(msgspec.json.encode(made) + b"\n")
                else:
                    return
                tell(at, count, f"asking {self._model}")
                self._left -= made.tokens
                self._cost.tokens += made.tokens
                self._cost.nusd += made.nusd
                if made.ok:
                    yield made

    def _one(self, way: str, row: Row, shown: list[Row], answers: list[str], seed: int) -> Made:
        examples = "\n".join(f"- {each.input}" for each in shown if way == "paraphrase" or each.text == row.text)
        if way == "paraphrase":
            task = f"Say this in other words, keeping its meaning and every name and number:\n{row.input}"
        else:
            task = f"Write one question of a user to which the right answer is: {row.text}"
        prompt = f"{task}\nExamples of how users write:\n{examples or '- ' + row.input}"
        text, tokens, nusd = self._ask(
            self._model,
            prompt,
            _shape("question", {"type": "string", "minLength": 3, "maxLength": _LONGEST}),
            seed,
            0.9,
        )
        ok = bool(text) and text.casefold() != row.input.casefold()
        if ok:
            judged, more, paid = self._confirm(way, row, text, answers, seed)
            ok, tokens, nusd = judged, tokens + more, nusd + paid
        return Made(text, (row.id,), row.output, ok, tokens, nusd)

    def _confirm(self, way: str, row: Row, text: str, answers: list[str], seed: int) -> tuple[bool, int, int]:
        few = 1 < len(answers) <= 50
        if few:
            choices, wanted = answers, row.text
            prompt = f"Which of these is meant by the question `{text}`?\n" + "\n".join(f"- {each}" for each in answers)
        else:
            choices, wanted = ["same", "different"], "same"
            other = row.input if way == "paraphrase" else canonical(row.output)
            prompt = f"Do these mean the same?\n1. {other}\n2. {text}"
        said, tokens, nusd = self._ask(self._judge, prompt, _shape("verdict", {"enum": choices}), seed, 0.0)
        return said == wanted, tokens, nusd

    def _ask(
        self, model: str, prompt: str, shape: dict[str, Any], seed: int, temperature: float
    ) -> tuple[str, int, int]:
        body = {
            "model": model, "messages": [{"role": "user", "content": prompt}], "temperature": temperature, "seed": seed,
            "max_tokens": 160, "response_format": {"type": "json_schema", "json_schema": shape},
        }  # fmt: skip
        status, answer = self._gateway.post("/v1/chat/completions", body)
        if status != 200:
            raise RemoteError(status, answer)
        try:
            usage = answer["usage"]
            said = answer["choices"][0]["message"]["content"] or ""
        except (KeyError, IndexError, TypeError):
            raise BadRequest(f"the model {model} answered with something that is no chat completion") from None
        try:
            value = next(iter(msgspec.json.decode(said).values()))
        except (msgspec.DecodeError, AttributeError, StopIteration):
            value = ""  # cut off by max_tokens: thrown away, and paid for
        cost = (answer.get("aigrid") or {}).get("cost_nusd") or 0
        return " ".join(str(value).split()), usage["total_tokens"], int(cost)


def _shape(name: str, value: dict[str, Any]) -> dict[str, Any]:
    schema = {"type": "object", "properties": {name: value}, "required": [name], "additionalProperties": False}
    return {"name": name, "schema": schema, "strict": True}
