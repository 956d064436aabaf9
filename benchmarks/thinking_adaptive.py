"""Adaptive voting beside a fixed vote of 32, and beside its_hub's self-consistency and best-of-N, on the same model.

Same questions, same temperature, same gateway; its_hub is installed in a throw-away environment and asks as it does:
one request for each candidate. Best-of-N's scorer checks the product that the answer states. `--no-peer` leaves it out.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from aigrid.client.http import Gateway
from benchmarks import common, thinking_tasks

ITS_HUB = "its_hub==1.2.*"
FIXED = 32
BEST = 16
PROGRAM = """
import re

def score(text, answer):
    found = re.search(r"(\\d+) (?:times|x|\\*) (\\d+) (?:=|is) (\\d+)", text)
    return found is not None and int(found[1]) * int(found[2]) == int(found[3])
"""
OPTIONS = {"max_tokens": thinking_tasks.MAX_TOKENS, "temperature": thinking_tasks.TEMPERATURE}


def think(gateway: Gateway, model: str, messages: list[dict[str, str]], **how: Any) -> tuple[str, int]:
    """Return the text that a strategy came to, and the completion tokens of all candidates."""
    body = thinking_tasks.body(model, messages, service_tier="think", aigrid=how)
    status, answer = gateway.post("/v1/chat/completions", body)
    if status != 200:
        raise RuntimeError(f"the gateway answered {status}: {answer}")
    return answer["choices"][0]["message"]["content"] or "", answer["usage"]["completion_tokens"]


def peer(asked: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """Run its_hub in its own environment; return its results and version."""
    where = Path(tempfile.gettempdir()) / "aigrid-bench-itshub"
    if not (where / "bin" / "python").exists():
        subprocess.run([sys.executable, "-m", "venv", str(where)], check=True)
    subprocess.run([str(where / "bin" / "pip"), "install", "-q", ITS_HUB], check=True)
    main = Path(__file__).with_name("thinking_peer_main.py")
    done = subprocess.run(
        [str(where / "bin" / "python"), str(main)],
        input=json.dumps(asked),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    listed = subprocess.run([str(where / "bin" / "pip"), "list", "--format=freeze"], stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout), listed.stdout.partition("its_hub==")[2].partition("\n")[0]


def judged(texts: list[str], right: list[str], tokens: int) -> dict[str, Any]:
    """Return how often texts are right, with its interval, and what they took."""
    good = sum(thinking_tasks.answer_in(text) == truth for text, truth in zip(texts, right, strict=True))
    share = round(good / len(right), 4)
    return {
        "accuracy": share,
        "interval": common.interval(good, len(right)),
        "tokens_per_question": tokens / len(right),
    }


def measure(count: int, with_peer: bool) -> dict[str, Any]:
    """Ask every question every way; return the benchmark's one JSON object."""
    asked = thinking_tasks.questions()[:count]
    right = [truth for _, truth in asked]
    ways: dict[str, dict[str, Any]] = {
        "fixed": {"strategy": "self_consistency", "n": FIXED},
        "adaptive": {"strategy": "adaptive", "n": FIXED},
        "best_of_n": {"strategy": "best_of_n", "n": BEST, "scorer": "program"},
    }
    found: dict[str, Any] = {}
    version = ""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        (home / "score.py").write_text(PROGRAM)
        (home / "aigrid.toml").write_text(
            f'[[tiers]]\ntier = "think"\nstrategy = "adaptive"\nanswers = "number"\nprogram = "{home}/score.py"\n'
        )
        with common.factory(home=home) as factory:
            gateway = Gateway(factory.url, factory.key)
            model = gateway.models()[0]
            for name, how in ways.items():
                texts, tokens = [], 0
                for messages, _ in asked:
                    text, made = think(gateway, model, messages, **how)
                    texts.append(text)
                    tokens += made
                found[name] = judged(texts, right, tokens)
                common.log(f"{name}: {found[name]}")
            if with_peer:
                job = {
                    "url": factory.url, "key": factory.key, "model": model, "options": OPTIONS,
                    "ways": {"self_consistency": FIXED, "best_of_n": BEST}, "tasks": [each for each, _ in asked],
                }  # fmt: skip
                results, version = peer(job)
                for name, result in results.items():
                    found[f"its_hub_{name}"] = judged(result["texts"], right, result["tokens"])
                    common.log(f"its_hub_{name}: {found[f'its_hub_{name}']}")
    return judge(found, count, model, version)


def judge(found: dict[str, Any], count: int, model: str, version: str) -> dict[str, Any]:
    """Say what holds."""
    fixed, adaptive = found["fixed"], found["adaptive"]
    share = adaptive["tokens_per_question"] / fixed["tokens_per_question"]
    holds = {
        f"adaptive voting is as often right as a fixed vote of {FIXED}, within its 95 % interval": (
            fixed["interval"][0] <= adaptive["accuracy"]
        ),
        "adaptive voting takes at most half the tokens of the fixed vote": share <= 0.5,
    }
    rows = [["fixed vote of 32", fixed], ["adaptive vote, at most 32", adaptive], ["best of 16", found["best_of_n"]]]
    result: dict[str, Any] = {
        "model": model,
        "questions": count,
        "figures": found,
        "adaptive_to_fixed": round(share, 3),
    }
    if version:
        theirs, best = found["its_hub_self_consistency"], found["its_hub_best_of_n"]
        ours = found["best_of_n"]
        rows += [["its_hub: self-consistency of 32", theirs], ["its_hub: best of 16", best]]
        holds |= {
            "adaptive voting is as often right as its_hub's self-consistency, within its interval, at fewer tokens": (
                adaptive["accuracy"] >= theirs["interval"][0]
                and adaptive["tokens_per_question"] < theirs["tokens_per_question"]
            ),
            "best-of-N is as often right as its_hub's, within its interval, at fewer tokens": (
                ours["accuracy"] >= best["interval"][0] and ours["tokens_per_question"] < best["tokens_per_question"]
            ),
        }
        result["peer"] = {"name": f"its_hub {version}", "version": version}
    grid = [
        [name, f"{each['accuracy']:.1%}", f"{each['interval'][0]:.1%} to {each['interval'][1]:.1%}",
         round(each["tokens_per_question"], 1)]
        for name, each in rows
    ]  # fmt: skip
    columns = ["right", "95 % interval", "completion tokens a question"]
    return {**result, "holds": holds, "grid": {"columns": columns, "rows": grid}}


def main() -> None:
    """Measure and print."""
    parser = common.arguments(__doc__ or "")
    parser.add_argument("--questions", type=int, default=64)
    parser.add_argument("--no-peer", action="store_true")
    chosen = parser.parse_args()
    common.report(measure(chosen.questions, not chosen.no_peer), chosen.json)


if __name__ == "__main__":
    main()
