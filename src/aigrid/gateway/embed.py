"""`/v1/embeddings`: one request, one hold, one settlement."""

from typing import TYPE_CHECKING

from aigrid.core.errors import BadRequest
from aigrid.core.ids import new_id
from aigrid.engines.base import Embeddings
from aigrid.gateway.auth import authenticate
from aigrid.gateway.generate import cost_headers, until_gone
from aigrid.gateway.http import ClientGone, Request, Response
from aigrid.gateway.wire import embeddings
from aigrid.ledger.base import Order, Outcome

if TYPE_CHECKING:
    from aigrid.gateway.app import Gateway


async def embed(gateway: "Gateway", request: Request) -> Response:
    """Answer an embeddings request; raises `BadRequest` where no embedding model is loaded."""
    key = await authenticate(request, gateway.ledger)
    parsed = embeddings.parse(await request.json(gateway.max_body), new_id("req_"))
    route = gateway.router.route(parsed.request.model)
    if not route.model.embeddings:
        others = ", ".join(model.id for model in gateway.router.models() if model.embeddings)
        hint = f"name one that does: {others}" if others else "add an upstream that serves one that does"
        raise BadRequest(
            f"the model '{route.model.id}' makes no embeddings; {hint}", param="model", code="model_not_supported"
        )
    inputs = parsed.request.inputs
    bound = sum(len(item.encode()) + 8 if isinstance(item, str) else len(item) + 8 for item in inputs)
    await gateway.gate.enter()
    try:
        site: str = getattr(route.engines[0], "site", route.engines[0].name)
        order = Order(parsed.request.id, key, route.model.id, site, "fast", bound, 0)
        hold = await gateway.ledger.hold(order)
        outcome: Outcome = "failed"
        made: list[Embeddings] = []
        left: list[bool] = []

        async def work() -> None:
            made.append(await route.engines[0].embed(parsed.request))

        try:
            await until_gone(request, work(), lambda: left.append(True))
            hold.count_prompt(made[0].usage.prompt_tokens)
            outcome = "finished"
        except ClientGone:
            outcome = "client_gone"
            raise
        finally:
            source = made[0].usage.source if made else "counted"
            settlement = gateway.ledger.settle(hold, outcome, site=order.site, usage_source=source)
    finally:
        gateway.gate.leave()
    body = embeddings.encode(parsed, made[0])
    headers = [(b"x-request-id", order.request_id.encode()), *cost_headers(settlement)]
    return Response(body, headers=[(b"content-type", b"application/json"), *headers])
