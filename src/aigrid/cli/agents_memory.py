"""`aigrid agents memory`: look at what agents have learnt, correct it, erase it."""

from typing import TYPE_CHECKING, Annotated

import typer

from aigrid.cli import output
from aigrid.cli.output import Json, emit
from aigrid.core.clock import iso
from aigrid.core.errors import BadRequest

if TYPE_CHECKING:
    from rich.console import Console

    from aigrid.agents.memory import Memory

app = typer.Typer(help="What agents have learnt: look, correct, erase.", no_args_is_help=True, rich_markup_mode=None)

Which = Annotated[str, typer.Argument(metavar="ID", help="Id of a memory, from `aigrid agents memory list`.")]
Agent = Annotated[str, typer.Option(help="Only this agent's.")]
Tenant = Annotated[str, typer.Option(help="Only this tenant's.")]
User = Annotated[str, typer.Option(help="Only what was learnt about this user of a tenant.")]


@app.command("list")
def list_(agent: Agent = "", tenant: Tenant = "", user: User = "", as_json: Json = False) -> None:
    """List what agents remember, newest first."""
    found = _chosen(agent, tenant, user)

    def show(console: "Console") -> None:
        rows = output.table("id", "agent", "tenant", "user", "about", "text")
        for each in found:
            rows.add_row(each.id, each.agent, each.tenant, each.user, each.about, each.text)
        console.print(rows if found else "Nothing is remembered.")

    emit({"memories": found}, as_json, show)


@app.command("show")
def show(which: Which, as_json: Json = False) -> None:
    """Show one memory, and where it is from."""
    from aigrid.agents import memory

    _, found = memory.find(which)
    _emit(found, as_json)


@app.command("edit")
def edit(
    which: Which,
    text: Annotated[str, typer.Argument(help="What it is to say instead.")],
    about: Annotated[str | None, typer.Option(help="Whom or what it is about; stays as it is, unless named.")] = None,
    as_json: Json = False,
) -> None:
    """Put another text in place of a memory's; the old one is erased."""
    from aigrid.agents import memory

    if not text.strip() or len(text) > memory.MAX_TEXT or len(about or "") > memory.MAX_ABOUT:
        raise BadRequest(f"a memory has 1 to {memory.MAX_TEXT:,} characters, and `about` at most {memory.MAX_ABOUT}")
    memories, _ = memory.find(which)
    _emit(memories.edit(which, text, about), as_json)


@app.command("forget")
def forget(
    which: Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Ids of memories.")] = None,
    agent: Agent = "",
    tenant: Tenant = "",
    user: User = "",
    every: Annotated[bool, typer.Option("--all", help="All that the other options choose.")] = False,
    as_json: Json = False,
) -> None:
    """Erase memories for good: those named, or with --all those that the options choose."""
    from aigrid.agents import memory

    if bool(which) == every:
        raise BadRequest("name the memories to erase, or say --all with --agent, --tenant or --user")
    if every and not (agent or tenant or user):
        raise BadRequest("say whose: --all erases what --agent, --tenant or --user choose")
    chosen = [memory.find(each)[1] for each in which] if which else _chosen(agent, tenant, user)
    erased = sum(
        memories.forget(each.id for each in chosen if each.tenant == memories.tenant and each.agent == memories.agent)
        for memories in memory.every()
    )
    emit({"erased": erased}, as_json, lambda console: console.print(f"{erased} erased."))


def _chosen(agent: str, tenant: str, user: str) -> "list[Memory]":
    from aigrid.agents import memory

    found = [one for each in memory.every(tenant or None, agent or None) for one in each.all(user or None)]
    return sorted(found, key=lambda each: (each.written_ns, each.id), reverse=True)


def _emit(found: "Memory", as_json: bool) -> None:
    def draw(console: "Console") -> None:
        whose = f"{found.agent} for {found.tenant}{f', user {found.user}' if found.user else ''}"
        console.print(f"{found.id}  {whose}: {found.about}".rstrip(": "), style="bold", markup=False)
        console.print(found.text, markup=False)
        console.print(f"from {found.origin}, {iso(found.written_ns)}", style="dim", markup=False)

    emit(found, as_json, draw)
