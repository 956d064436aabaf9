"""τ³ banking knowledge: a bank's agent with the factory's search and the task's tools, and a scripted customer.

Three scores. Retrieval: the share of a task's required documents among those that the agent's searches returned; and,
over all 66 tasks and without any model, the factory's search with the customer's first words, and with each of the
script's words. Tools: the share of the task's gold
actions made with the right arguments, and the share of changing calls that are none of them. Policy: the share of
checks respected, of those that the agent's calls gave rise to. `benchmarks/tau3_world.py` says what is simulated.
Each of the agent's turns begins with a search. Two settings: *free*, where the agent has all tools and writes their
arguments, the search's words too; and *grounded* (`benchmarks/tau3_grounded.py`), made for small models, where arguments
are choices from the conversation. Each holds conversations, in an order drawn with a fixed seed, while its `--minutes` last.
With `--upstream` any OpenAI-compatible server writes the answers, free unless `--grounded`; searching stays with the
factory.
"""

import asyncio
import contextlib
import json
import os
import random
import tarfile
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.common import Factory, arguments, factory, log, report
from benchmarks.shared_data import shared
from benchmarks.tau3_grounded import grounded
from benchmarks.tau3_world import Customer, World, matches, tools

MODEL = "smollm2-135m-instruct"
SEED = 3
AT_ONCE = 4
TURNS, STEPS = 3, 5
PASSAGES, PASSAGE = 5, 600
TIMEOUT_S = 600
READS = ("get_", "KB_search")
KINDS = {"assistant": "agent", "user": "customer"}


def unpack(folder: Path) -> Path:
    """Unpack the data; returns its folder, with the documents as Markdown below `kb/`."""
    with tarfile.open(shared("knowledge/tau3_banking_knowledge.tar.xz")) as archive:
        archive.extractall(folder, filter="data")
    data = folder / "banking_knowledge"
    (data / "kb").mkdir()
    for file in (data / "documents").glob("*.json"):
        document = json.loads(file.read_text())
        (data / "kb" / f"{document['id']}.md").write_text(f"# {document['title']}\n\n{document['content']}\n")
    return data


def policy(data: Path) -> str:
    """Return the bank's policy, as the agent is told it."""
    parts = [(data / "prompts" / "components" / f"{name}.md").read_text()
             for name in ("policy_header", "additional_instructions")]  # fmt: skip
    return "\n\n".join([*parts, "Search the knowledge base with the tool KB_search."])


class Bank:
    """The two servers of a run: the factory that searches, and whoever writes the answers."""

    def __init__(self, running: Factory, upstream: str | None, model: str, http: aiohttp.ClientSession) -> None:
        self._search = (f"{running.url}/v1/knowledge/search", running.key)
        base = upstream.rstrip("/").removesuffix("/v1") if upstream else running.url
        key = os.environ.get("OPENAI_API_KEY", "none") if upstream else running.key
        self._chat = (f"{base}/v1/chat/completions", key)
        self.model, self._http = model, http

    async def _post(self, to: tuple[str, str], body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        async with self._http.post(to[0], json=body, headers={"authorization": f"Bearer {to[1]}"}) as response:
            return response.status, await response.json()

    async def search(self, query: str) -> tuple[list[str], str]:
        """Return the documents found, best first, and their passages as text."""
        if not query.strip():
            return [], "An empty query finds nothing."
        status, answer = await self._post(self._search, {"query": query[:2000], "limit": PASSAGES})
        if status != 200:
            raise RuntimeError(f"search: HTTP {status}: {json.dumps(answer)[:300]}")
        names = [Path(passage["path"]).stem for passage in answer["data"]]
        texts = [passage["text"][:PASSAGE] for passage in answer["data"]]
        return names, "\n\n".join(f"[{name}]\n{text}" for name, text in zip(names, texts, strict=True))

    async def write(
        self, messages: list[dict[str, Any]], max_tokens: int, search: bool, offered: list[dict[str, Any]]
    ) -> dict[str, Any] | str:
        """Return the agent's next message, or the code of the error that ended the conversation.

        `search` demands that it is a search: what the customer has just said is looked up before all else.
        """
        body = {"model": self.model, "messages": messages, "tools": offered, "temperature": 0, "max_tokens": max_tokens}
        names = {tool["function"]["name"] for tool in offered}
        if "reply" in names:
            body["tool_choice"] = "required"
        if search and "KB_search" in names:
            body["tool_choice"] = {"type": "function", "function": {"name": "KB_search"}}
        status, answer = await self._post(self._chat, body)
        if status == 200:
            return dict(answer["choices"][0]["message"])
        if status == 400:
            return str((answer.get("error") or {}).get("code") or "bad_request")
        raise RuntimeError(f"chat: HTTP {status}: {json.dumps(answer)[:300]}")


async def converse(
    bank: Bank, task: dict[str, Any], data: Path, told: str, max_tokens: int, small: bool = False
) -> dict[str, Any]:
    """Hold one conversation, `small` for one with grounded tools; returns its scores."""
    world = World(task, json.loads((data / "db.json").read_text()))
    customer = Customer(task["user_scenario"]["instructions"])
    said: str | None = customer.opening()
    messages: list[dict[str, Any]] = [{"role": "system", "content": told}]
    ended = "turns"
    for _ in range(TURNS):
        if said is None:
            ended = "script"
            break
        world.said += f"\n{said}"
        messages.append({"role": "user", "content": said})
        heard, ended = await turn(bank, world, messages, max_tokens, small)
        world.act(heard)
        if ended:
            break
        said, ended = customer.reply(heard), "turns"
    return scored(task, world, ended)


async def turn(
    bank: Bank, world: World, messages: list[dict[str, Any]], max_tokens: int, small: bool
) -> tuple[str, str]:
    """Let the agent work until it says something; returns what it said, and why the conversation is over, or ""."""
    heard, said = "", messages[-1]["content"]
    for step in range(STEPS):
        offered = grounded(tools(), world, said) if small else tools()
        message = await bank.write(messages, max_tokens, step == 0, offered)
        if isinstance(message, str):
            return heard, message
        calls = message.get("tool_calls") or []
        heard = message.get("content") or ""
        messages.append({"role": "assistant", "content": heard, **({"tool_calls": calls} if calls else {})})
        for call in calls:
            name, given = call["function"]["name"], {}
            with contextlib.suppress(ValueError):
                given = json.loads(call["function"]["arguments"])
            given = given if isinstance(given, dict) else {}
            if small and name == "reply":
                messages[-1] = {"role": "assistant", "content": str(given.get("text", ""))}
                return str(given.get("text", "")), ""
            result = world.call(name, given)
            if name == "KB_search":
                documents, result = await bank.search(str(given.get("query", "")))
                world.searched(documents, result)
            messages.append({"role": "tool", "tool_call_id": call["id"], "content": result})
            if name == "transfer_to_human_agents":
                return heard, "transferred"
        if not calls:
            return heard, ""
    return heard, ""


def scored(task: dict[str, Any], world: World, ended: str) -> dict[str, Any]:
    """Return what one conversation came to."""
    needed = set(task["required_documents"])
    gold = task["evaluation_criteria"]["actions"]
    made = {"assistant": world.calls, "user": world.acted}
    right = [any(matches(action, *call) for call in made[action["requestor"]]) for action in gold]
    changing = [call for call in world.calls if not call[0].startswith(READS)]
    extra = [call for call in changing if not any(matches(action, *call) for action in gold)]
    return {
        "task": task["id"],
        "needed": len(needed),
        "retrieved": len(needed & set(world.found)),
        "gold": {KINDS[who]: sum(action["requestor"] == who for action in gold) for who in KINDS},
        "right": {KINDS[who]: sum(ok for ok, action in zip(right, gold, strict=True) if action["requestor"] == who)
                  for who in KINDS},
        "all_right": all(right) and not extra,
        "calls": len(world.calls),
        "searches": sum(name == "KB_search" for name, _ in world.calls),
        "changing": len(changing),
        "extra": len(extra),
        "checks": world.checks,
        "ended": ended,
    }  # fmt: skip


def share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None


def figures_of(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the three scores over all conversations; None where nothing gave rise to one."""

    def total(key: str) -> int:
        return sum(row[key] for row in rows)

    checks = [check for row in rows for check in row["checks"]]
    return {
        "retrieval": {
            "recall_of_required_documents": share(total("retrieved"), total("needed")),
            "searches": total("searches"),
        },
        "tools": {
            **{f"gold_actions_of_{who}": sum(row["gold"][who] for row in rows) for who in KINDS.values()},
            **{
                f"share_right_of_{who}": share(
                    sum(row["right"][who] for row in rows), sum(row["gold"][who] for row in rows)
                )
                for who in KINDS.values()
            },
            "calls": total("calls"),
            "share_of_changing_calls_that_are_not_gold": share(total("extra"), total("changing")),
            "tasks_all_right": share(total("all_right"), len(rows)),
        },
        "policy": {
            "share_respected": share(sum(kept for _, kept in checks), len(checks)),
            "checks": len(checks),
            "respected_by_check": {
                name: [sum(kept for n, kept in checks if n == name), sum(n == name for n, _ in checks)]
                for name in sorted({name for name, _ in checks})
            },
        },
        "conversations_ended_by": dict(Counter(row["ended"] for row in rows)),
    }


async def retrieval(bank: Bank, tasks: list[dict[str, Any]]) -> dict[str, Any]:
    """Return how the factory's own search does over tasks, without any model."""
    needed = first = every = 0
    for task in tasks:
        wanted, customer = set(task["required_documents"]), Customer(task["user_scenario"]["instructions"])
        found, _ = await bank.search(customer.opening())
        needed, first = needed + len(wanted), first + len(wanted & set(found))
        while said := customer.reply(""):
            found += (await bank.search(said))[0]
        every += len(wanted & set(found))
    return {"tasks": len(tasks), "required_documents": needed, "recall_by_first_words": share(first, needed),
            "recall_by_all_of_the_script": share(every, needed)}  # fmt: skip


async def hold_all(
    bank: Bank, data: Path, tasks: list[dict[str, Any]], options: Any, small: bool
) -> list[dict[str, Any]]:
    """Hold conversations in order, some at once, until the time is up; one that has begun is held to its end."""
    gate, told = asyncio.Semaphore(AT_ONCE), policy(data)
    began = time.monotonic()

    async def one(task: dict[str, Any]) -> dict[str, Any] | None:
        async with gate:
            if time.monotonic() - began > 60 * options.minutes:
                return None
            row = await converse(bank, task, data, told, options.max_tokens, small)
        log(f"    {row['task']}: {row['calls']} calls, {row['searches']} searches, ended by {row['ended']}")
        return row

    return [row for row in await asyncio.gather(*map(one, tasks)) if row is not None]


async def measure(running: Factory, options: Any, data: Path, tasks: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the figures of the search alone, and of each setting."""
    figures: dict[str, Any] = {}
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S)) as http:
        model = options.upstream_model if options.upstream else MODEL
        bank = Bank(running, options.upstream, model, http)
        figures["search_alone"] = await retrieval(bank, tasks)
        drawn = random.Random(SEED).sample(tasks, len(tasks))[: options.limit or None]
        settings = ["grounded"] if options.grounded else ["free"] if options.upstream else ["grounded", "free"]
        for setting in settings:
            log(f"{setting}: {len(drawn)} conversations, or what {options.minutes:g} minutes allow")
            began = time.monotonic()
            rows = await hold_all(bank, data, drawn, options, setting == "grounded")
            seconds = round(time.monotonic() - began, 1)
            figures[setting] = {"model": model, "tasks": len(rows), "seconds": seconds, **figures_of(rows)}
    return figures


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--limit", type=int, default=0, help="conversations at most, for each setting (all 66)")
    parser.add_argument("--minutes", type=float, default=4.0, help="begin none after so long, for each setting (4)")
    parser.add_argument("--upstream", metavar="URL", help="this server writes; its key is in OPENAI_API_KEY")
    parser.add_argument("--upstream-model", metavar="NAME", default=MODEL, help=f"the model there ({MODEL})")
    parser.add_argument("--grounded", action="store_true", help="the setting for small models alone")
    parser.add_argument("--max-tokens", type=int, default=160, help="the longest step of the agent (160)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="aigrid-tau3-") as temporary:
        data = unpack(Path(temporary))
        tasks = [json.loads(file.read_text()) for file in sorted((data / "tasks").glob("*.json"))]
        with factory("--model", MODEL) as running:
            log("adding the bank's 698 documents")
            running.run("knowledge", "add", str(data / "kb"))
            figures = asyncio.run(measure(running, options, data, tasks))
    alone, held = figures["search_alone"], [name for name in ("grounded", "free") if name in figures]
    mine, other = figures[held[0]], figures[held[-1]] if len(held) > 1 else {}

    def row(what: str, part: str, key: str) -> dict[str, Any]:
        return {"what": what, "ours": mine[part][key], "peer": other[part][key] if other else None}

    table = [
        {"what": f"τ³ retrieval, {alone['tasks']} tasks: required documents found by the customer's first words",
         "ours": alone["recall_by_first_words"]},
        {"what": "… by all that the script says", "ours": alone["recall_by_all_of_the_script"]},
        {"what": "conversations held", "ours": mine["tasks"], "peer": other.get("tasks")},
        row("τ³ retrieval: required documents found by the agent", "retrieval", "recall_of_required_documents"),
        row("τ³ tools: the agent's gold actions made", "tools", "share_right_of_agent"),
        row("… changing calls that are none of them", "tools", "share_of_changing_calls_that_are_not_gold"),
        row("τ³ policy: checks respected", "policy", "share_respected"),
        row("… checks that arose", "policy", "checks"),
    ]  # fmt: skip
    ends = {end for name in held for end in figures[name]["conversations_ended_by"]}
    holds = {"no conversation broke off on an error": not ends - {"script", "turns", "transferred"}}
    peer = {"peer": {"name": "the same model free, with all tools"}} if other else {}
    report({"figures": figures, **peer, "table": table, "holds": holds}, options.json)


if __name__ == "__main__":
    main()
