"""Canonical JSON and its digest: equal values, equal bytes, whoever writes them."""

import hashlib
from typing import Any

import msgspec

_encoder = msgspec.json.Encoder(order="deterministic")


def canonical(value: Any) -> bytes:
    """Return JSON with sorted keys and no white space."""
    return _encoder.encode(value)


def digest(value: Any) -> str:
    """Return the SHA-256 of a value's canonical JSON, in hexadecimal."""
    return hashlib.sha256(canonical(value)).hexdigest()
