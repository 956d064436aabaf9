"""Load a model for the embedded engine: from an exported OpenVINO folder, or from a GGUF file by way of one.

A GGUF file is converted once; the folder, with the compiled model beside it, is kept next to the file (or in the
cache, for files that are not ours), named by the file's content and OpenVINO's version. It is made in a temporary
folder and renamed when complete, and checked at each start; what is damaged is made again.
"""

import hashlib
import json
import os
import shutil
import tempfile
import xml.etree.ElementTree as ElementTree
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import openvino_genai as genai

from aigrid.core import config as configuration
from aigrid.core.download import lock
from aigrid.core.errors import AigridError, NotFound
from aigrid.core.models import lock_file
from aigrid.engines import gguf

_SAMPLES = 64
_SAMPLE_BYTES = 64 << 10
_BLOBS = "compiled"
_MANIFEST = "complete.json"
_LOADING = "loading"


class Loaded(msgspec.Struct):
    """A model ready to run. `context` is in tokens, `folder` holds its OpenVINO form."""

    pipeline: Any
    context: int
    folder: Path


def version() -> str:
    """Return the version of openvino_genai that makes and reads converted models."""
    return str(genai.get_version()).split("-")[0]


def load(path: Path, device: str, properties: dict[str, Any], scheduler: Any) -> Loaded:
    """Load the model at `path`; raises `GgufError` or `NotFound` with what is wrong with the file."""
    if path.is_dir():
        description = path / "openvino_model.xml"
        if not description.exists():
            raise NotFound(f"{path} holds no openvino_model.xml: export it with optimum-intel, or use a GGUF file")
        beside = _place(description)
        with lock(lock_file(beside)):
            beside.mkdir(exist_ok=True)
            return _open(path, beside, device, properties, scheduler)
    header = gguf.check(path)
    context = min(header.context, gguf.READER_CONTEXT)
    folder = _place(path)
    with lock(lock_file(folder)):
        if not _intact(folder):
            _convert(path, folder, context)
        try:
            return _open(folder, folder, device, properties, scheduler)
        except RuntimeError:
            _convert(path, folder, context)
            return _open(folder, folder, device, properties, scheduler)


def _place(path: Path) -> Path:
    """Return the folder for what is made from `path`: beside our own downloads, else in the cache."""
    inside = path.is_relative_to(configuration.cache() / "models")
    parent = path.parent if inside else configuration.cache() / "converted"
    return parent / f"openvino-{version()}-{_fingerprint(path)}"


def _fingerprint(path: Path) -> str:
    """Return a digest of a file's size and of samples spread over it: quick also for files of many gigabytes."""
    size = path.stat().st_size
    sha = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        for sample in range(_SAMPLES):
            file.seek(max(0, (size - _SAMPLE_BYTES) * sample // (_SAMPLES - 1)))
            sha.update(file.read(_SAMPLE_BYTES))
    return sha.hexdigest()[:16]


def _intact(folder: Path) -> bool:
    """Whether a converted model is complete, undamaged, and did not kill its process when it was last loaded."""
    if (folder / _LOADING).exists():
        return False
    try:
        manifest: dict[str, str] = json.loads((folder / _MANIFEST).read_text())
        return bool(manifest) and all(_fingerprint(folder / name) == print_ for name, print_ in manifest.items())
    except (OSError, ValueError):
        return False


def _convert(path: Path, folder: Path, context: int) -> None:
    """Make `folder` from the GGUF file at `path`."""
    if folder.exists():
        shutil.rmtree(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    rough = Path(tempfile.mkdtemp(prefix=".converting-", dir=folder.parent))
    try:
        (rough / "model.gguf").symlink_to(path.absolute())
        scheduler = genai.SchedulerConfig()
        scheduler.num_kv_blocks = 4
        save = {"enable_save_ov_model": True}
        genai.ContinuousBatchingPipeline(rough / "model.gguf", scheduler, "CPU", save, save)
        (rough / "model.gguf").unlink()
        (rough / "config.json").write_text(json.dumps({"max_position_embeddings": context}))
        manifest = {file.name: _fingerprint(file) for file in sorted(rough.iterdir())}
        (rough / _MANIFEST).write_text(json.dumps(manifest))
        os.replace(rough, folder)
    except RuntimeError as error:
        raise AigridError(f"OpenVINO cannot read {path.name}: {_last_line(error)}", code="unsupported_model") from error
    finally:
        shutil.rmtree(rough, ignore_errors=True)


def _open(folder: Path, beside: Path, device: str, properties: dict[str, Any], scheduler: Any) -> Loaded:
    """Load from `folder`, keeping the compiled model in `beside`; one that killed its process is not tried again."""
    mark = beside / _LOADING
    if mark.exists():
        shutil.rmtree(beside / _BLOBS, ignore_errors=True)
    mark.touch()
    properties = {**properties, "CACHE_DIR": str(beside / _BLOBS)}
    pipeline = genai.ContinuousBatchingPipeline(folder, scheduler, device, properties)
    mark.unlink()
    return Loaded(pipeline=pipeline, context=_context(folder), folder=folder)


def _context(folder: Path) -> int:
    with suppress(OSError, ValueError):
        settings = json.loads((folder / "config.json").read_text())
        for part in (settings, settings.get("text_config") or {}):
            if isinstance(part.get("max_position_embeddings"), int):
                return int(part["max_position_embeddings"])
    return 4096


def logits_width(folder: Path) -> int:
    """Return the last dimension of the model's output `logits`, read from its description; 0 if it does not say."""
    for _, element in ElementTree.iterparse(folder / "openvino_model.xml", events=("end",)):
        if element.tag == "layer":
            if element.get("type") == "Result":
                dimensions = [dim.text for dim in element.iter("dim")]
                return max(int(dimensions[-1] or 0), 0) if dimensions else 0
            element.clear()
    return 0


def _last_line(error: Exception) -> str:
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    return lines[-1] if lines else "no reason given"
