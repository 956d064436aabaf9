"""The model card of a pack: Markdown with the front matter that Hugging Face reads."""

from typing import Any

import msgspec

from aigrid.packs.manifest import Figure, Manifest


def render(manifest: Manifest, text: str = "") -> str:
    """Return the card of a pack; `text` is what its maker wants to say about it, in Markdown."""
    front: dict[str, Any] = {}
    if manifest.licence:
        front["license"] = manifest.licence.lower()
    if manifest.base:
        front["base_model"] = manifest.base.name
    front["library_name"] = "aigrid"
    front["tags"] = ["aigrid", manifest.kind]
    if manifest.data:
        front["datasets"] = [data.name for data in manifest.data]
    if manifest.evidence:
        front["model-index"] = [_index(manifest)]
    lines = ["---", *(f"{key}: {_json(value)}" for key, value in front.items()), "---", ""]
    lines += [f"# {manifest.title or manifest.name}", ""]
    if manifest.summary:
        lines += [manifest.summary, ""]
    if text:
        lines += [text.strip(), ""]
    if manifest.base:
        lines += ["## Base model", "", f"{manifest.base.name} (`{manifest.base.digest}`), not in the pack.", ""]
    if manifest.evidence:
        lines += ["## Evidence", "", "| figure | value | 95 % interval | n | baseline |", "|---|---|---|---|---|"]
        lines += [_row(figure) for figure in manifest.evidence] + [""]
    if manifest.data:
        lines += ["## Data", "", "| name | digest | licence |", "|---|---|---|"]
        lines += [f"| {data.name} | `{data.digest[:19]}…` | {data.licence or 'not stated'} |" for data in manifest.data]
        lines += [""]
    return "\n".join(lines)


def _index(manifest: Manifest) -> dict[str, Any]:
    """Return the figures as Hugging Face's `model-index`."""
    dataset = manifest.data[0].name if manifest.data else "own evaluation"
    metrics = [{"type": figure.name, "name": figure.name, "value": figure.value} for figure in manifest.evidence]
    task = {"type": str(manifest.runtime.get("task", "other"))}
    result = {"task": task, "dataset": {"name": dataset, "type": "other"}, "metrics": metrics}
    return {"name": manifest.name, "results": [result]}


def _row(figure: Figure) -> str:
    interval = "" if figure.low is None or figure.high is None else f"{figure.low:.6g} to {figure.high:.6g}"
    baseline = "" if figure.baseline is None else f"{figure.baseline:.6g}"
    unit = f" {figure.unit}" if figure.unit else ""
    return f"| {figure.name} | {figure.value:.6g}{unit} | {interval} | {figure.n or ''} | {baseline} |"


def _json(value: object) -> str:
    """Return a value as JSON, which every YAML reader reads as well."""
    return msgspec.json.encode(value).decode()
