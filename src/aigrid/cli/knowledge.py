"""`aigrid knowledge`: documents in, passages and cited answers out."""

import os
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from aigrid.cli import factory, output
from aigrid.cli.output import Json, emit
from aigrid.client.http import RemoteError
from aigrid.core.clock import iso
from aigrid.core.config import load

if TYPE_CHECKING:
    from rich.console import Console

    from aigrid.knowledge.ingest import Report
    from aigrid.knowledge.library import Library

app = typer.Typer(help="Add documents; search and ask them.", no_args_is_help=True, rich_markup_mode=None)

Targets = Annotated[list[str], typer.Argument(metavar="PATH|URL…", help="Files, folders, or web pages.")]
Reader = Annotated[
    list[str] | None,
    typer.Option(
        "--reader", help="Tenant (or key id) that may read it; repeat for several. Unset: as before, or everyone."
    ),
]
Url = Annotated[str, typer.Option(help="Gateway to ask; else AIGRID_URL, else the one in AIGRID_HOME.")]
Key = Annotated[str, typer.Option(help="Key to ask with; else AIGRID_KEY, else the command line's own.")]
SHOWN_SKIPPED = 10


@app.command("add")
def add(
    targets: Targets,
    reader: Reader = None,
    again: Annotated[bool, typer.Option("--again", help="Read what has not changed, too.")] = False,
    as_json: Json = False,
) -> None:
    """Bring files, folders and pages up to date in the index; what is gone is taken out.

    Ctrl-C stops it without loss: the next time it goes on where it was. Works while a factory runs, which finds what
    is new at once.
    """
    from aigrid.cli.knowledge_work import audit, ingest

    library = _library()
    report = ingest(lambda tell, stop: library.add(targets, reader, progress=tell, stop=stop, again=again))
    audit("knowledge.add", f"{' '.join(targets)} readers={'as before' if reader is None else ','.join(reader)}")
    emit(report, as_json, lambda console: show_report(console, report))


@app.command("rm")
def remove(targets: Targets, as_json: Json = False) -> None:
    """Take sources out of the index, by path, URL or id; the files themselves stay.

    What lies in a folder that was added is left out from now on, until it is added by name.
    """
    from aigrid.cli.knowledge_work import audit

    removed = _library().remove(targets)
    audit("knowledge.remove", " ".join(targets))
    emit({"removed": removed}, as_json, lambda console: console.print(f"{removed} sources removed."))


@app.command("watch")
def watch(
    targets: Annotated[
        list[str] | None,
        typer.Argument(metavar="[PATH…]", help="Files and folders; all that were added, unless named."),
    ] = None,
    every: Annotated[float, typer.Option(help="Seconds between two looks.", min=0.1)] = 2.0,
    as_json: Json = False,
) -> None:
    """Keep the index up to date with files as they change, until Ctrl-C. With --json, one line for each change."""
    from aigrid.cli.knowledge_work import stopping
    from aigrid.knowledge.watch import watch as look

    library = _library()
    with stopping() as stop:
        for report in look(library, targets or [], every, stop):
            if as_json:
                print(msgspec.json.encode(report).decode(), flush=True)
            else:
                output.out().print(summary(report), markup=False)


@app.command("search")
def search(
    text: Annotated[str, typer.Argument(help="A question, or a few words.")],
    limit: Annotated[int, typer.Option(help="Most passages.", min=1, max=50)] = 5,
    url: Url = "",
    key: Key = "",
    as_json: Json = False,
) -> None:
    """Find passages, best first, as the key's tenant may read them. Works without a factory, too."""
    hits = _search(text, limit, url, key)

    def show(console: "Console") -> None:
        if not hits:
            console.print("Nothing found.")
        for number, hit in enumerate(hits, 1):
            console.print(f"{number}. {place(hit)}", style="bold", markup=False)
            console.print(excerpt(hit["text"]), markup=False)

    emit({"data": hits}, as_json, show)


@app.command("ask")
def ask(
    question: Annotated[str, typer.Argument(help="What to ask.")],
    model: Annotated[str, typer.Option(help="Model that writes; the first one served, unless named.")] = "",
    limit: Annotated[int, typer.Option(help="Most passages read for it.", min=1, max=50)] = 10,
    url: Url = "",
    key: Key = "",
    as_json: Json = False,
) -> None:
    """Ask the documents: an answer with citations, or that they do not say; and what it cost."""
    from aigrid.cli.knowledge_ask import as_dict, show_sources, stream

    body: dict[str, Any] = {"question": question, "limit": limit, **({"model": model} if model else {})}
    answer, found = stream(factory.gateway(url, key), body, quiet=as_json)
    emit(as_dict(answer, found), as_json, lambda console: show_sources(console, answer, found))


@app.command("sources")
def sources(
    skipped: Annotated[bool, typer.Option("--skipped", help="Only those that could not be read, and why.")] = False,
    as_json: Json = False,
) -> None:
    """List what is in the index and who may read it."""
    found = [source for source in _library().sources(None) if not skipped or source.state == "skipped"]

    def show(console: "Console") -> None:
        rows = output.table("path", "kind", "chunks", "readers", "indexed", "note")
        for source in found:
            state = source.note if source.state == "skipped" else ""
            readers = ", ".join(source.readers)
            rows.add_row(source.path, source.kind, f"{source.chunks:,}", readers, iso(source.indexed_ns), state)
        console.print(rows)

    emit({"sources": found}, as_json, show)


@app.command("stats")
def stats(as_json: Json = False) -> None:
    """Say how much there is, how fresh it is, and what was skipped."""
    library = _library()
    found, roots = library.stats(None), library.roots()

    def show(console: "Console") -> None:
        console.print(f"{found.sources:,} sources, {found.chunks:,} chunks from {found.bytes / 1e6:,.1f} MB")
        if found.kinds:
            console.print(", ".join(f"{count:,} {kind}" for kind, count in sorted(found.kinds.items())), markup=False)
        if found.waiting:
            console.print(f"{found.waiting:,} found by their words alone until `aigrid knowledge add` embeds them")
        if found.skipped:
            console.print(f"{found.skipped:,} skipped; `aigrid knowledge sources --skipped` says why")
        if found.indexed_ns:
            console.print(f"last written {iso(found.indexed_ns)}")
        for root, readers in roots.items():
            console.print(f"added: {root} (readers: {', '.join(readers)})", markup=False)

    emit({**msgspec.to_builtins(found), "roots": roots, "folder": str(library.folder)}, as_json, show)


def _library() -> "Library":
    from aigrid.knowledge.library import open_library

    return open_library(load())


def _search(text: str, limit: int, url: str, key: str) -> list[dict[str, Any]]:
    if url or key or os.environ.get("AIGRID_URL") or factory.running():
        status, body = factory.gateway(url, key).post("/v1/knowledge/search", {"query": text, "limit": limit})
        if status != 200:
            raise RemoteError(status, body)
        found: list[dict[str, Any]] = body["data"]
        return found
    hits = _library().search(text, limit, frozenset(("*", factory.TENANT)))
    return [{**msgspec.to_builtins(hit.chunk), "score": hit.score} for hit in hits]


def place(found: dict[str, Any]) -> str:
    """Say where a passage or citation stands: file, page or lines, headings."""
    parts = [found["path"]]
    if found.get("page"):
        parts.append(f"page {found['page']}")
    if found.get("line"):
        last = found.get("last_line") or found["line"]
        parts.append(f"line {found['line']}" if last == found["line"] else f"lines {found['line']} to {last}")
    if found.get("heading"):
        parts.append(" › ".join(found["heading"]))
    return ", ".join(parts)


def excerpt(text: str, most: int = 400) -> str:
    """Return the beginning of a text on one line."""
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 1].rstrip() + "…"


def summary(report: "Report") -> str:
    """Say in one line what an ingestion did."""
    counts = {
        "added": report.added,
        "changed": report.changed,
        "moved": report.moved,
        "removed": report.removed,
        "unchanged": report.unchanged,
        "skipped": len(report.skipped),
    }
    said = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count) or "nothing there"
    line = f"{said}; {report.chunks:,} chunks in {report.duration_ns / 1e9:.1f} s"
    return f"{line}; stopped, the rest is for the next time" if report.stopped else line


def show_report(console: "Console", report: "Report") -> None:
    """Print what an ingestion did, and what it skipped, by reason."""
    console.print(summary(report), markup=False)
    reasons: dict[str, list[str]] = {}
    for each in report.skipped:
        reasons.setdefault(each.reason, []).append(each.path)
    for reason, paths in list(reasons.items())[:SHOWN_SKIPPED]:
        more = f" and {len(paths) - 1:,} more" if len(paths) > 1 else ""
        console.print(f"skipped: {paths[0]}{more}: {reason}", markup=False, style="yellow")
    if len(reasons) > SHOWN_SKIPPED:
        console.print("`aigrid knowledge sources --skipped` says all of it", style="yellow")
