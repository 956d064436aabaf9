"""An answer from the documents on a terminal: its sentences as they come, what they rest on, and what it cost."""

from typing import TYPE_CHECKING, Any

from aigrid.cli.chat import measured_by
from aigrid.cli.knowledge import excerpt, place
from aigrid.cli.output import err, out
from aigrid.cli.units import energy, seconds
from aigrid.client.http import Answer, Gateway, take
from aigrid.core.clock import mono_ns
from aigrid.ledger.prices import usd

if TYPE_CHECKING:
    from rich.console import Console


def stream(gateway: Gateway, body: dict[str, Any], quiet: bool) -> tuple[Answer, dict[str, Any]]:
    """Ask; return the answer with what it took and what the gateway says of it. Printed as it comes unless `quiet`."""
    answer = Answer()
    found: dict[str, Any] = {}
    console, began = out(), mono_ns()
    try:
        for frame in gateway.stream("/v1/knowledge/ask", body):
            piece = take(frame, answer, began)
            if piece and not quiet:
                console.print(piece, end="", markup=False)
                console.file.flush()
            said = frame.get("knowledge") or {}
            if said.get("type") == "answer":
                found = said
    finally:
        if answer.text and not quiet:
            console.print()
    return answer, found


def as_dict(answer: Answer, found: dict[str, Any]) -> dict[str, Any]:
    """Return an answer as `--json` prints it."""
    cost = found.get("aigrid", {})
    return {
        "text": answer.text,
        "known": found.get("known"),
        "confidence": found.get("confidence"),
        "written": found.get("written"),
        "citations": found.get("citations", []),
        "nearest": found.get("nearest", []),
        "model": answer.model,
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": answer.completion_tokens,
        "first_token_ns": answer.first_token_ns,
        "duration_ns": answer.duration_ns,
        "cost_nusd": answer.cost_nusd,
        "energy_mj": answer.energy_mj,
        "energy_source": answer.energy_source,
        "records": cost.get("records", []),
    }


def show_sources(console: "Console", answer: Answer, found: dict[str, Any]) -> None:
    """Print what the answer rests on, or what came nearest, and its price."""
    cited = found.get("citations") or []
    for each in cited:
        console.print(f"[{each['number']}] {place(each)}", style="bold", markup=False)
        console.print(f"    “{excerpt(each['quote'])}”", markup=False)
    nearest = found.get("nearest") or []
    if nearest and not cited:
        console.print("Nearest to it:", style="dim")
        for each in nearest:
            console.print(f"    {place(each)}: “{excerpt(each['quote'], 160)}”", markup=False, style="dim")
    err().print(price_line(answer), style="dim", markup=False)


def price_line(answer: Answer) -> str:
    """Say in one line what an answer took and cost, its search included."""
    parts = [
        f"{answer.prompt_tokens} + {answer.completion_tokens} tokens (prompt + completion)",
        f"first words after {seconds(answer.first_token_ns)}",
        f"whole after {seconds(answer.duration_ns)}",
    ]
    if answer.completion_tokens and answer.duration_ns:
        parts.append(f"{answer.completion_tokens * 1e9 / answer.duration_ns:.1f} tokens/s over all of it")
    if answer.energy_mj is not None:
        parts.append(f"{energy(answer.energy_mj)} ({measured_by(answer.energy_source)})")
    if answer.cost_nusd is not None:
        parts.append(usd(answer.cost_nusd))
    return " · ".join(parts)
