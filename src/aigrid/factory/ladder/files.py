"""Files of a candidate: arrays as .npy and everything else as JSON, both the same bytes for the same values."""

from pathlib import Path
from typing import Any, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

T = TypeVar("T")
Array = npt.NDArray[Any]


def save(folder: Path, **arrays: Array) -> None:
    """Write arrays, each as `NAME.npy`."""
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", np.ascontiguousarray(array), allow_pickle=False)


def array(folder: Path, name: str) -> Array:
    """Return an array."""
    found: Array = np.load(folder / f"{name}.npy", allow_pickle=False)
    return found


def write(path: Path, value: Any) -> None:
    """Write a value as JSON with sorted keys."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(value, order="sorted"), indent=1) + b"\n")


def read(path: Path, kind: type[T]) -> T:
    """Return the value of a JSON file."""
    return msgspec.json.decode(path.read_bytes(), type=kind)
