"""τ³ banking knowledge: a bank's agent with the factory's search and the task's tools, and a scripted customer.

Three scores. Retrieval: the share of a task's required documents among those that the agent's searches returned
(and, for comparison, the factory's search with the customer's first words). Tools: the share of the task's gold
actions made with the right arguments, and the share of changing calls that are none of them. Policy: the share of
checks respected, of those that the agent's calls gave rise to. `benchmarks/tau3_world.py` says what is simulated.
Each of the agent's turns begins with a search, whose words it chooses; all else is its own choice.
With `--upstream` any OpenAI-compatible server writes the answers; searching stays with the factory.
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

    async def write(self, messages: list[dict[str, Any]], max_tokens: int, search: bool) -> dict[str, Any] | str:
        """Return the agent's next message, or the code of the error that ended the conversation.

        `search` demands that it is a search: what the customer has just said is looked up before all else.
        """
        body = {"model": self.model, "messages": messages, "tools": tools(), "temperature": 0, "max_tokens": max_tokens}
        if search:
            body["tool_choice"] = {"type": "function", "function": {"name": "KB_search"}}
        status, answer = await self._post(self._chat, body)
        if status == 200:
            return dict(answer["choices"][0]["message"])
        if status == 400:
            return str((answer.get("error") or {}).get("code") or "bad_request")
        raise RuntimeError(f"chat: HTTP {status}: {json.dumps(answer)[:300]}")


async def converse(bank: Bank, task: dict[str, Any], data: Path, told: str, max_tokens: int) -> dict[str, Any]:
    """Hold one conversation; returns its scores."""
    world = World(task, json.loads((data / "db.json").read_text()))
    customer = Customer(task["user_scenario"]["instructions"])
    said: str | None = customer.opening()
    first, _ = await bank.search(said or "")
    messages: list[dict[str, Any]] = [{"role": "system", "content": told}]
    ended = "turns"
    for _ in range(TURNS):
        if said is None:
            ended = "script"
            break
        world.said += f"\n{said}"
        messages.append({"role": "user", "content": said})
        heard, ended = await turn(bank, world, messages, max_tokens)
        world.act(heard)
        if ended:
            break
        said, ended = customer.reply(heard), "turns"
    return scored(task, world, first, ended)


async def turn(bank: Bank, world: World, messages: list[dict[str, Any]], max_tokens: int) -> tuple[str, str]:
    """Let the agent work until it says something; returns what it said, and why the conversation is over, or ""."""
    heard = ""
    for step in range(STEPS):
        message = await bank.write(messages, max_tokens, search=step == 0)
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


def scored(task: dict[str, Any], world: World, first: list[str], ended: str) -> dict[str, Any]:
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
        "retrieved_by_first_words": len(needed & set(first)),
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
            "recall_by_the_customers_first_words": share(total("retrieved_by_first_words"), total("needed")),
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


async def hold_all(running: Factory, options: Any, data: Path, tasks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Hold every conversation, some at once."""
    gate, told = asyncio.Semaphore(AT_ONCE), policy(data)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S)) as http:
        bank = Bank(running, options.upstream, options.model, http)

        async def one(task: dict[str, Any]) -> dict[str, Any]:
            async with gate:
                row = await converse(bank, task, data, told, options.max_tokens)
            log(f"    {row['task']}: {row['calls']} calls, {row['searches']} searches, ended by {row['ended']}")
            return row

        return list(await asyncio.gather(*map(one, tasks)))


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--limit", type=int, default=4, help="tasks, drawn with a fixed seed (4); 0 is all 66")
    parser.add_argument("--upstream", metavar="URL", help="this server writes; its key is in OPENAI_API_KEY")
    parser.add_argument("--model", default=MODEL, help=f"the model that writes ({MODEL})")
    parser.add_argument("--max-tokens", type=int, default=160, help="the longest step of the agent (160)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="aigrid-tau3-") as temporary:
        data = unpack(Path(temporary))
        tasks = [json.loads(file.read_text()) for file in sorted((data / "tasks").glob("*.json"))]
        drawn = random.Random(SEED).sample(tasks, min(options.limit, len(tasks))) if options.limit else tasks
        with factory("--model", MODEL) as running:
            log("adding the bank's 698 documents")
            running.run("knowledge", "add", str(data / "kb"))
            log(f"{len(drawn)} conversations")
            began = time.monotonic()
            rows = asyncio.run(hold_all(running, options, data, drawn))
    figures = figures_of(rows)
    retrieval, used, rules = figures["retrieval"], figures["tools"], figures["policy"]
    table = [
        {"what": "τ³ retrieval: required documents found by the agent's searches",
         "ours": retrieval["recall_of_required_documents"]},
        {"what": "… by a search with the customer's first words",
         "ours": retrieval["recall_by_the_customers_first_words"]},
        {"what": "τ³ tools: the agent's gold actions made", "ours": used["share_right_of_agent"]},
        {"what": "… changing calls that are none of them", "ours": used["share_of_changing_calls_that_are_not_gold"]},
        {"what": "τ³ policy: checks respected", "ours": rules["share_respected"]},
        {"what": "… checks that arose", "ours": rules["checks"]},
    ]  # fmt: skip
    head = {"model": options.model, "tasks": len(rows), "seconds": round(time.monotonic() - began, 1)}
    broken = set(figures["conversations_ended_by"]) - {"script", "turns", "transferred"}
    holds = {"no conversation broke off on an error": not broken}
    report({"figures": {**head, **figures}, "table": table, "holds": holds}, options.json)


if __name__ == "__main__":
    main()
