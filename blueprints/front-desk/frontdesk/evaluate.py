"""How often the desk does what a person wrote down as right: answered from the right page, filled in, or passed on."""

import datetime
import json
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from aigrid.agents.desk import Desk
from aigrid.client.model import Model
from aigrid.knowledge.cite import check
from frontdesk.books import Books
from frontdesk.desk import Conversation, FrontDesk, Reply
from frontdesk.handbook import Handbook

MONDAY = datetime.date(2026, 5, 4)
"""The day on which the cases are played: they speak of Friday, and of 12 May."""


def evaluate(cases: Path, orders: Path, handbook: Handbook, model: Model | None = None) -> dict[str, Any]:
    """Play each case of a file with new books; returns the scores by kind, a baseline, the citations checked, and what went wrong."""
    right: Counter[str] = Counter()
    total: Counter[str] = Counter()
    wrong, citations, sound = [], 0, 0
    for number, case in enumerate(json.loads(cases.read_text())):
        with tempfile.TemporaryDirectory() as folder:
            approvals = Desk(Path(folder) / "approvals.db")
            desk = FrontDesk(handbook, Books(Path(folder) / "books.sqlite", orders, MONDAY), approvals, model)
            talk = Conversation(f"case {number}")
            replies = [desk.turn(talk, said) for said in case["say"]]
            approvals.close()
        kind = "form" if case["act"] in ("return", "appointment", "ask", "refused") else case["act"]
        total[kind] += 1
        if why := fault(replies[-1], case):
            wrong.append({"said": case["say"], "why": why, "answer": replies[-1].text})
        else:
            right[kind] += 1
        for reply in replies:
            citations += len(reply.citations)
            sound += sum(check(each, handbook.page(each.source_id)) for each in reply.citations)
    scores = {kind: [right[kind], total[kind]] for kind in total}
    scores["all"] = [right.total(), total.total()]
    baseline = {"passing every customer on to a person": [total["person"], total.total()]}
    return {"scores": scores, "baseline": baseline, "citations": [sound, citations], "wrong": wrong}


def fault(reply: Reply, case: dict[str, Any]) -> str:
    """Return how a reply differs from what a case expects; empty where it does not."""
    if reply.act != case["act"]:
        return f"{reply.act}, not {case['act']}"
    if "source" in case:
        if all(each.path != case["source"] for each in reply.citations):
            return f"cites {', '.join(each.path for each in reply.citations)}, not {case['source']}"
        if case["holds"].lower() not in reply.text.lower():
            return f"does not say {case['holds']}"
    if any(reply.fields.get(name) != value for name, value in case.get("fields", {}).items()):
        return f"filled in {reply.fields}"
    for name in ("state", "missing"):
        if name in case and getattr(reply, name) != case[name]:
            return f"{name} is {getattr(reply, name)!r}, not {case[name]!r}"
    return "" if case.get("because", "") in reply.text else f"gives another reason than {case['because']!r}"
