"""The flywheel, unattended: ask the served pack, rate 200 answers as people would, let the line run again, ask again.

    aigrid build blueprints/flywheel-demo
    aigrid up                                     # in another terminal
    python blueprints/flywheel-demo/run.py

The ratings come from `data/ratings.jsonl` (`--ratings FILE` takes others), as if given in the console: an answer that
is right gets a thumb up, a wrong one is corrected.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aigrid.cli.factory import gateway as found
from aigrid.client.http import Gateway, RemoteError
from aigrid.core.errors import AigridError
from aigrid.factory.stats import paired, share

HERE = Path(__file__).resolve().parent
MODEL = "help-desk"


def rows(path: Path) -> Iterator[tuple[str, str]]:
    """Yield questions with the right answers."""
    for line in path.read_text().splitlines():
        row = json.loads(line)
        yield row["input"], row["output"]


def ask(gateway: Gateway, text: str) -> tuple[str, str]:
    """Return the pack's answer to a question, and the answer's id."""
    status, body = gateway.post(
        "/v1/chat/completions", {"model": MODEL, "messages": [{"role": "user", "content": text}]}
    )
    if status != 200:
        raise RemoteError(status, body)
    return body["choices"][0]["message"]["content"], body["id"]


def examine(gateway: Gateway) -> list[float]:
    """Return 1 or 0 for each question of the examination."""
    return [float(ask(gateway, text)[0] == right) for text, right in rows(HERE / "data" / "examination.jsonl")]


def rate(gateway: Gateway, path: Path) -> tuple[int, int]:
    """Rate the pack's answers as people would; returns how many were rated, and how many were wrong."""
    count = wrong = 0
    for text, right in rows(path):
        said, request = ask(gateway, text)
        body: dict[str, Any] = {"model": MODEL, "input": text, "said": said, "request": request}
        body |= {"rating": 1} if said == right else {"rating": -1, "correction": right}
        status, answer = gateway.post("/v1/ratings", body)
        if status != 201:
            raise RemoteError(status, answer)
        count += 1
        wrong += said != right
    return count, wrong


def main() -> int:
    """Do it once; returns 1 where something is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--ratings", type=Path, default=HERE / "data" / "ratings.jsonl", help="questions, right answers"
    )
    parser.add_argument("--url", default="", help="gateway; else the one in AIGRID_HOME")
    parser.add_argument("--key", default="", help="key; else the command line's own")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args()
    try:
        gateway = found(options.url, options.key)
        before = examine(gateway)
        count, wrong = rate(gateway, options.ratings)
        fly = [sys.executable, "-m", "aigrid.cli", "fly", str(HERE), "--once", "--lessons", str(count), "--json"]
        turned = json.loads(subprocess.run(fly, check=True, stdout=subprocess.PIPE).stdout)
        after = examine(gateway)
    except AigridError as error:
        print(f"flywheel-demo: {error.message}", file=sys.stderr)
        return 1
    gain = paired(after, before)
    if options.json:
        print(json.dumps({"before": before, "after": after, "rated": count, "wrong": wrong, "fly": turned["why"]}))
        return 0
    print(f"before     {share(before)}")
    print(f"rated      {count} answers, {wrong} of them wrong and corrected")
    print(f"flywheel   {turned['why']}")
    print(f"after      {share(after)}")
    print(f"gain       {gain.difference:+.1%} ({gain.low:+.1%} to {gain.high:+.1%}), p = {gain.p:.2g}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
