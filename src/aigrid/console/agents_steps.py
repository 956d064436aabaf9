"""The steps of a run as a person reads them: pure functions from its journal to markup."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from aigrid.console import figures, theme
from aigrid.console.agents_views import exact, joules, run_path
from aigrid.console.knowledge_views import passage_view, shorten
from aigrid.core.clock import now_ns

RATINGS = {1: "good", 0: "neither good nor bad", -1: "bad"}
MOST_ROWS = 50
_Step = Mapping[str, Any]


class Timeline:
    """A run's journal, step by step. `feedback` is what people said about its steps."""

    def __init__(self, run: _Step, feedback: Sequence[_Step] = ()) -> None:
        self._run = run
        self._journal: list[_Step] = run["journal"]
        self._feedback = feedback
        self._found = {(step["kind"], step["key"]): step for step in self._journal}

    def said(self) -> list[str]:
        """Return what each step of the model says."""
        return [step["body"]["text"] for step in self._journal if step["kind"] == "model"]

    def thinking(self) -> bool:
        """Return whether the model is at work on a step that is not recorded yet: all its calls have come back."""
        last = next((step for step in reversed(self._journal) if step["kind"] == "model"), None)
        calls = last["body"]["calls"] if last is not None else []
        if last is not None and not calls and self._journal[-1] is last:
            return False
        return all(("tool", call["id"]) in self._found or ("refused", call["id"]) in self._found for call in calls)

    def items(self) -> list[Markup]:
        """Return the steps; each is the same markup as before unless something has come of it since."""
        shown = []
        before: _Step | None = None
        for step in self._journal:
            match step["kind"]:
                case "start":
                    shown.append(_task(step["body"]["task"]))
                case "model":
                    shown.append(self._thinks(step, before))
                case "resumed":
                    shown.append(_mark("Went on", figures.moment(step["at_ns"], now_ns())))
                case "paused":
                    shown.append(_mark(_PAUSED[step["body"]["state"]], why(step["body"]["reason"])))
            before = step
        return shown

    def _thinks(self, step: _Step, before: _Step | None) -> Markup:
        body, number = step["body"], int(step["key"]) + 1
        thought = Markup("")
        if body["reasoning"].strip():
            words = len(body["reasoning"].split())
            thought = Markup('<details><summary>Thought, {} words</summary><p class="thought">{}</p></details>').format(
                f"{words:,}", body["reasoning"].strip()
            )
        text = Markup('<p class="words">{}</p>').format(body["text"].strip()) if body["text"].strip() else Markup("")
        calls = Markup("").join(self._call(call) for call in body["calls"])
        usage, took = body["usage"], step["at_ns"] - before["at_ns"] if before is not None else None
        cost = Markup(
            '<div class="receipt"><b class="price">{}</b><span>{} {}</span><span><b>{}</b> tokens in, <b>{}</b> out'
            '</span><span><b>{}</b></span><span class="grow"></span>{}<button class="rate" data-step="{}">Rate or '
            "correct</button></div>"
        ).format(
            figures.dollars(body["cost_nusd"]), joules(body), figures.energy_word(body["energy_source"]),
            f"{usage['prompt_tokens']:,}", f"{usage['completion_tokens']:,}", figures.duration(took),
            self._rated(int(step["key"])), step["key"],
        )  # fmt: skip
        head = Markup('<span class="number" title="Step {0} of the model">{0}</span>').format(number)
        return Markup('<article class="step">{}<div class="did">{}{}{}{}</div></article>').format(
            head, thought, text, calls, cost
        )

    def _call(self, call: _Step) -> Markup:
        """Return one call of a tool: its exact arguments, who was asked, and what came of it."""
        name, id_ = call["name"], call["id"]
        outcome = self._found.get(("tool", id_)) or self._found.get(("refused", id_))
        began = next((step for step in self._journal if step["kind"] == "began" and _of(step, id_)), None)
        people = Markup("").join(
            _person(step) for step in self._journal if step["kind"] == "answered" and _of(step, id_)
        )
        recruited = self._found.get(("recruited", id_))
        if recruited is not None:
            people += _recruits(recruited["body"]["subs"])
        took = figures.duration(outcome["at_ns"] - began["at_ns"]) if outcome is not None and began is not None else ""
        result = Markup("") if outcome is None else result_view(outcome["body"])
        return Markup(
            '<section class="call"><header><b>{}</b>{}<span class="muted small">{}</span></header>'
            '<pre class="box">{}</pre>{}{}</section>'
        ).format(name, self._call_tag(name, id_, outcome, began), took, _arguments(call["arguments"]), people, result)

    def _call_tag(self, name: str, id_: str, outcome: _Step | None, began: _Step | None) -> Markup:
        if outcome is not None:
            word, kind = ("refused", "bad") if outcome["kind"] == "refused" else ("done", "good")
        elif name == "answer" and self._journal[0]["body"]["agent"].get("output"):
            word, kind = "the answer", ""
        elif any(step["kind"] == "asked" and _of(step, id_) for step in self._journal):
            word, kind = "asks a person", "warm"
        elif self._run["state"] == "running":
            word, kind = ("at work", "good live") if began is not None else ("comes next", "")
        else:
            word, kind = ("cut off", "warm") if began is not None else ("not called", "")
        return Markup('<span class="tag {}">{}</span>').format(kind, word)

    def _rated(self, step: int) -> Markup:
        """Return what people said about a step."""
        parts = []
        for row in self._feedback:
            if row["step"] == step:
                given = row["feedback"]
                words = [RATINGS[given["rating"]]] if given["rating"] is not None else []
                words += ["corrected"] if given["correction"] else []
                words += [f"“{shorten(given['comment'], 80)}”"] if given["comment"] else []
                hint = given["correction"] or given["comment"] or ""
                parts.append(Markup('<span class="tag" title="{}">{}</span>').format(hint, ", ".join(words)))
        return Markup("").join(parts)


_PAUSED = {
    "waiting": "Waits for a person",
    "unknown": "Waits for a person",
    "interrupted": "Cut off",
    "stopped": "Stopped",
}


def why(reason: str) -> str:
    """Return why a run goes no further, without what a command line would do about it."""
    return reason.partition("; see `")[0]


def _of(step: _Step, call: str) -> bool:
    """Return whether a step is about a call: its key is `CALL/0`, `approve:CALL` or `unknown:CALL/0`."""
    key: str = step["key"]
    return key.rpartition(":")[2].partition("/")[0] == call


def _task(task: _Step) -> Markup:
    history = len(task["history"])
    earlier = Markup('<p class="sub">after {} earlier messages</p>').format(history) if history else Markup("")
    facts = Markup("")
    if task["facts"]:
        facts = Markup(
            '<details><summary>What the documents say about it, found beforehand</summary><pre class="box">{}</pre>'
            "</details>"
        ).format(task["facts"])
    return Markup(
        '<article class="step"><span class="number asks" title="The task">?</span><div class="did">'
        '<p class="words">{}</p>{}{}</div></article>'
    ).format(task["text"], earlier, facts)


def _mark(title: str, text: str) -> Markup:
    return Markup('<p class="between"><b>{}</b> <span>{}</span></p>').format(title, text)


def _person(step: _Step) -> Markup:
    body = step["body"]
    reason = Markup(": {}").format(body["reason"]) if body["reason"] else ""
    by = f" by {body['approver']}" if body["approver"] else ""
    word = Markup("<b>{}</b>{}{}").format(body["state"].capitalize(), by, reason)
    return Markup('<p class="person {}">{}</p>').format(body["state"], word)


def _recruits(subs: Sequence[_Step]) -> Markup:
    links = (Markup('<a href="{}">{}</a>').format(run_path(sub["run"]), sub["agent"]) for sub in subs)
    return Markup('<p class="person">Recruited {}</p>').format(Markup(", ").join(links))


def _arguments(text: str) -> str:
    try:
        return exact(json.loads(text or "{}"))
    except ValueError:
        return exact(text)


def result_view(result: str) -> Markup:
    """Return a tool's result: passages as sources that open, rows as a table, anything else as it is."""
    try:
        value = json.loads(result)
    except ValueError:
        value = None
    if _passages(value):
        cards = Markup("").join(_passage(at, each) for at, each in enumerate(value, 1))
        return Markup('<ol class="passages">{}</ol>').format(cards)
    if _rows(value):
        return rows_view(value)
    text = exact(value) if isinstance(value, dict | list) else result
    return Markup('<pre class="box result">{}</pre>').format(text)


def _passages(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(each, dict) and each.keys() == {"text", "place", "source"} for each in value)
    )


def _passage(number: int, found: _Step) -> Markup:
    whole = {"title": found["place"], "path": str(found["place"]), "source_id": str(found["source"])}
    return passage_view({**whole, "start": None, "end": None}, shorten(str(found["text"])), number)


def _rows(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and value.keys() == {"columns", "rows", "more"}
        and isinstance(value["columns"], list)
        and isinstance(value["rows"], list)
        and all(isinstance(row, list) and len(row) == len(value["columns"]) for row in value["rows"])
    )


def rows_view(found: Mapping[str, Any]) -> Markup:
    """Return what a database answered as a table."""
    numbers = [
        all(isinstance(row[at], int | float) for row in found["rows"] if row[at] is not None)
        for at in range(len(found["columns"]))
    ]
    columns = [(str(name), "num" if number else "") for name, number in zip(found["columns"], numbers, strict=True)]
    rows = [["–" if cell is None else str(cell) for cell in row] for row in found["rows"][:MOST_ROWS]]
    left = len(found["rows"]) - len(rows)
    more = f"{left:,} more rows" if left else "there are more rows than may be read" if found["more"] else ""
    note = Markup('<p class="sub">{}</p>').format(more) if more else Markup("")
    return Markup('<div class="scroll rows">{}{}</div>').format(theme.table(columns, rows, "What was found"), note)
