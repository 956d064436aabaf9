"""`aigrid chat`: ask once, or talk; each answer streams and is followed by what it cost."""

import sys
from typing import Annotated, Any, Literal

import typer

from aigrid.cli import factory
from aigrid.cli.output import Json, emit, err, out
from aigrid.cli.units import energy, seconds
from aigrid.client.http import Answer, Gateway
from aigrid.core.errors import AigridError, BadRequest, Unauthorized
from aigrid.ledger.prices import usd


def chat(
    text: Annotated[str, typer.Argument(help="What to ask. Without it: from a pipe, else a conversation.")] = "",
    model: Annotated[str, typer.Option(help="Model to ask; the first one served, unless named.")] = "",
    tier: Annotated[
        Literal["fast", "think", "overnight"] | None, typer.Option(help="How hard to think, and what it may cost.")
    ] = None,
    think: Annotated[
        Literal["minimal", "low", "medium", "high", "xhigh", "max"] | None,
        typer.Option(help="Think this hard: up to 2, 4, 8, 16, 32 or 64 candidates and a vote, which is shown."),
    ] = None,
    max_cost: Annotated[float, typer.Option(help="Most that thinking may cost, in US dollars; 0: no cap.", min=0)] = 0,
    max_tokens: Annotated[int, typer.Option(help="Longest answer, in tokens; 0 is the gateway's default.", min=0)] = 0,
    system: Annotated[str, typer.Option(help="Instructions that come before the conversation.")] = "",
    temperature: Annotated[
        float | None, typer.Option(help="0 is the likeliest answer, higher is more varied.", min=0, max=2)
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Same seed, same question: same answer.")] = None,
    url: Annotated[str, typer.Option(help="Gateway to ask; else AIGRID_URL, else the one in AIGRID_HOME.")] = "",
    key: Annotated[str, typer.Option(help="Key to pay with; else AIGRID_KEY, else the command line's own.")] = "",
    as_json: Json = False,
) -> None:
    """Ask, or talk; see what it cost."""
    gateway = factory.gateway(url, key)
    body: dict[str, Any] = {"model": model or _first_model(gateway)}
    if tier:
        body["service_tier"] = tier
    if think:
        body |= {"service_tier": tier or "think", "reasoning_effort": think, "aigrid": {"trace": True}}
    if max_cost:
        body["aigrid"] = {**body.get("aigrid", {}), "max_cost_usd": max_cost}
    if max_tokens:
        body["max_completion_tokens"] = max_tokens
    if temperature is not None:
        body["temperature"] = temperature
    if seed is not None:
        body["seed"] = seed
    messages: list[dict[str, str]] = [{"role": "system", "content": system}] if system else []
    if not text and not sys.stdin.isatty():
        text = sys.stdin.read().strip()
        if not text:
            raise BadRequest('nothing to ask: give a text, e.g. `aigrid chat "What is a token?"`')
    if text:
        messages.append({"role": "user", "content": text})
        answer = ask(gateway, {**body, "messages": messages}, quiet=as_json)
        emit(as_dict(answer), as_json, lambda _: err().print(price_line(answer), style="dim"))
    elif as_json:
        raise BadRequest("a conversation has no JSON form; give a text with --json")
    else:
        converse(gateway, body, messages)


def ask(gateway: Gateway, body: dict[str, Any], quiet: bool = False) -> Answer:
    """Ask once; the answer is printed as it streams unless `quiet`."""
    answer = Answer()
    console = out()
    try:
        for piece in gateway.chat(body, answer, None if quiet else _thought):
            if not quiet:
                console.print(piece, end="", markup=False)
                console.file.flush()
    finally:
        if answer.text and not quiet:
            console.print()
    return answer


def _thought(text: str) -> None:
    err().print(text, end="", markup=False, style="dim")


def converse(gateway: Gateway, body: dict[str, Any], messages: list[dict[str, str]]) -> None:
    """Talk until Ctrl-D. Ctrl-C stops the answer, and at the prompt the program."""
    err().print(f"Talking with {body['model']}. Ctrl-C stops an answer, Ctrl-D ends.", markup=False, style="dim")
    while True:
        try:
            text = input("> ").strip()
        except EOFError:
            return
        if not text:
            continue
        messages.append({"role": "user", "content": text})
        try:
            answer = ask(gateway, {**body, "messages": messages})
        except KeyboardInterrupt:
            err().print("(stopped; what was made until then is settled)", style="dim")
            messages.pop()
            continue
        except AigridError as error:
            err().print(f"aigrid: {error.message}", markup=False, style="red")
            messages.pop()
            continue
        messages.append({"role": "assistant", "content": answer.text})
        err().print(price_line(answer), style="dim", markup=False)


def _first_model(gateway: Gateway) -> str:
    try:
        models = gateway.models()
    except AigridError as error:
        if getattr(error, "http_status", 0) == 401:
            raise Unauthorized(
                f"{gateway.url} does not know this key; make one with `aigrid keys create --tenant NAME` "
                "and give it with --key or AIGRID_KEY"
            ) from None
        raise
    if not models:
        raise BadRequest(f"{gateway.url} serves no model; start one with `aigrid up --model ID` or `--upstream`")
    return models[0]


def as_dict(answer: Answer) -> dict[str, Any]:
    """Return an answer with its price, as `--json` prints it."""
    return {
        "text": answer.text,
        "model": answer.model,
        "finish_reason": answer.finish_reason,
        "prompt_tokens": answer.prompt_tokens,
        "cached_tokens": answer.cached_tokens,
        "completion_tokens": answer.completion_tokens,
        "first_token_ns": answer.first_token_ns,
        "duration_ns": answer.duration_ns,
        "tokens_per_second": round(answer.tokens_per_second, 2),
        "cost_nusd": answer.cost_nusd,
        "energy_mj": answer.energy_mj,
        "energy_source": answer.energy_source,
        "record": answer.record,
        **({"reasoning_tokens": answer.reasoning_tokens, "thinking": answer.thinking} if answer.thinking else {}),
    }


def price_line(answer: Answer) -> str:
    """Say in one line what an answer took and cost."""
    parts = [why(answer.thinking)] if answer.thinking else []
    parts += [
        f"{answer.prompt_tokens} + {answer.completion_tokens} tokens (prompt + completion)",
        f"first token after {seconds(answer.first_token_ns)}",
    ]
    if answer.tokens_per_second and not answer.thinking:
        parts.append(f"{answer.tokens_per_second:.1f} tokens/s")
    if answer.energy_mj is not None:
        parts.append(f"{energy(answer.energy_mj)} ({measured_by(answer.energy_source)})")
    if answer.cost_nusd is not None:
        parts.append(usd(answer.cost_nusd))
    return " · ".join(parts)


def why(thinking: dict[str, Any]) -> str:
    """Say in a few words how an answer won."""
    made = sum(not each.get("role") for each in thinking.get("candidates", ()))
    return f"{made} candidates: {thinking.get('why', '')}"


def measured_by(source: str) -> str:
    """Say in words how energy was measured, from the ledger's name of the source, e.g. `nvml+estimate`."""
    sensors = [name for name in source.split("+") if name not in ("estimate", "")]
    if not sensors:
        return "estimated from processor load"
    if "estimate" in source:
        return f"{', '.join(sensors)} measured, processors estimated"
    return f"measured by {', '.join(sensors)}"
