"""How sources, quotes and answers look: pure functions from the gateway's JSON to markup."""

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode

from markupsafe import Markup, escape

from aigrid.console import figures, theme
from aigrid.core.clock import SECOND

COLUMNS = (
    ("Source", "title"),
    ("Kind", ""),
    ("Size", "num"),
    ("Passages", "num"),
    ("Readers", ""),
    ("Read", "num nowrap"),
)
EVERYONE = "*"
MOST_READERS = 3
_MARKER = re.compile(r"\[(\d+)\]")


def source_path(source_id: str, start: int | None = None, end: int | None = None) -> str:
    """Return the console's address of a source, at a place in it."""
    query = f"?{urlencode({'start': start, 'end': end})}" if start is not None and end is not None else ""
    return f"/knowledge/source/{quote(source_id, safe='')}{query}"


def figures_view(stats: Mapping[str, Any], now_ns: int) -> Markup:
    """Return how much there is, and how fresh it is."""
    kinds = sorted(stats["kinds"].items(), key=lambda item: -item[1])
    listed = ", ".join(f"{count:,} {name or 'other'}" for name, count in kinds[:3])
    cells = (
        ("Sources", figures.count(stats["sources"]), f"{listed}{' …' if len(kinds) > 3 else ''}"),
        ("Passages", figures.count(stats["chunks"]), "found, ranked and quoted"),
        ("Size", figures.si(stats["bytes"], "B"), "as the files are"),
        ("Freshness", age(stats["indexed_ns"], now_ns), "since the newest was read"),
        ("Skipped", figures.count(stats["skipped"]), "each says why, below" if stats["skipped"] else "nothing"),
    )
    return Markup("").join(
        Markup('<div><dl><dt>{}</dt><dd class="value">{}</dd><dd class="note">{}</dd></dl></div>').format(*cell)
        for cell in cells
    )


def age(ns: int, now_ns: int) -> str:
    """Return how long ago something was, roughly; a dash for never."""
    if not ns:
        return "–"
    seconds = max(0, (now_ns - ns) // SECOND)
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size:,}{figures.NBSP}{unit}"
    return "just now"


def sources_table(sources: Sequence[Mapping[str, Any]], now_ns: int) -> Markup:
    """Return sources as a table; those that were skipped say why."""
    return theme.table(COLUMNS, (_source_row(source, now_ns) for source in sources), "Sources, by path")


def _source_row(source: Mapping[str, Any], now_ns: int) -> tuple[str | Markup, ...]:
    name = source["title"] or source["path"].rpartition("/")[2] or source["path"]
    if source["state"] == "skipped":
        title = Markup('<b>{}</b> <span class="tag bad">skipped</span><span class="sub">{}</span>').format(
            name, source["path"]
        ) + Markup('<span class="why">{}</span>').format(source["note"])
    else:
        title = Markup('<a class="open" href="{}"><b>{}</b></a><span class="sub">{}</span>').format(
            source_path(source["id"]), name, source["path"]
        )
        if source["note"]:
            title += Markup('<span class="sub">{}</span>').format(source["note"])
    return (
        title,
        Markup('<span class="tag">{}</span>').format(source["kind"]) if source["kind"] else "–",
        figures.si(source["bytes"], "B"),
        f"{source['chunks']:,}" if source["state"] == "indexed" else "–",
        readers_view(source["readers"]),
        Markup('<span title="{}">{}</span>').format(
            figures.moment(source["indexed_ns"], now_ns) if source["indexed_ns"] else "",
            age(source["indexed_ns"], now_ns),
        ),
    )


def readers_view(readers: Sequence[str]) -> str:
    """Return who may read a source."""
    if EVERYONE in readers:
        return "everyone"
    more = len(readers) - MOST_READERS
    return ", ".join(readers[:MOST_READERS]) + (f" and {more} more" if more > 0 else "")


def place(found: Mapping[str, Any]) -> str:
    """Return where in its file a passage stands, in words."""
    first, last = found.get("line"), found.get("last_line")
    lines = "" if not first else f"line {first:,}" if not last or last == first else f"lines {first:,}–{last:,}"
    page = f"page {found['page']:,}" if found.get("page") else ""
    return ", ".join(part for part in (page, lines) if part)


def passage_view(found: Mapping[str, Any], text: str, number: int | None = None) -> Markup:
    """Return a quote or a search hit as a card that opens its source at this place."""
    heading = " › ".join(found.get("heading") or ())
    name = found["title"] or found["path"].rpartition("/")[2] or found["path"]
    where = " · ".join(part for part in (heading, place(found)) if part)
    mark = Markup('<span class="number">{}</span>').format(number) if number is not None else Markup("")
    return Markup(
        '<li><a class="passage open" href="{}" title="{}">{}<span class="what"><b>{}</b><span class="sub">{}</span>'
        "<q>{}</q></span></a></li>"
    ).format(source_path(found["source_id"], found["start"], found["end"]), found["path"], mark, name, where, text)


def citations_view(citations: Sequence[Mapping[str, Any]], title: str) -> Markup:
    """Return the quotes of an answer."""
    if not citations:
        return Markup("")
    cards = Markup("").join(passage_view(each, each["quote"], each["number"]) for each in citations)
    return Markup('<h3>{}</h3><ol class="passages">{}</ol>').format(title, cards)


def hits_view(hits: Sequence[Mapping[str, Any]]) -> Markup:
    """Return what a search found."""
    if not hits:
        return theme.empty("Nothing found", "No passage that the console may read speaks of this.")
    cards = Markup("").join(passage_view(hit, shorten(hit["text"])) for hit in hits)
    return Markup('<h3>{} passages, best first</h3><ol class="passages">{}</ol>').format(len(hits), cards)


def shorten(text: str, limit: int = 360) -> str:
    """Return the beginning of a text, cut between words."""
    folded = " ".join(text.split())
    return folded if len(folded) <= limit else folded[:limit].rpartition(" ")[0] + " …"


def answer_text(text: str, citations: Sequence[Mapping[str, Any]]) -> Markup:
    """Return an answer whose markers open what they cite; a marker without a citation stays text."""
    by_number = {str(each["number"]): each for each in citations}
    parts: list[Markup] = []
    at = 0
    for found in _MARKER.finditer(text):
        cited = by_number.get(found.group(1))
        if cited is None:
            continue
        parts.append(escape(text[at : found.start()].rstrip(" ") if found.start() > at else ""))
        parts.append(
            Markup('<a class="cite open" href="{}" title="{}">{}</a>').format(
                source_path(cited["source_id"], cited["start"], cited["end"]), cited["quote"], found.group(1)
            )
        )
        at = found.end()
    parts.append(escape(text[at:]))
    return Markup("").join(parts)


def source_view(source: Mapping[str, Any]) -> Markup:
    """Return a source's text with the cited place marked."""
    name = source["title"] or source["path"].rpartition("/")[2] or source["path"]
    head = Markup('<header class="source-head"><h2>{}</h2><span class="sub">{}</span></header>').format(
        name, source["path"]
    )
    if source["state"] == "skipped":
        return head + theme.empty("This source was skipped", source["note"])
    text, offset, cited = source["text"], source["offset"], source["cited"]
    first = max(0, min(len(text), cited["start"] - offset)) if cited else 0
    last = max(first, min(len(text), cited["end"] - offset)) if cited else 0
    before = Markup('<span class="muted">…</span>') if offset else Markup("")
    after = Markup('<span class="muted">…</span>') if offset + len(text) < source["characters"] else Markup("")
    mark = Markup('<mark tabindex="-1">{}</mark>').format(text[first:last]) if last > first else Markup("")
    return head + Markup('<pre class="source-text" tabindex="0">{}{}{}{}{}</pre>').format(
        before, text[:first], mark, text[last:], after
    )


def job_view(job: Mapping[str, Any]) -> Markup:
    """Return how far a piece of indexing is."""
    share = figures.percent(job["done"], job["total"]) if job["total"] else "starting"
    words = Markup("<b>{}</b> {} of {} files <span class='muted'>{}</span>").format(
        share, f"{job['done']:,}", f"{job['total']:,}", job["what"]
    )
    return Markup('<div class="job-line">{}</div>{}').format(
        words, theme.meter(min(job["done"], 0.94 * job["total"]), job["total"], "progress")
    )


def report_view(job: Mapping[str, Any]) -> Markup:
    """Return what the last piece of indexing did, in one line."""
    if job["error"]:
        return Markup('<span class="loss">The last change failed: {}</span>').format(job["error"]["message"])
    report = job["report"] or {}
    counts = [
        (report.get("added", 0), "added"),
        (report.get("changed", 0), "changed"),
        (report.get("unchanged", 0), "unchanged"),
        (report.get("removed", 0) if report else job["removed"] or 0, "removed"),
        (len(report.get("skipped", ())), "skipped"),
    ]
    said = ", ".join(f"{count:,} {word}" for count, word in counts if count) or "nothing to do"
    took = f" in {figures.duration(job['ended_ns'] - job['started_ns'])}" if job["ended_ns"] else ""
    return Markup("Last change: {}{}").format(said, took)
