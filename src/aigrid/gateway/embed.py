"""`/v1/embeddings`: one request, one hold, one settlement."""

from typing import TYPE_CHECKING

from aigrid.core.clock import mono_ns
from aigrid.core.errors import BadRequest, Unavailable, UpstreamError, UpstreamTimeout
from aigrid.core.ids import new_id
from aigrid.engines.base import Embeddings, Usage
from aigrid.gateway.auth import authenticate
from aigrid.gateway.generate import cost_headers, until_gone
from aigrid.gateway.http import JSON, ClientGone, Request, Response
from aigrid.gateway.wire import embeddings
from aigrid.ledger.base import Order, Outcome

if TYPE_CHECKING:
    from aigrid.gateway.app import Gateway


async def embed(gateway: "Gateway", request: Request) -> Response:
    """Answer an embeddings request; raises `BadRequest` where the model makes none."""
    begin = mono_ns()
    key = await authenticate(request, gateway.ledger)
    parsed = embeddings.parse(await request.json(gateway.max_body), new_id("req_"))
    parsed.request.hops = request.hops
    route = gateway.router.route(parsed.request.model)
    engines = [
        engine for engine in route.engines if any(m.embeddings for m in engine.models() if m.id == route.model.id)
    ]
    if not engines:
        others = ", ".join(model.id for model in gateway.router.models() if model.embeddings)
        hint = f"name one that does: {others}" if others else "add an upstream that serves one that does"
        raise BadRequest(
            f"the model '{route.model.id}' makes no embeddings; {hint}", param="model", code="model_not_supported"
        )
    inputs = parsed.request.inputs
    bound = sum(len(item.encode()) + 8 if isinstance(item, str) else len(item) + 8 for item in inputs)
    await gateway.gate.enter()
    try:
        order = Order(parsed.request.id, key, route.model.id, engines[0].site, parsed.tier, bound, 0)
        hold = await gateway.ledger.hold(order)
        made = Embeddings([], Usage())
        site = order.site
        outcome: Outcome = "failed"

        async def work() -> None:
            nonlocal made, site
            for engine in engines:
                site = engine.site
                try:
                    made = await engine.embed(parsed.request)
                    return
                except (UpstreamError, Unavailable):
                    gateway.router.failed(engine)
                    if engine is engines[-1]:
                        raise

        try:
            await until_gone(request, work(), lambda: None)
            hold.count_prompt(made.usage.prompt_tokens)
            outcome = "finished"
        except ClientGone:
            outcome = "client_gone"
            raise
        except UpstreamTimeout:
            outcome = "timeout"
            raise
        finally:
            settlement = gateway.ledger.settle(hold, outcome, site=site, usage_source=made.usage.source)
            gateway.metrics.settled(
                route.model.id, site, order.tier, outcome, settlement,
                duration_ns=mono_ns() - begin, first_ns=0, overhead_ns=0,
            )  # fmt: skip
    finally:
        gateway.gate.leave()
    body = await embeddings.encode(parsed, made)
    request_id = order.request_id.encode()
    headers = [JSON, (b"x-request-id", request_id), (b"x-aigrid-site", site.encode("latin-1", "replace"))]
    return Response(body, headers=[*headers, *cost_headers(settlement)])
