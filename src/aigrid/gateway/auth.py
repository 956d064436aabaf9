"""Who is asking: the key in the request's headers."""

from aigrid.core.errors import Unauthorized
from aigrid.gateway.http import Request
from aigrid.ledger.base import Key, Ledger


def secret_of(request: Request) -> str:
    """Return the secret from `Authorization: Bearer` or `x-api-key`; raises `Unauthorized` where there is none."""
    headers = request.headers
    value = headers.get(b"authorization", b"")
    if value[:7].lower() == b"bearer ":
        return value[7:].strip().decode("latin-1")
    value = headers.get(b"x-api-key", b"")
    if value:
        return value.strip().decode("latin-1")
    raise Unauthorized(
        "no API key: send it as 'Authorization: Bearer KEY'; make one with 'aigrid keys create --tenant NAME'",
        code="missing_api_key",
    )


async def authenticate(request: Request, ledger: Ledger) -> Key:
    """Return the live key of a request; raises `Unauthorized`. Known keys cost no database access."""
    secret = secret_of(request)
    key = ledger.authenticate(secret) or await ledger.lookup(secret)
    if key is None:
        shown = f"…{secret[-4:]}" if len(secret) > 12 else "given"
        raise Unauthorized(f"the API key {shown} is not valid: it is unknown, mistyped or revoked")
    return key
