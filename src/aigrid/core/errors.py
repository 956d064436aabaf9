"""The one error tree.

Every error that a user can see is an `AigridError`: on the wire it becomes OpenAI's
`{"error": {"message", "type", "param", "code"}}` with the class's HTTP status; on a terminal it is one
sentence. A message says what was wrong, where, and what to do.
"""

from typing import ClassVar


class AigridError(Exception):
    """Base of all errors meant for a user.

    `param` names the request field or setting at fault, `code` is the stable machine-readable name,
    `retry_after` is in seconds and becomes the `Retry-After` header.
    """

    status: ClassVar[int] = 500
    type: ClassVar[str] = "server_error"
    default_code: ClassVar[str | None] = None

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code if code is not None else self.default_code
        self.retry_after = retry_after


class ConfigError(AigridError):
    """A setting is unknown, malformed or contradicts another."""

    default_code = "bad_configuration"


class BadRequest(AigridError):
    """The request is malformed or asks for what cannot be; `param` names the field."""

    status = 400
    type = "invalid_request_error"


class Refused(AigridError):
    """The guard does not let this in or out; the message says what was found, and does not repeat it."""

    status = 400
    type = "invalid_request_error"
    default_code = "content_refused"


class Unauthorized(AigridError):
    """No key, or a key that is unknown or revoked."""

    status = 401
    type = "invalid_request_error"
    default_code = "invalid_api_key"


class Forbidden(AigridError):
    """The key is good but may not do this."""

    status = 403
    type = "permission_error"
    default_code = "insufficient_permissions"


class NotFound(AigridError):
    """What was named does not exist here."""

    status = 404
    type = "invalid_request_error"
    default_code = "not_found"


class MethodNotAllowed(AigridError):
    """The path exists, the method does not; `allow` becomes the `Allow` header."""

    allow: str = ""

    status = 405
    type = "invalid_request_error"
    default_code = "method_not_allowed"


class Conflict(AigridError):
    """The thing is already there, or is in use by another process."""

    status = 409
    type = "invalid_request_error"
    default_code = "conflict"


class TooLarge(AigridError):
    """The request body is larger than the gateway takes."""

    status = 413
    type = "invalid_request_error"
    default_code = "request_too_large"


class RequestTimeout(AigridError):
    """The client took too long to send its request."""

    status = 408
    type = "invalid_request_error"
    default_code = "request_timeout"


class HeadTooLarge(AigridError):
    """Request line and headers are longer than this gateway takes."""

    status = 431
    type = "invalid_request_error"
    default_code = "head_too_large"


class RateLimited(AigridError):
    """A rate limit or the bounded queue is full; try again after `retry_after` seconds."""

    status = 429
    type = "requests"
    default_code = "rate_limit_exceeded"


class BudgetExceeded(AigridError):
    """The hold for this request does not fit into what is left of a budget."""

    status = 429
    type = "insufficient_quota"
    default_code = "insufficient_quota"


class UpstreamError(AigridError):
    """An engine or upstream server failed; nothing more can be had from it for this request."""

    status = 502
    type = "upstream_error"
    default_code = "upstream_error"


class UpstreamTimeout(UpstreamError):
    """An engine or upstream server did not answer in time."""

    status = 504
    default_code = "upstream_timeout"


class LoopDetected(AigridError):
    """The request has passed too many gateways: some of them name each other as upstreams."""

    status = 508
    default_code = "loop_detected"


class Unavailable(AigridError):
    """A part of the factory is down or starting; try again soon."""

    status = 503
    type = "service_unavailable"
    default_code = "unavailable"


class EngineDied(Unavailable):
    """The engine process died while it worked on this request."""

    default_code = "engine_died"


class LedgerUnavailable(Unavailable):
    """The ledger's database cannot be reached, and this request needs it."""

    default_code = "ledger_unavailable"
