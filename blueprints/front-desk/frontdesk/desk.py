"""The desk: one turn of a conversation at a time. Rules decide, the handbook answers, and a model helps where it can.

1. What is wanted: a rule says so; where it leaves two readings, a model chooses between them.
2. A question is answered by quotes of the handbook, which a model may put into words; each sentence is checked.
3. A form is filled in from the customer's words. What they leave open is asked. A model only ever chooses from the
   list of a field, and only where the customer has said something that the rules could not place.
4. What the handbook does not say, what stays unclear, and what is no matter for a desk goes to a person.
"""

import re
from dataclasses import dataclass, field
from typing import Any, Literal

from aigrid.agents.desk import Approval, Desk
from aigrid.client.model import Model
from aigrid.knowledge.answer import Answer
from aigrid.knowledge.cite import Citation
from frontdesk import words
from frontdesk.books import APPROVE_ABOVE_EUR, Books, Refused
from frontdesk.choose import choose
from frontdesk.handbook import Handbook

Act = Literal["answer", "return", "appointment", "ask", "refused", "person"]
_ACTS = {
    "answer": "a question that the handbook may answer",
    "return": "a request to take goods back",
    "appointment": "a request to book the workshop",
}
_REASONS = {
    "faulty": "it is broken or does not work as it should",
    "wrong size": "it does not fit",
    "wrong goods": "it is not what was ordered",
    "not wanted": "the customer does not like, need or want it",
}
_SERVICES = {
    "small service": "brakes, gears or tyres need a check or adjusting",
    "full service": "much is wrong or worn, or everything shall be done and cleaned",
    "puncture": "a tyre has lost its air",
}
_QUESTIONS = {
    "order": "What is the number of the order? It looks like LC-2041 and is in the e-mail that confirmed it.",
    "reason": "Why do you return it: is it faulty, the wrong size, not what you ordered, or not wanted any more?",
    "service": "Which service shall it be: a small service, a full service, or a puncture?",
    "day": "On which day would you like to come?",
}
_MARK = re.compile(r"\s*\[\d+\]")
_NUMBER = re.compile(
    r"\d+(?:[.,:]\d+)*|\b(?:two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|fourteen|twenty|thirty|sixty)\b"
)
_FEWEST_WORDS = 4
_PATIENCE = 2
"""So often the desk asks for the same thing before a person takes over."""


@dataclass
class Conversation:
    """What was said so far: `id` is its name in the books, `said` are the customer's words for the open form."""

    id: str
    form: Literal["", "return", "appointment"] = ""
    said: list[str] = field(default_factory=list)
    asked: dict[str, int] = field(default_factory=dict)
    turns: int = 0


@dataclass(frozen=True)
class Reply:
    """What the desk says and did. `state` of a form is `done`, or `waiting` for an approval whose id is `approval`."""

    act: Act
    text: str
    citations: list[Citation] = field(default_factory=list)
    fields: dict[str, Any] = field(default_factory=dict)
    state: str = ""
    missing: str = ""
    approval: str = ""


class FrontDesk:
    """A handbook, books, a desk of approvals, and perhaps a model."""

    def __init__(self, handbook: Handbook, books: Books, approvals: Desk, model: Model | None = None) -> None:
        self._handbook = handbook
        self._books = books
        self._approvals = approvals
        self._model = model

    def turn(self, talk: Conversation, text: str) -> Reply:
        """Answer what a customer says; the conversation remembers what a form still needs."""
        talk.turns += 1
        text = words.plain(text)
        want = self._wanted(text)
        if want == "person":
            return self._person(talk, text, "the customer's words ask for one")
        if talk.form and want == "answer" and not words.asks(text):
            want = talk.form
        if want == "answer":
            return self._answer(talk, text)
        if talk.form != want:
            talk.form, talk.said, talk.asked = want, [], {}
        talk.said.append(text)
        try:
            reply = self._return(talk) if want == "return" else self._appointment(talk)
        except Refused as refused:
            reply = Reply("refused", str(refused))
        if reply.act == "ask":
            talk.asked[reply.missing] = talk.asked.get(reply.missing, 0) + 1
            if talk.asked[reply.missing] > _PATIENCE:
                return self._person(talk, text, f"the {reply.missing} for a form stayed unclear")
        else:
            talk.form, talk.said, talk.asked = "", [], {}
        return reply

    def decide(self, approval: str, approve: bool, approver: str, reason: str = "") -> Reply:
        """Approve or deny a return that waits; an approved one is written down, once, as it was asked."""
        one = self._approvals.decide(approval, approve, approver=approver, reason=reason)
        return self._approved(one, one.arguments)

    def _wanted(self, text: str) -> Literal["answer", "return", "appointment", "person"]:
        likely = words.wanted(text)
        if len(likely) > 1 and self._model is not None:
            choices = {name: _ACTS[name] for name in likely}
            return choose(self._model, "You sort what customers of a bicycle shop say.", text, choices)
        return likely[0]  # type: ignore[return-value]

    def _answer(self, talk: Conversation, text: str) -> Reply:
        found = self._handbook.ask(text, self._model.complete if self._model is not None else None)
        if not found.known:
            return self._person(talk, text, "the handbook does not say")
        return Reply("answer", worded(found), found.citations)

    def _person(self, talk: Conversation, text: str, why: str) -> Reply:
        entry = self._books.pass_on([*talk.said, text], why, f"{talk.id}:{talk.turns}")
        talk.form, talk.said, talk.asked = "", [], {}
        said = "The handbook does not tell me that. " if why == "the handbook does not say" else ""
        return Reply("person", f"{said}I pass this on to a colleague (note {entry['number']}), who will call you.")

    def _return(self, talk: Conversation) -> Reply:
        text = " ".join(talk.said)
        numbers = words.orders(text)
        if len(numbers) != 1:
            return _ask("order", "Which of the orders is it? One return at a time, please." if numbers else "")
        items = self._books.order(numbers[0])
        named = words.items(items, text)
        if len(named) != 1:
            return _ask("item", f"Which item of {numbers[0]} is it: {', '.join(named or items)}?")
        self._books.refund(numbers[0], named[0], "faulty")  # refused whatever the reason: no need to ask for it
        reason = self._choice(words.found(words.REASONS, text), "Why is it returned?", text, _REASONS, named)
        if not reason:
            return _ask("reason")
        refund = self._books.refund(numbers[0], named[0], reason)
        fields = {"order": numbers[0], "item": named[0], "reason": reason, "refund_eur": refund}
        if refund <= APPROVE_ABOVE_EUR:
            return self._returned(fields)
        waiting = self._approvals.ask(
            run="front-desk", call=f"return {numbers[0]} {named[0]}", agent="front-desk", tenant="default",
            tool="start_return", why="approve", arguments=fields, expires_s=7 * 86_400,
        )  # fmt: skip
        return self._approved(waiting, fields)

    def _approved(self, approval: Approval, fields: dict[str, Any]) -> Reply:
        if approval.state == "approved":
            return self._returned(fields)
        if approval.state == "waiting":
            text = f"A refund of {fields['refund_eur']:.2f} euros is for the shop manager to approve. "
            text += f"I have asked ({approval.id}); you will hear from us within two working days."
            return Reply("return", text, fields=fields, state="waiting", approval=approval.id)
        return Reply("refused", f"The shop manager has not approved this return. {approval.reason}".strip())

    def _returned(self, fields: dict[str, Any]) -> Reply:
        written = self._books.start_return(**fields)
        text = (
            f"Return {written['number']}: {written['item']} of {written['order']}, {written['reason']}. You get a label "
            f"by e-mail. {written['refund_eur']:.2f} euros are refunded within seven days after the goods have reached "
            "us; they must be unused and complete, unless they are faulty."
        )
        return Reply("return", text, fields={name: written[name] for name in fields}, state="done")

    def _appointment(self, talk: Conversation) -> Reply:
        text = " ".join(talk.said)
        days = words.days(text, self._books.today)
        known = [f"{day:%A %B tomorrow today} {day.day}" for day in days]
        service = self._choice(words.found(words.SERVICES, text), "Which service is needed?", text, _SERVICES, known)
        if not service:
            return _ask("service")
        if len(days) != 1:
            return _ask("day", "Which of the days shall it be?" if days else "")
        entry = self._books.book(service, days[0], f"{talk.id} {service} {days[0]}")
        text = f"Appointment {entry['number']}: {service} on {days[0]:%A %-d %B}. Bring the bicycle between 9 and 11."
        return Reply("appointment", text, fields={"service": service, "day": entry["day"]}, state="done")

    def _choice(self, found: list[str], about: str, text: str, choices: dict[str, str], known: list[str]) -> str:
        """Return the one choice of a field that the words name, or the one a model sees in what they say; "" is none."""
        if len(found) == 1:
            return found[0]
        if self._model is None or not (found or words.leaves_more(text, known)):
            return ""
        return choose(self._model, about, text, {name: choices[name] for name in found or choices})


def worded(found: Answer) -> str:
    """Return an answer's text: a model's where it can mislead nobody, else the quotes that it stands on.

    Each sentence of it is in a quote, but where a quote gives several figures a weak model may name one for another:
    such a quote stays as it is. A question, or a mere heading, is no answer.
    """
    quotes = [" ".join(each.quote.split()) for each in found.citations]
    text = _MARK.sub("", found.text)
    said = set(_NUMBER.findall(text))
    clear = all(len(given := set(_NUMBER.findall(quote))) < 2 and given <= said for quote in quotes)
    if found.written == "model" and clear and len(text.split()) >= _FEWEST_WORDS and not text.endswith("?"):
        return found.text
    return " ".join(f"{quote} [{each.number}]" for quote, each in zip(quotes, found.citations, strict=True))


def _ask(missing: str, text: str = "") -> Reply:
    return Reply("ask", text or _QUESTIONS[missing], missing=missing)
