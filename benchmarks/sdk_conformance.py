"""Do other people's clients work? Both official SDKs, named checks, three engines.

`python -m benchmarks.sdk_conformance [--json]`. The peer is the SDK itself: a check passes where the unchanged client
gets from this factory what it gets from the API it was made for. The engines: echo in the gateway, echo as an upstream
server whose bytes pass through, and the default model.
"""

import contextlib
import importlib.metadata
import time
from collections.abc import Iterator
from typing import Any

from benchmarks.common import arguments, factory, free_port, log, program, report
from benchmarks.sdk_checks import Check, Target, checks

SDKS = ("openai", "anthropic")


@contextlib.contextmanager
def target(engine: str, model: str) -> Iterator[Target]:
    """Run a factory with three keys: a good one, one that can pay for nothing, one with a request a minute.

    With `upstream` the echo engine is another server, whose bytes pass through.
    """
    with contextlib.ExitStack() as stack:
        options = ["--engine", "echo" if engine == "upstream" else engine]
        if engine == "upstream":
            port = free_port()
            stack.enter_context(program("echo", "--port", str(port), "--model", model))
            options += ["--upstream", f"far=http://127.0.0.1:{port}"]
        running = stack.enter_context(factory(*options))

        def key(tenant: str, *limits: str) -> str:
            return str(running.run("keys", "create", "--tenant", tenant, *limits)["key"])

        poor, slow = key("poor", "--budget-usd", "0.000000001"), key("slow", "--rpm", "1")
        found = Target(running.url, model, key("rich"), poor, slow)
        stack.callback(found.close)
        yield found


def outcome(check: Check, at: Target) -> dict[str, Any]:
    """Run a check; returns its name, whether it passed and, where it did not, why."""
    begin = time.perf_counter()
    why = ""
    try:
        check.run(at)
    except Exception as error:
        why = f"{type(error).__name__}: {error}"[:300]
    passed = {
        "sdk": check.sdk,
        "check": check.claim,
        "passed": not why,
        "ms": round((time.perf_counter() - begin) * 1e3),
    }
    return {**passed, "why": why} if why else passed


def run(engine: str, model: str) -> list[dict[str, Any]]:
    """Run all checks that an engine allows."""
    results = []
    with target(engine, model) as at:
        for check in (found for sdk in SDKS for found in checks(sdk, engine)):
            result = {"engine": engine, **outcome(check, at)}
            log(f"{'ok  ' if result['passed'] else 'FAIL'} {engine:8} {check.sdk:9} {check.claim}")
            if not result["passed"]:
                log(f"     {result['why']}")
            results.append(result)
    return results


def main() -> None:
    """Run both engines and report the score."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--engine", choices=("echo", "upstream", "openvino"), help="only this engine")
    parser.add_argument("--model", default="smollm2-135m-instruct", help="the real model")
    given = parser.parse_args()
    models = {"echo": "echo", "upstream": "far-echo", "openvino": given.model}
    results = [result for name, model in models.items() if given.engine in (None, name) for result in run(name, model)]
    score = {
        f"{sdk} SDK on {engine}": [r["passed"] for r in results if (r["sdk"], r["engine"]) == (sdk, engine)]
        for sdk in SDKS
        for engine in dict.fromkeys(r["engine"] for r in results)
    }
    passed = sum(r["passed"] for r in results)
    result = {
        "name": "sdk_conformance",
        "figures": {
            "score": f"{passed}/{len(results)}",
            **{name: f"{sum(oks)}/{len(oks)}" for name, oks in score.items()},
            **{f"{sdk} SDK version": importlib.metadata.version(sdk) for sdk in SDKS},
        },
        "failed": [f"{r['engine']}, {r['sdk']}: {r['check']}" for r in results if not r["passed"]],
        "results": results,
        "holds": {f"{name}: all {len(oks)} checks pass": all(oks) for name, oks in score.items()},
    }
    report(result, given.json)


if __name__ == "__main__":
    main()
