"""Function calling, BFCL simple and multiple, through the public API: the schema constraint on and off.

On: `tool_choice: "required"`, so that the engine lets the model write nothing but a call that fits a schema. Off:
`tool_choice: "auto"` and `strict: false` on each tool, so that nothing is enforced; a call written as JSON into the
text then counts too. Same prompt, temperature 0. The questions come in an order drawn with a fixed seed; each
setting asks as many of them as `--minutes` allow, and shares come with their 95 % confidence intervals. With
`--upstream` the same requests go to any OpenAI-compatible server instead of the embedded model.
"""

import asyncio
import contextlib
import gzip
import json
import os
import random
import re
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import aiohttp

from benchmarks.bfcl_check import fault_of, tool_of, wrong
from benchmarks.common import arguments, factory, interval, log, report
from benchmarks.shared_data import shared

MODEL = "smollm2-135m-instruct"
SETS = {"simple": "simple_python", "multiple": "multiple"}
AT_ONCE = 8
SEED = 4
TIMEOUT_S = 600


@dataclass(frozen=True)
class Case:
    """A question, the functions to choose from, and the accepted call."""

    set: str
    id: str
    messages: list[dict[str, str]]
    functions: list[dict[str, Any]]
    truth: dict[str, Any]


@dataclass(frozen=True)
class Call:
    """What came of a case: the reason it is not well-formed, and the reason it is not right ("" for neither)."""

    case: Case
    fault: str
    wrong: str
    tokens: int


def cases(limit: int) -> list[Case]:
    """Return `limit` cases of each set, drawn with a fixed seed; 0 is all of them."""
    found = []
    for name, file in SETS.items():
        with gzip.open(shared(f"tools/BFCL_v4_{file}.json.gz"), "rt") as lines:
            rows = [json.loads(line) for line in lines if line.strip()]
        with gzip.open(shared(f"tools/BFCL_v4_{file}.answers.json.gz"), "rt") as lines:
            answers = {row["id"]: row["ground_truth"] for row in map(json.loads, filter(str.strip, lines))}
        drawn = random.Random(SEED).sample(rows, min(limit, len(rows))) if limit else rows
        found += [Case(name, row["id"], row["question"][0], row["function"], answers[row["id"]][0]) for row in drawn]
    random.Random(SEED).shuffle(found)
    return found


def request_of(case: Case, model: str, constrained: bool, max_tokens: int) -> dict[str, Any]:
    tools = [tool_of(function) for function in case.functions]
    if not constrained:
        for tool in tools:
            tool["function"]["strict"] = False
    return {
        "model": model,
        "messages": case.messages,
        "tools": tools,
        "tool_choice": "required" if constrained else "auto",
        "temperature": 0,
        "max_tokens": max_tokens,
    }


def call_in(message: dict[str, Any]) -> tuple[str, str] | None:
    """Return name and arguments of the first call of an answer; one that stands in its text counts too."""
    if calls := message.get("tool_calls"):
        return calls[0]["function"]["name"], calls[0]["function"]["arguments"]
    text = re.sub(r"</?tool_call>|```(json)?", "", message.get("content") or "").strip()
    with contextlib.suppress(ValueError, KeyError, TypeError):
        value = json.loads(text)
        return value["name"], json.dumps(value["arguments"])
    return None


def judged(case: Case, answer: dict[str, Any]) -> Call:
    """Judge one answer of the API."""
    tokens = (answer.get("usage") or {}).get("completion_tokens", 0)
    found = call_in(answer["choices"][0]["message"])
    if found is None:
        return Call(case, "no call", "no call", tokens)
    name, text = found
    schemas = {tool["function"]["name"]: tool["function"]["parameters"] for tool in map(tool_of, case.functions)}
    if name not in schemas:
        return Call(case, f"unknown function {name}", "unknown function", tokens)
    try:
        value = json.loads(text)
    except ValueError:
        ended = answer["choices"][0]["finish_reason"]
        return Call(case, f"arguments are not JSON ({ended}): {text[-80:]}", "arguments are not JSON", tokens)
    fault = fault_of(value, schemas[name])
    return Call(case, fault, fault or wrong(name, value, case.functions, case.truth), tokens)


async def ask_all(
    url: str, key: str, model: str, asked: list[Case], constrained: bool, max_tokens: int, seconds: float
) -> tuple[list[Call], float]:
    """Ask the cases in order, some at once, until the time is up; returns the judged calls and the seconds it took."""
    gate = asyncio.Semaphore(AT_ONCE)
    began = time.monotonic()
    done = 0

    async def one(http: aiohttp.ClientSession, case: Case) -> Call | None:
        nonlocal done
        body = request_of(case, model, constrained, max_tokens)
        async with gate:
            if time.monotonic() - began > seconds:
                return None
            async with http.post(f"{url}/v1/chat/completions", json=body) as response:
                answer = await response.json()
        if response.status != 200:
            raise RuntimeError(f"{case.id}: HTTP {response.status}: {json.dumps(answer)[:300]}")
        done += 1
        if done % 25 == 0:
            log(f"    {done} of {len(asked)}")
        return judged(case, answer)

    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    async with aiohttp.ClientSession(headers={"authorization": f"Bearer {key}"}, timeout=timeout) as http:
        calls = await asyncio.gather(*(one(http, case) for case in asked))
    return [call for call in calls if call is not None], time.monotonic() - began


def scores(calls: list[Call]) -> dict[str, Any]:
    """Return shares of well-formed and right calls for each set, and the commonest reasons for neither."""
    found: dict[str, Any] = {}
    for name in SETS:
        mine = [call for call in calls if call.case.set == name]
        formed, right = sum(not call.fault for call in mine), sum(not call.wrong for call in mine)
        found[name] = {
            "questions": len(mine),
            "well_formed": round(formed / len(mine), 4) if mine else None,
            "well_formed_95": interval(formed, len(mine)),
            "accuracy": round(right / len(mine), 4) if mine else None,
            "accuracy_95": interval(right, len(mine)),
        }
    kinds = Counter(call.fault.partition(" (")[0].partition(" has ")[0][:40] for call in calls if call.fault)
    found["faults"] = dict(kinds.most_common(5))
    return found


@contextlib.contextmanager
def server(upstream: str | None, model: str) -> Iterator[tuple[str, str]]:
    """Give the address and key of the upstream, or of a factory of its own with the embedded model."""
    if upstream:
        yield upstream.rstrip("/").removesuffix("/v1"), os.environ.get("OPENAI_API_KEY", "none")
    else:
        with factory("--model", model) as running:
            yield running.url, running.key


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--limit", type=int, default=0, help="questions of each set (all)")
    parser.add_argument("--minutes", type=float, default=8.0, help="no more after so long, for each setting (8)")
    parser.add_argument("--upstream", metavar="URL", help="ask this server; its key is in OPENAI_API_KEY")
    parser.add_argument("--model", default=MODEL, help=f"the model to ask ({MODEL})")
    parser.add_argument("--max-tokens", type=int, default=256, help="the longest answer (256)")
    parser.add_argument("--faults", action="store_true", help="print each call that is not well-formed, on stderr")
    options = parser.parse_args()
    asked = cases(options.limit)
    figures: dict[str, Any] = {"model": options.model, "questions": len(asked)}
    with server(options.upstream, options.model) as (url, key):
        for name, constrained in (("constraint_on", True), ("constraint_off", False)):
            log(f"{name}: {len(asked)} questions")
            calls, seconds = asyncio.run(
                ask_all(url, key, options.model, asked, constrained, options.max_tokens, 60 * options.minutes)
            )
            tokens = sum(call.tokens for call in calls)
            figures[name] = {**scores(calls), "seconds": round(seconds, 1), "completion_tokens": tokens}
            for call in calls:
                if options.faults and call.fault:
                    log(f"{name} {call.case.id}: {call.fault}")
    on, off = figures["constraint_on"], figures["constraint_off"]
    table = [
        {
            "what": f"BFCL {each} ({on[each]['questions']} and {off[each]['questions']} questions), {what.replace('_', '-')}",
            "ours": on[each][what],
            "peer": off[each][what],
        }
        for each in SETS
        for what in ("well_formed", "accuracy")
    ]
    every = on["simple"]["questions"] + on["multiple"]["questions"]
    holds = {
        f"with the constraint on, every call is well-formed ({every} questions)": all(
            on[each]["well_formed"] == 1.0 for each in SETS
        )
    }
    peer = {"name": "the same model, the constraint off"}
    report({"figures": figures, "peer": peer, "table": table, "holds": holds}, options.json)


if __name__ == "__main__":
    main()
