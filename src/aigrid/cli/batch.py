"""`aigrid batch`: hand in a file of requests for the overnight shift, watch it, fetch what came of it."""

import secrets
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from aigrid.cli import factory, output
from aigrid.cli.output import Json, emit, err, note
from aigrid.client.http import Gateway, RemoteError
from aigrid.core.clock import SECOND, iso
from aigrid.core.errors import AigridError, BadRequest

if TYPE_CHECKING:
    from rich.console import Console

app = typer.Typer(
    help="Batches: many requests, answered overnight, for less.", no_args_is_help=True, rich_markup_mode=None
)

Url = Annotated[str, typer.Option(help="Gateway to ask; else AIGRID_URL, else the one in AIGRID_HOME.")]
Key = Annotated[str, typer.Option(help="Key to ask with; else AIGRID_KEY, else the command line's own.")]
Which = Annotated[str, typer.Argument(metavar="BATCH", help="Id of a batch, from `aigrid batch list`.")]
ENDED = ("completed", "failed", "expired", "cancelled")
_LOOK_S = 0.5


@app.command("submit")
def submit(
    file: Annotated[Path, typer.Argument(help="JSON lines: custom_id, method, url and body of each request.")],
    window: Annotated[str, typer.Option(help="Time in which it must be done, e.g. 24h, 6h, 90m.")] = "24h",
    endpoint: Annotated[str, typer.Option(help="What its requests ask; else what the first line says.")] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask whether the price is right.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Show progress until it has ended.")] = False,
    url: Url = "",
    key: Key = "",
    as_json: Json = False,
) -> None:
    """Hand in a file of requests. What it costs at most is said first; Ctrl-C while waiting leaves it at work."""
    gateway = factory.gateway(url, key)
    data = _read(file)
    endpoint = endpoint or _endpoint(data, file)
    made = _upload(gateway, file.name, data)
    asked = {"input_file_id": made["id"], "endpoint": endpoint}
    try:
        quote = _ok(gateway.post("/v1/batches/quote", asked))
        if quote["errors"] is not None:
            raise BadRequest(_problems(file, quote["errors"]["data"]), code="invalid_file")
        if not yes:
            _ask(quote, as_json)
        batch = _ok(gateway.post("/v1/batches", {**asked, "completion_window": window}))
    except BaseException:
        gateway.call("DELETE", f"/v1/files/{made['id']}")
        raise
    if wait:
        batch = _watch(gateway, batch)
    emit({**batch, "quote": quote}, as_json, lambda console: _show(console, batch))
    _fail_where_it_failed(batch)


@app.command("status")
def status(
    batch: Which,
    wait: Annotated[bool, typer.Option("--wait", help="Show progress until it has ended.")] = False,
    url: Url = "",
    key: Key = "",
    as_json: Json = False,
) -> None:
    """Show how far a batch is, what it has cost and what it waits for."""
    gateway = factory.gateway(url, key)
    found = _ok(gateway.get(f"/v1/batches/{batch}"))
    if wait:
        found = _watch(gateway, found)
    emit(found, as_json, lambda console: _show(console, found))


@app.command("results")
def results(
    batch: Which,
    out: Annotated[Path | None, typer.Option("--out", help="Write the answers to this file instead of stdout.")] = None,
    errors: Annotated[bool, typer.Option("--errors", help="What failed, instead of the answers.")] = False,
    url: Url = "",
    key: Key = "",
    as_json: Json = False,
) -> None:
    """Fetch the answers of a batch that has ended, one JSON object a line, in the order of its file."""
    gateway = factory.gateway(url, key)
    found = _ok(gateway.get(f"/v1/batches/{batch}"))
    if found["status"] not in ENDED:
        raise BadRequest(f"{batch} is {found['status']}; wait for it with `aigrid batch status {batch} --wait`")
    name = found["error_file_id" if errors else "output_file_id"]
    data = gateway.call("GET", f"/v1/files/{name}/content")[1] if name else b""
    if out is not None:
        out.write_bytes(data)
        value = {"batch": batch, "file": str(out), "lines": data.count(b"\n")}
        emit(value, as_json, lambda console: console.print(f"{value['lines']} lines written to {out}"))
    elif as_json:
        emit({"batch": batch, "data": [msgspec.json.decode(line) for line in data.splitlines()]}, True, lambda _: None)
    else:
        sys.stdout.buffer.write(data)
        sys.stdout.flush()


@app.command("cancel")
def cancel(batch: Which, url: Url = "", key: Key = "", as_json: Json = False) -> None:
    """Stop a batch; what was answered until now is kept and paid for."""
    found = _ok(factory.gateway(url, key).post(f"/v1/batches/{batch}/cancel", {}))
    emit(found, as_json, lambda console: _show(console, found))


@app.command("list")
def list_(
    limit: Annotated[int, typer.Option(help="Most batches.", min=1, max=100)] = 20,
    url: Url = "",
    key: Key = "",
    as_json: Json = False,
) -> None:
    """List the batches of the key's tenant, newest first."""
    from aigrid.cli.units import usd_short

    found = _ok(factory.gateway(url, key).get(f"/v1/batches?limit={limit}"))

    def show(console: "Console") -> None:
        rows = output.table("batch", "status", "done", "failed", "of", "cost", "deadline")
        for each in found["data"]:
            counts = each["request_counts"]
            rows.add_row(
                each["id"], each["status"], str(counts["completed"]), str(counts["failed"]), str(counts["total"]),
                usd_short(each["aigrid"]["cost_nusd"]), iso(each["expires_at"] * SECOND)[:16],
            )  # fmt: skip
        console.print(rows if found["data"] else "No batches yet; make one with `aigrid batch submit FILE`.")

    emit(found, as_json, show)


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise BadRequest(f"cannot read {file}: {error.strerror}; name a file of JSON lines") from None


def _endpoint(data: bytes, file: Path) -> str:
    first = next((line for line in data.splitlines() if line.strip()), b"")
    try:
        return str(msgspec.json.decode(first)["url"])
    except (msgspec.DecodeError, KeyError, TypeError):
        raise BadRequest(f"the first line of {file} is no request with a `url`; name one with --endpoint") from None


def _upload(gateway: Gateway, name: str, data: bytes) -> dict[str, Any]:
    edge = secrets.token_hex(16)
    plain = name.replace('"', "_").replace("\r", "_").replace("\n", "_")
    head = (
        f'--{edge}\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--{edge}\r\n'
        f'content-disposition: form-data; name="file"; filename="{plain}"\r\n\r\n'
    )
    body = head.encode() + data + f"\r\n--{edge}--\r\n".encode()
    status, answer = gateway.call("POST", "/v1/files", body, f"multipart/form-data; boundary={edge}")
    return _ok((status, msgspec.json.decode(answer)))


def _ok(answer: tuple[int, Any]) -> dict[str, Any]:
    status, body = answer
    if status != 200:
        raise RemoteError(status, body)
    return dict(body)


def _problems(file: Path, problems: list[dict[str, Any]]) -> str:
    first = problems[0]
    where = f"line {first['line']} of {file}" if first["line"] is not None else str(file)
    more = f" ({len(problems)} lines are wrong)" if len(problems) > 1 else ""
    return f"{where}: {first['message']}{more}"


def _ask(quote: dict[str, Any], as_json: bool) -> None:
    from aigrid.ledger.prices import usd

    text = (
        f"{quote['requests']:,} requests, at most {quote['completion_tokens_bound']:,} tokens in their answers: "
        f"at most {usd(quote['cost_bound_nusd'])}"
    )
    if as_json or not sys.stdin.isatty():
        raise BadRequest(f"{text}. Nobody is there to agree: add --yes", code="not_agreed")
    typer.confirm(f"{text}. Go ahead?", abort=True, err=True)


def _watch(gateway: Gateway, batch: dict[str, Any]) -> dict[str, Any]:
    """Show a bar until the batch has ended; Ctrl-C stops the watching only."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    if not err().is_terminal:
        note(f"waiting for {batch['id']}; Ctrl-C leaves it at work")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err(), transient=True, disable=not err().is_terminal) as bar:
        task = bar.add_task("validating", total=None)
        while batch["status"] not in ENDED:
            time.sleep(_LOOK_S)
            batch = _ok(gateway.get(f"/v1/batches/{batch['id']}"))
            counts, waits = batch["request_counts"], batch["aigrid"]["waits_for"]
            text = f"{batch['status']}{f', waits for {waits}' if waits else ''}"
            done = counts["completed"] + counts["failed"]
            bar.update(task, description=text, completed=done, total=counts["total"] or None)
    return batch


def _show(console: "Console", batch: dict[str, Any]) -> None:
    from aigrid.ledger.prices import usd

    counts, ours = batch["request_counts"], batch["aigrid"]
    console.print(f"{batch['id']}: {batch['status']}", style="bold", markup=False)
    console.print(f"{counts['completed']} of {counts['total']} answered, {counts['failed']} failed")
    bound = f" of at most {usd(ours['cost_bound_nusd'])}" if ours["cost_bound_nusd"] else ""
    console.print(
        f"cost {usd(ours['cost_nusd'])}{bound}; due {iso(batch['expires_at'] * SECOND)[:16]} UTC", markup=False
    )
    if ours["waits_for"]:
        console.print(f"waits for {ours['waits_for']}", markup=False)
    for problem in (batch["errors"] or {}).get("data", ()):
        console.print(f"line {problem['line']}: {problem['message']}", style="yellow", markup=False)
    if batch["status"] in ENDED and (batch["output_file_id"] or batch["error_file_id"]):
        console.print(f"Fetch it with: aigrid batch results {batch['id']}", markup=False)


def _fail_where_it_failed(batch: dict[str, Any]) -> None:
    if batch["status"] == "failed":
        raise AigridError(f"{batch['id']} failed; `aigrid batch status {batch['id']}` says why", code="batch_failed")
