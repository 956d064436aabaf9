"""Accuracy against tokens, money and joules, for 1 to 64 candidates of each question.

Each question is answered 64 times at once; smaller numbers are subsets of those, drawn again and again, so that every
number sees the same answers. Intervals are 95 %, by bootstrap over questions. Joules of a subset are its share of its
question's tokens. Where voting stops helping is the first number from which 64 are not better for certain (the
interval of the paired difference holds 0). `--upstream URL --upstream-model M` measures a served model instead.
"""

import contextlib
import itertools
import json
import random
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from aigrid.client.http import Gateway
from benchmarks import common, thinking_tasks

SIZES = (1, 2, 4, 8, 16, 32, 64)
DRAWS = 200
PATIENCE_S = 300.0


def ask(factory: common.Factory, model: str, messages: list[dict[str, str]]) -> dict[str, Any]:
    """Return 64 answers to one question, and what they took together; a server that makes fewer is asked again.

    Money and energy are from the gateway's headers: the body may be the upstream's own.
    """
    found: dict[str, Any] = {"answers": [], "prompt": 0, "completion": 0, "nusd": 0, "mj": 0, "energy_source": ""}
    while (missing := thinking_tasks.CANDIDATES - len(found["answers"])) > 0:
        body = thinking_tasks.body(model, messages, n=missing, service_tier="fast")
        heads = {"authorization": f"Bearer {factory.key}", "content-type": "application/json"}
        request = Request(f"{factory.url}/v1/chat/completions", json.dumps(body).encode(), heads)
        try:
            with urlopen(request, timeout=PATIENCE_S) as response:
                answer, headers = json.load(response), response.headers
        except HTTPError as error:
            raise RuntimeError(f"the gateway answered {error.code}: {error.read().decode(errors='replace')}") from None
        found["answers"] += [thinking_tasks.answer_in(each["message"]["content"] or "") for each in answer["choices"]]
        found["prompt"] += answer["usage"]["prompt_tokens"]
        found["completion"] += answer["usage"]["completion_tokens"]
        found["nusd"] += int(headers["x-aigrid-cost-nusd"])
        found["mj"] += int(headers["x-aigrid-energy-mj"])
        found["energy_source"] = headers["x-aigrid-energy-source"]
    return found


def curve(asked: Sequence[dict[str, Any]], right: Sequence[str]) -> list[dict[str, Any]]:
    """Return one point for each number of candidates."""
    luck = random.Random(3)
    accuracy: dict[int, list[float]] = {}
    points = []
    for size in SIZES:
        voted, passed = [], []
        for said, truth in zip(asked, right, strict=True):
            draws = DRAWS if size < len(said["answers"]) else 1
            picks = [luck.sample(said["answers"], size) for _ in range(draws)]
            voted.append(sum(thinking_tasks.majority(pick) == truth for pick in picks) / draws)
            passed.append(sum(truth in pick for pick in picks) / draws)
        accuracy[size] = voted
        share = size / thinking_tasks.CANDIDATES
        count = len(asked)
        made = sum(said["completion"] * share for said in asked) / count
        points.append({
            "n": size,
            "accuracy": round(sum(voted) / count, 4),
            "interval": thinking_tasks.boot(voted),
            "with_a_verifier": round(sum(passed) / count, 4),
            "tokens": round(made, 1),
            "prompt_tokens": round(sum(said["prompt"] for said in asked) / count, 1),
            "nusd": round(sum(money(said, share) for said in asked) / count),
            "millijoules": round(sum(said["mj"] * share for said in asked) / count, 1),
        })  # fmt: skip
    last = accuracy[SIZES[-1]]
    for point in points:
        gain = [most - here for most, here in zip(last, accuracy[point["n"]], strict=True)]
        point["gain_left"] = thinking_tasks.boot(gain)
    return points


def money(said: dict[str, Any], share: float) -> float:
    """Return what a part of the candidates costs: the prompt once, and their share of the completion."""
    weight = said["completion"] * 4  # a completion token costs four prompt tokens in the built-in price list
    whole = said["prompt"] + weight
    return float(said["nusd"] * (said["prompt"] + weight * share) / whole)


@contextlib.contextmanager
def served(upstream: str, key_env: str) -> Iterator[common.Factory]:
    """Run a factory with the embedded model, or in front of another server, whose key is in a variable."""
    if not upstream:
        with common.factory() as factory:
            yield factory
        return
    with tempfile.TemporaryDirectory(prefix="aigrid-") as folder:
        settings = f'[[upstreams]]\nname = "upstream"\nurl = "{upstream}"\nkey_env = "{key_env}"\n'
        (Path(folder) / "aigrid.toml").write_text(settings)
        with common.factory("--engine", "none", home=Path(folder)) as factory:
            yield factory


def measure(count: int, upstream: str = "", model: str = "", key_env: str = "") -> dict[str, Any]:
    """Ask all questions; return the benchmark's one JSON object."""
    asked = thinking_tasks.questions()[:count]
    with served(upstream, key_env) as factory:
        model = model or Gateway(factory.url, factory.key).models()[0]
        found = []
        for at, (messages, _) in enumerate(asked, 1):
            found.append(ask(factory, model, messages))
            if at % 10 == 0:
                common.log(f"{at} of {len(asked)} questions")
    points = curve(found, [right for _, right in asked])
    stops = next(point["n"] for point in points if point["gain_left"][0] <= 0)
    first, last = points[0], points[-1]
    return {
        "model": model,
        "task": "the multiplication table from 2 times 2 to 9 times 9, after two solved examples",
        "questions": len(asked),
        "curve": points,
        "stops_helping_at": stops,
        "energy_source": found[0]["energy_source"],
        "holds": {
            "one candidate is right sometimes (20 % to 60 %)": 0.2 <= first["accuracy"] <= 0.6,
            "64 candidates are right more often than one (95 % interval of the gain on the same questions)": (
                first["gain_left"][0] > 0 and last["accuracy"] > first["accuracy"]
            ),
            "the curve never falls by more than its interval": all(
                after["accuracy"] >= before["interval"][0] for before, after in itertools.pairwise(points)
            ),
        },
        "grid": {
            "columns": [
                "right",
                "95 % interval",
                "right with a verifier",
                "completion tokens",
                "microdollars",
                "joules",
            ],
            "rows": [
                [
                    f"{point['n']} candidate{'s' * (point['n'] > 1)}",
                    f"{point['accuracy']:.1%}",
                    f"{point['interval'][0]:.1%} to {point['interval'][1]:.1%}",
                    f"{point['with_a_verifier']:.1%}",
                    point["tokens"],
                    point["nusd"] / 1000,
                    point["millijoules"] / 1000,
                ]
                for point in points
            ],
        },
    }


def main() -> None:
    """Measure and print."""
    parser = common.arguments(__doc__ or "")
    parser.add_argument("--questions", type=int, default=64)
    parser.add_argument("--upstream", default="", help="an OpenAI-compatible server to ask instead")
    parser.add_argument("--upstream-model", "--model", default="", help="the model to ask it for; else its first")
    parser.add_argument("--upstream-key-env", default="", help="the environment variable that holds its key")
    given = parser.parse_args()
    common.report(measure(given.questions, given.upstream, given.upstream_model, given.upstream_key_env), given.json)


if __name__ == "__main__":
    main()
