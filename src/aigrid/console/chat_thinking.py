"""How an answer came about: the candidates, their votes and scores, who won and why."""

from typing import Any

from markupsafe import Markup

from aigrid.console import figures

SHOWN = 12
"""Candidates that are shown before the rest is folded away."""
_WORDS = 220


def panel(thinking: dict[str, Any]) -> Markup:
    """Return the trace of a request that thought, as a part that can be folded."""
    candidates = [each for each in thinking.get("candidates", ()) if not each.get("role")]
    others = [each for each in thinking.get("candidates", ()) if each.get("role")]
    spent = thinking.get("spent", {})
    head = Markup('<summary><b>Thought</b> <span>{}</span> <span class="why">{}</span></summary>').format(
        _counted(candidates, others), thinking.get("why", "")
    )
    body = Markup("").join([_votes(thinking.get("votes", {})), _listed(candidates, thinking.get("winner"))])
    if others:
        body += Markup("<h4>Critics and judges</h4>") + _listed(others, None)
    if thinking.get("ended"):
        body += Markup('<p class="ended">Ended early: {}</p>').format(thinking["ended"])
    foot = Markup('<p class="spent">{} tokens for all of it, {}, {}</p>').format(
        f"{spent.get('tokens', 0):,}", figures.dollars(spent.get("nusd", 0)), figures.joules(spent.get("mj", 0))
    )
    return Markup('<details class="thought" open>{}{}{}</details>').format(head, body, foot)


def _counted(candidates: list[dict[str, Any]], others: list[dict[str, Any]]) -> str:
    text = f"{len(candidates)} candidate{'s' * (len(candidates) != 1)}"
    cancelled = sum(each.get("state") == "cancelled" for each in candidates)
    if cancelled:
        text += f", {cancelled} cancelled"
    return f"{text}, {len(others)} calls of critics" if others else text


def _votes(votes: dict[str, float]) -> Markup:
    if not votes:
        return Markup("")
    most = max(votes.values()) or 1
    rows = [
        Markup('<li><span class="what">{}</span><meter min="0" max="{}" value="{}"></meter><b>{:g}</b></li>').format(
            answer, most, count, round(count, 2)
        )
        for answer, count in list(votes.items())[:SHOWN]
    ]
    return Markup('<ul class="votes" aria-label="Votes">{}</ul>').format(Markup("").join(rows))


def _listed(candidates: list[dict[str, Any]], winner: int | None) -> Markup:
    rows = [_row(each, each["number"] == winner) for each in candidates]
    first, rest = Markup("").join(rows[:SHOWN]), Markup("").join(rows[SHOWN:])
    if rest:
        more = Markup("<details><summary>{} more</summary><ol>{}</ol></details>").format(len(rows) - SHOWN, rest)
        return Markup('<ol class="candidates">{}</ol>{}').format(first, more)
    return Markup('<ol class="candidates">{}</ol>').format(first)


def _row(each: dict[str, Any], won: bool) -> Markup:
    text = " ".join(each.get("text", "").split())
    said = text if len(text) <= _WORDS else f"{text[:_WORDS]}…"
    state = each.get("state", "running")
    marks = [Markup('<span class="state">{}</span>').format(state)] if state not in ("done", "cut") else []
    if each.get("score") is not None:
        marks.append(
            Markup('<span class="score" title="{}">score {:.2f}</span>').format(each.get("note", ""), each["score"])
        )
    if won:
        marks.append(Markup('<span class="won">won</span>'))
    return Markup('<li class="{}"><span class="number">{}</span><span class="words">{}</span>{}</li>').format(
        "winner" if won else state, each["number"], said or "nothing yet", Markup("").join(marks)
    )
