"""`aigrid agents`: see what there is, run it, watch it, answer it, replay it."""

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from aigrid.cli import agents_evidence, agents_memory, factory, output
from aigrid.cli.output import Json, emit
from aigrid.client.http import Answer, RemoteError, take
from aigrid.core.clock import iso, mono_ns

if TYPE_CHECKING:
    from rich.console import Console

    from aigrid.agents.desk import Approval

app = typer.Typer(help="Agents: run, watch, approve, stop, replay.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(agents_memory.app, name="memory")


@app.callback()
def where() -> None:
    """Agents: run, watch, approve, stop, replay."""
    from aigrid.agents import shelf

    shelf.use(factory.settings().ledger.url)


Name = Annotated[str, typer.Argument(help="An agent's name, or the path of its file.")]
Run = Annotated[str, typer.Argument(metavar="RUN", help="Id of a run, from `aigrid agents runs`.")]
Url = Annotated[str, typer.Option(help="Gateway to ask; else AIGRID_URL, else the one in AIGRID_HOME.")]
Key = Annotated[str, typer.Option(help="Key to ask with; else AIGRID_KEY, else the command line's own.")]
Which = Annotated[str, typer.Argument(metavar="ID", help="Id of an approval, from `aigrid agents approvals`.")]
Reason = Annotated[str, typer.Option(help="Why; kept in the record, and told to the agent where it is denied.")]
LINE = 160


@app.command("list")
def list_(as_json: Json = False) -> None:
    """List the agents in AIGRID_HOME/agents, and what is wrong with files that are none."""
    from aigrid.agents import spec

    found, wrong = spec.every()

    def show(console: "Console") -> None:
        rows = output.table("agent", "model", "tools", "about")
        for each in found:
            agent = each.agent
            rows.add_row(agent.name, agent.model or "(first served)", ", ".join(agent.tools) or "none", agent.about)
        console.print(rows if found else f"No agents yet; write one to {spec.agents_folder()}/NAME.yaml")
        for path, why in wrong.items():
            console.print(f"{path}: {why}", style="yellow", markup=False)

    emit({"agents": [each.agent for each in found], "wrong": wrong}, as_json, show)


@app.command("show")
def show(name: Name, as_json: Json = False) -> None:
    """Check an agent's file and its tools, and show what its model is told of them."""
    from aigrid.agents import box, spec
    from aigrid.agents.tools.base import Site

    found = spec.find(name)
    packed = asyncio.run(box.pack(found.agent, Site(found.folder)))
    offers = box.offers(packed)

    def draw(console: "Console") -> None:
        agent = found.agent
        console.print(f"{agent.name}: {agent.about or found.path}", style="bold", markup=False)
        console.print(agent.instructions.strip(), markup=False)
        for offer in offers:
            tool = packed[offer.name].spec
            again = "safe to retry" if offer.safe_to_retry else "idempotent" if offer.idempotent else "once only"
            asks = (
                "a person approves each call"
                if tool.approve
                else "asks beyond its rules"
                if tool.approve_unless
                else ""
            )
            console.print(f"tool {offer.name} ({', '.join(each for each in (again, asks) if each)})", style="bold")
            console.print(msgspec.json.encode(offer.schema).decode(), markup=False)
        budget = agent.budget
        console.print(f"at most {budget.steps} steps, {budget.tokens:,} tokens, {budget.tool_calls} tool calls")

    emit({"agent": found.agent, "path": str(found.path), "tools": offers}, as_json, draw)


@app.command("run")
def run(
    name: Annotated[str, typer.Argument(help="An agent's name.")],
    task: Annotated[str, typer.Argument(help="What it is to do.")],
    url: Url = "",
    key: Key = "",
    as_json: Json = False,
) -> None:
    """Run an agent in the factory; shows what it does as it does it, and what it cost."""
    _ask({"model": f"agent:{name}", "messages": [{"role": "user", "content": task}]}, url, key, as_json)


@app.command("resume")
def resume(run: Run, url: Url = "", key: Key = "", as_json: Json = False) -> None:
    """Go on with a run that was cut off or that waited for a person; what was done is not done again."""
    from aigrid.agents import shelf
    from aigrid.agents.views import run_view

    view, _ = run_view(shelf.find(run))
    body = {"model": f"agent:{view.agent}", "messages": [{"role": "user", "content": "resume"}]}
    _ask({**body, "metadata": {"run": run}}, url, key, as_json)


@app.command("stop")
def stop(run: Run, reason: Reason = "", url: Url = "", key: Key = "", as_json: Json = False) -> None:
    """Stop a run for good, at work or not; what it was doing is cut off, and its journal says who stopped it."""
    body = {"action": "stop", **({"reason": reason} if reason else {})}
    if url or factory.running():
        gateway = factory.gateway(url, key)
        status, found = gateway.post(f"/v1/agents/runs/{run}", body)
        if status == 404 and not url:  # another tenant's: who sits at this machine administers it
            status, found = gateway.post(f"/admin/agents/runs/{run}", body)
        if status != 200:
            raise RemoteError(status, found)
    else:
        found = asyncio.run(_stop_here(run, reason))

    def show(console: "Console") -> None:
        outcome = found["outcome"]
        console.print(f"{run}: {found['state']}, {outcome['reason'] if outcome else ''}", markup=False)

    emit(found, as_json, show)


async def _stop_here(run: str, reason: str) -> dict[str, Any]:
    """Stop a run that no factory works on."""
    from aigrid.agents import shelf, views
    from aigrid.agents.stopping import stop_all

    desk = _desk()
    try:
        await stop_all(run, _person(), reason, desk)
    finally:
        desk.close()
    view, steps = views.run_view(shelf.find(run))
    return {**msgspec.to_builtins(view), "journal": steps}


@app.command("runs")
def runs(
    run: Annotated[str | None, typer.Argument(metavar="[RUN]", help="Show the steps of this one.")] = None,
    agent: Annotated[str, typer.Option(help="Only runs of this agent.")] = "",
    limit: Annotated[int, typer.Option(help="Most runs.", min=1, max=1000)] = 20,
    as_json: Json = False,
) -> None:
    """List runs, newest first; or the steps of one."""
    from aigrid.agents import shelf, views

    if run is not None:
        view, steps = views.run_view(shelf.find(run))

        def journal(console: "Console") -> None:
            console.print(f"{view.run}: {view.agent} for {view.tenant}, {view.state}", style="bold", markup=False)
            for step in steps:
                what, said = views.step_line(step)
                console.print(f"{step.seq:>4}  {iso(step.at_ns)}  {what}: {_cut(said)}", markup=False)

        emit({**msgspec.to_builtins(view), "journal": steps}, as_json, journal)
        return
    found = views.runs(limit, None, agent or None)

    def table(console: "Console") -> None:
        rows = output.table("run", "agent", "state", "started", "steps", "task")
        for each in found:
            rows.add_row(each.run, each.agent, each.state, iso(each.started_ns), str(each.steps), _cut(each.task, 60))
        console.print(rows if found else "No runs yet.")

    emit({"runs": found}, as_json, table)


@app.command("replay")
def replay(run: Run, as_json: Json = False) -> None:
    """Walk a run again from its journal, without model or tools, and check that it comes to the same."""
    from aigrid.agents import loop, shelf

    outcome = asyncio.run(loop.replay(shelf.find(run), _no_event if as_json else _tell))
    emit(outcome, as_json, lambda console: console.print(f"{outcome.state}: {outcome.output or outcome.reason}"))


app.command("trace")(agents_evidence.trace)
app.command("scores")(agents_evidence.scores)


@app.command("approvals")
def approvals(
    every: Annotated[bool, typer.Option("--all", help="Those that were decided, too.")] = False, as_json: Json = False
) -> None:
    """List what waits for a person, with the exact arguments."""
    desk = _desk()
    found = desk.all(None if every else "waiting")
    desk.close()

    def show(console: "Console") -> None:
        if not found:
            console.print("Nothing waits.")
        for each in found:
            _show_approval(console, each)

    emit({"approvals": found}, as_json, show)


@app.command("approve")
def approve(which: Which, reason: Reason = "", as_json: Json = False) -> None:
    """Approve a call, for exactly the arguments that `aigrid agents approvals` shows; then resume its run."""
    _decide(which, True, reason, as_json)


@app.command("deny")
def deny(which: Which, reason: Reason = "", as_json: Json = False) -> None:
    """Deny a call: it never runs, and the agent is told why."""
    _decide(which, False, reason, as_json)


def _person() -> str:
    import getpass

    return f"{getpass.getuser()} (command line)"


def _decide(which: str, approved: bool, reason: str, as_json: bool) -> None:
    desk = _desk()
    try:
        one = desk.decide(which, approved, approver=_person(), reason=reason)
    finally:
        desk.close()

    def show(console: "Console") -> None:
        console.print(f"{one.id} is {one.state}. Go on with: aigrid agents resume {one.run}", markup=False)

    emit(one, as_json, show)


def _desk() -> Any:
    from aigrid.agents.desk import Desk

    return Desk()


def _show_approval(console: "Console", one: "Approval") -> None:
    why = (
        "may have been done before a crash: make it again?"
        if one.why == "unknown"
        else f"expires {iso(one.expires_ns)}"
    )
    console.print(
        f"{one.id}  {one.state}  {one.agent} for {one.tenant}: {one.tool} ({why})", style="bold", markup=False
    )
    console.print(msgspec.json.encode(one.arguments).decode(), markup=False)


def _ask(body: dict[str, Any], url: str, key: str, as_json: bool) -> None:
    """Ask the gateway, showing what the agent does; prints the run's own record of how it ended."""
    from aigrid.ledger.prices import usd

    answer, began, heads = Answer(), mono_ns(), {"x-aigrid-run": ""}
    gateway = factory.gateway(url, key)
    body = {**body, "stream_options": {"include_usage": True}}
    for frame in gateway.stream("/v1/chat/completions", body, heads):
        piece = take(frame, answer, began)
        if not as_json:
            for choice in frame.get("choices") or ():
                thought = (choice.get("delta") or {}).get("reasoning_content") or ""
                output.err().print(thought, end="", style="dim", markup=False)
            output.out().print(piece, end="", markup=False)
    run = heads["x-aigrid-run"]
    status, found = gateway.get(f"/v1/agents/runs/{run}")
    if status != 200:
        raise RemoteError(status, found)
    value = {"text": answer.text, "run": run, "state": found["state"], **_cost(answer)}

    def show(console: "Console") -> None:
        tokens, cost = answer.prompt_tokens + answer.completion_tokens, usd(answer.cost_nusd or 0)
        console.print("")
        output.note(f"{run}: {value['state']}; {tokens:,} tokens, {cost}")

    emit(value, as_json, show)


def _cost(answer: Answer) -> dict[str, Any]:
    names = ("prompt_tokens", "completion_tokens", "cost_nusd", "energy_mj", "energy_source", "record")
    return {name: getattr(answer, name) for name in names}


def _cut(text: str, most: int = LINE) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _tell(event: Any) -> None:
    output.note(_cut(msgspec.json.encode(event).decode()))


def _no_event(event: Any) -> None:
    pass
