"""Files and batches in the published document."""

from typing import Any, Literal

from msgspec import Struct

from aigrid.gateway.batches.api import BatchBody, QuoteBody
from aigrid.ledger.shelf import Problem, Status

_NAME = {"type": "string", "maxLength": 200}
_PAGE: dict[str, dict[str, Any]] = {
    "after": _NAME,
    "limit": {"type": "integer", "minimum": 1, "maximum": 100, "default": 20},
}
FILES_QUERY: dict[str, dict[str, Any]] = {
    "after": _NAME,
    "limit": {"type": "integer", "minimum": 1, "maximum": 10_000, "default": 10_000},
    "order": {"enum": ["asc", "desc"], "default": "desc"},
    "purpose": _NAME,
}


class FileObject(Struct):
    """A file. Times are in seconds since the epoch."""

    id: str
    object: Literal["file"]
    bytes: int
    created_at: int
    filename: str
    purpose: Literal["batch", "batch_output"]
    status: Literal["processed"]
    expires_at: int | None


class FileList(Struct):
    """A page of files; the next begins `after` the last id."""

    object: Literal["list"]
    data: list[FileObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


class FileDeleted(Struct):
    """A file that was erased."""

    id: str
    object: Literal["file"]
    deleted: bool


class BatchErrors(Struct):
    """What is wrong with an input file, at most its first hundred lines that are."""

    object: Literal["list"]
    data: list[Problem]


class RequestCounts(Struct):
    """Requests of a batch: all, those with an answer, those that failed."""

    total: int
    completed: int
    failed: int


class BatchUsage(Struct):
    """Tokens that the answers took until now."""

    input_tokens: int
    input_tokens_details: dict[str, int]
    output_tokens: int
    output_tokens_details: dict[str, int]
    total_tokens: int


class BatchCost(Struct):
    """What a batch has cost and will cost at most, in nano-dollars; what it waits for; requests at work now."""

    cost_nusd: int
    cost_bound_nusd: int
    waits_for: str
    running: int


class BatchObject(Struct):
    """A batch. Times are in seconds since the epoch."""

    id: str
    object: Literal["batch"]
    endpoint: str
    model: str | None
    errors: BatchErrors | None
    input_file_id: str
    completion_window: str
    status: Status
    output_file_id: str | None
    error_file_id: str | None
    created_at: int
    expires_at: int
    in_progress_at: int | None
    finalizing_at: int | None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None
    request_counts: RequestCounts
    metadata: dict[str, str] | None
    usage: BatchUsage
    aigrid: BatchCost


class BatchList(Struct):
    """A page of batches, newest first; the next begins `after` the last id."""

    object: Literal["list"]
    data: list[BatchObject]
    first_id: str | None
    last_id: str | None
    has_more: bool


class BatchQuote(Struct):
    """What a batch of a file would take at most, or why it would fail."""

    object: Literal["batch.quote"]
    requests: int
    completion_tokens_bound: int
    cost_bound_nusd: int
    errors: BatchErrors | None


PATHS: list[tuple[Literal["get", "post", "delete"], str, str, type[Struct], type[Struct] | None, dict[str, Any]]] = [
    ("get", "/v1/files", "List files", FileList, None, FILES_QUERY),
    ("get", "/v1/files/{file_id}", "Describe a file", FileObject, None, {}),
    ("delete", "/v1/files/{file_id}", "Erase a file", FileDeleted, None, {}),
    ("get", "/v1/batches", "List batches", BatchList, None, _PAGE),
    ("post", "/v1/batches", "Make a batch", BatchObject, BatchBody, {}),
    ("post", "/v1/batches/quote", "Ask what a batch would cost at most", BatchQuote, QuoteBody, {}),
    ("get", "/v1/batches/{batch_id}", "See how far a batch is", BatchObject, None, {}),
    ("post", "/v1/batches/{batch_id}/cancel", "Cancel a batch", BatchObject, None, {}),
]
UPLOAD = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["purpose", "file"],
                "properties": {
                    "purpose": {"enum": ["batch"]},
                    "file": {"type": "string", "format": "binary", "minLength": 1},
                    "expires_after[anchor]": {"enum": ["created_at"]},
                    "expires_after[seconds]": {"type": "integer", "minimum": 3600, "maximum": 2_592_000},
                },
            }
        }
    },
}
CONTENT = {
    "description": "The file's bytes.",
    "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
}
