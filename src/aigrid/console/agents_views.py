"""How agents, runs and their steps look in lists: pure functions from the gateway's JSON to markup."""

import json
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import msgspec
from markupsafe import Markup

from aigrid.agents.spec import Agent, Rule, Tool
from aigrid.console import figures, theme
from aigrid.core.clock import SECOND

AGENTS = (("Agent", "title"), ("Tools", ""), ("Thinks with", ""), ("At most, per run", ""))
RUNS = (
    ("Run", "title"),
    ("State", ""),
    ("Steps", "num"),
    ("Tokens", "num"),
    ("Money", "num"),
    ("Energy", "num"),
    ("Time", "num"),
    ("Began", "num nowrap"),
)
STATES = {
    "running": ("at work", "good live"),
    "waiting": ("waits for a person", "warm"),
    "unknown": ("waits for a person", "warm"),
    "interrupted": ("cut off", "warm"),
    "stopped": ("stopped", "bad"),
    "done": ("done", "good"),
}


def run_path(run: str) -> str:
    """Return the console's address of a run."""
    return f"/agents/run/{quote(run, safe='')}"


def as_agent(row: Mapping[str, Any]) -> Agent:
    """Return an agent as the gateway lists it, with all that its file leaves out."""
    return msgspec.convert({name: value for name, value in row.items() if name != "path"}, Agent)


def state_tag(state: str) -> Markup:
    """Return the state of a run."""
    word, kind = STATES.get(state, (state, ""))
    return Markup('<span class="tag {}">{}</span>').format(kind, word)


def agents_table(agents: Sequence[Agent]) -> Markup:
    """Return the agents as a table; their names open them."""
    return theme.table(AGENTS, (_agent_row(agent) for agent in agents), "Agents, by name")


def _agent_row(agent: Agent) -> tuple[str | Markup, ...]:
    name = Markup('<button class="open-agent" data-agent="{0}"><b>{0}</b></button><span class="sub">{1}</span>').format(
        agent.name, agent.about or first_line(agent.instructions)
    )
    return name, abilities(agent), agent.model or "the first model", limits(agent)


def abilities(agent: Agent) -> Markup:
    """Return what an agent may use; what it has to ask for says so."""
    tags = [tool_tag(name, tool) for name, tool in agent.tools.items()]
    if agent.team is not None:
        who = ", ".join(agent.team.members) if agent.team.members is not None else "others"
        tags.append(Markup('<span class="tag">may recruit {}</span>').format(who))
    if agent.memory is not None:
        tags.append(Markup('<span class="tag">remembers</span>'))
    if agent.knowledge is not None:
        tags.append(Markup('<span class="tag">reads documents first</span>'))
    return Markup(" ").join(tags) or Markup('<span class="muted">none</span>')


def tool_tag(name: str, tool: Tool) -> Markup:
    """Return a tool, and whether a person is asked before it is called."""
    if tool.approve:
        return Markup('<span class="tag warm">{} · asks first</span>').format(name)
    if tool.approve_unless:
        return Markup('<span class="tag warm">{} · asks beyond its limits</span>').format(name)
    return Markup('<span class="tag">{}</span>').format(name)


def limits(agent: Agent) -> Markup:
    """Return an agent's budget for one run."""
    budget = agent.budget
    money = f"${budget.usd:.9f}".rstrip("0").rstrip(".") if budget.usd is not None else ""
    first = [part for part in (money, f"{budget.tokens:,} tokens") if part]
    return Markup('{}<span class="sub">{:,} steps, {:,} tool calls, {}</span>').format(
        ", ".join(first), budget.steps, budget.tool_calls, figures.duration(int(budget.seconds * SECOND))
    )


def agent_view(agent: Agent, path: str) -> Markup:
    """Return all that an agent's file says, as a person reads it."""
    tools = Markup("").join(
        Markup("<li>{}{}<span class='sub'>{}</span>{}</li>").format(
            tool_tag(name, tool), Markup(" <span class='muted small'>{}</span>").format(_kind(tool)), tool.about,
            Markup("").join(_rule_view(argument, rule) for argument, rule in tool.arguments.items()),
        )
        for name, tool in agent.tools.items()
    )  # fmt: skip
    never = ", ".join(agent.guard.never_send)
    facts = (
        ("Thinks with", agent.model or "the first model that is served"),
        ("At most, per run", limits(agent)),
        ("An approval is good for", figures.duration(int(agent.approvals.expires_s * SECOND))),
        ("Never sends", Markup("<code>{}</code>").format(never) if never else ""),
        ("File", Markup("<code>{}</code>").format(path)),
    )
    rows = Markup("").join(Markup("<div><dt>{}</dt><dd>{}</dd></div>").format(*fact) for fact in facts if fact[1])
    return Markup(
        '<h2>{}</h2><p class="muted">{}</p><pre class="box">{}</pre>{}<dl class="account facts">{}</dl>'
    ).format(
        agent.name,
        agent.about,
        agent.instructions.strip(),
        Markup('<ul class="tool-list">{}</ul>').format(tools) if tools else "",
        rows,
    )


def _kind(tool: Tool) -> str:
    return str(type(tool).__struct_config__.tag)


def _rule_view(argument: str, rule: Rule) -> Markup:
    said = msgspec.to_builtins(rule)
    words = ", ".join(f"{name} {_plain(value)}" for name, value in said.items())
    return Markup('<span class="sub"><code>{}</code>: {}</span>').format(argument, words.replace("_", " "))


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else json.dumps(value, ensure_ascii=False)


def runs_table(runs: Sequence[Mapping[str, Any]], now_ns: int) -> Markup:
    """Return runs as a table; their tasks open them."""
    return theme.table(RUNS, (_run_row(run, now_ns) for run in runs), "Runs, newest first")


def _run_row(run: Mapping[str, Any], now_ns: int) -> tuple[str | Markup, ...]:
    name = Markup('<a class="open-run" href="{}"><b>{}</b></a><span class="sub">{} · for {}</span>').format(
        run_path(run["run"]), first_line(run["task"], 110) or run["run"], run["agent"] or "–", run["tenant"] or "–"
    )
    tokens = run["prompt_tokens"] + run["completion_tokens"]
    return (
        name,
        state_tag(run["state"]),
        f"{run['model_steps']:,}",
        f"{tokens:,}",
        Markup('<span class="price">{}</span>').format(figures.dollars(run["cost_nusd"])),
        joules(run),
        figures.duration(took_ns(run, now_ns)),
        figures.moment(run["started_ns"], now_ns) if run["started_ns"] else "–",
    )


def joules(spent: Mapping[str, Any]) -> Markup:
    """Return energy, and how it was measured where one asks."""
    measured = spent["energy_source"] not in ("", "upstream")
    return Markup('<span class="joules" title="{}">{}</span>').format(
        figures.energy_source(spent["energy_source"]), figures.joules(spent["energy_mj"] if measured else None)
    )


def took_ns(run: Mapping[str, Any], now_ns: int) -> int:
    """Return how long a run has taken, until now where it is at work."""
    last = now_ns if run["state"] == "running" else int(run["last_ns"])
    return max(0, last - int(run["started_ns"]))


def wrong_view(wrong: Mapping[str, str]) -> Markup:
    """Return the files that are no agents, and why."""
    rows = Markup("").join(Markup("<li><code>{}</code> {}</li>").format(path, why) for path, why in wrong.items())
    return Markup('<h2>Files that cannot be read</h2><ul class="wrong">{}</ul>').format(rows)


def first_steps() -> Markup:
    """Return what to do where there is no agent yet."""
    example = (
        "name: helper\nabout: Answers questions about our documents.\ninstructions: Answer from what you find; cite it."
        "\ntools:\n  search: {kind: knowledge}\n"
    )
    hint = Markup(
        "An agent is one file that a person can read. Write this to <code>helper.yaml</code> in the folder "
        '<code>agents</code> of AIGRID_HOME; it is served at once.<pre class="box">{}</pre>'
    ).format(example)
    return theme.empty("No agents yet", hint)


def exact(value: Any) -> str:
    """Return JSON as it is, indented, with characters that cannot be seen (or reorder others) written out."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    return "".join(
        char
        if char == "\n" or (unicodedata.category(char)[0] != "C" and char not in "\u2028\u2029")
        else _escaped(char)
        for char in text
    )


def _escaped(char: str) -> str:
    return json.dumps(char)[1:-1]


def first_line(text: str, limit: int = 140) -> str:
    """Return the beginning of a text on one line."""
    folded = " ".join(text.split())
    return folded if len(folded) <= limit else folded[: limit - 1] + "…"
