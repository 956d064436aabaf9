"""What a run keeps on disk, each file complete or not there: a kill at any moment loses some seconds, never the run."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import torch

from aigrid.core.errors import BadRequest
from aigrid.factory.lora.settings import Row, Settings

CHECKPOINT, CURVE, RUN, RESULT, ADAPTER = "checkpoint.pt", "curve.jsonl", "run.json", "result.json", "adapter"


def write(path: Path, data: bytes) -> None:
    """Write a file so that after a crash it is the old one or the new one."""
    rough = path.with_name(path.name + ".part")
    with rough.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(rough, path)
    _sync(path.parent)


def write_folder(target: Path, fill: Any) -> None:
    """Make a folder by `fill(path)`, complete or not at all."""
    rough = target.with_name(target.name + ".part")
    shutil.rmtree(rough, ignore_errors=True)
    rough.mkdir(parents=True)
    fill(rough)
    for path in rough.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    shutil.rmtree(target, ignore_errors=True)
    os.replace(rough, target)
    _sync(target.parent)


def save(folder: Path, state: Mapping[str, Any]) -> None:
    """Keep the state of a run."""
    rough = folder / (CHECKPOINT + ".part")
    with rough.open("wb") as file:
        torch.save(dict(state), file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(rough, folder / CHECKPOINT)
    _sync(folder)


def restore(folder: Path, device: torch.device) -> dict[str, Any] | None:
    """Return the state that was kept last; None where nothing was."""
    path = folder / CHECKPOINT
    if not path.exists():
        return None
    state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    return state


def digest(rows: Sequence[Row], dev: Sequence[Row], settings: Settings, base: str, kind: str) -> str:
    """Return what a run's outcome depends on, as one number: rows, settings, base model and kind of training."""
    plain = msgspec.to_builtins(msgspec.structs.replace(settings, base=Path(), checkpoint_s=0.0), enc_hook=str)
    text = json.dumps([kind, base, plain, [dict(r) for r in rows], [dict(r) for r in dev]], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def begin(folder: Path, digest: str) -> dict[str, Any] | None:
    """Return what is known of the run in a folder, None for a new one; raises `BadRequest` if it is another run."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / RUN
    if not path.exists():
        return None
    known: dict[str, Any] = json.loads(path.read_text())
    if known["digest"] != digest:
        raise BadRequest(
            f"{folder} holds a run with other rows, settings or base model: remove it, or give an empty folder",
            param="work_dir",
        )
    return known


def keep_curve(folder: Path, step: int) -> list[dict[str, Any]]:
    """Cut the curve back to what was known at a step, and return it."""
    path = folder / CURVE
    lines: list[dict[str, Any]] = []
    if path.exists():
        for line in path.read_text().splitlines():
            try:
                lines.append(json.loads(line))
            except ValueError:  # the line that a kill cut short is the last
                break
    lines = [line for line in lines if line["step"] <= step]
    write(path, _jsonl(lines))
    return lines


def _jsonl(lines: Iterable[Mapping[str, Any]]) -> bytes:
    return "".join(json.dumps(line) + "\n" for line in lines).encode()


def append_curve(folder: Path, line: Mapping[str, Any]) -> None:
    """Add a line to the curve."""
    with (folder / CURVE).open("a") as file:
        file.write(json.dumps(line) + "\n")


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
