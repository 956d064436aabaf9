"""The published description of the API, made from the types that check requests."""

import functools
import re
from typing import Any, Literal

import msgspec
from msgspec import Struct

from aigrid import __version__
from aigrid.gateway import openapi_batches as batches
from aigrid.gateway import openapi_knowledge as known
from aigrid.gateway import openapi_shapes as shapes
from aigrid.gateway.ask import AskBody
from aigrid.gateway.knowledge import SearchBody
from aigrid.gateway.wire.chat import ChatBody
from aigrid.gateway.wire.completions import CompletionBody
from aigrid.gateway.wire.embeddings import MAX_INPUTS, EmbeddingBody
from aigrid.gateway.wire.messages import CountBody, MessageBody
from aigrid.gateway.wire.responses import ResponseBody
from aigrid.gateway.wire.responses_input import CallItem, MessageItem, OutputItem, ReasoningItem

_FAILURES = {
    400: "The request is malformed or asks for what cannot be; `param` names the field.",
    401: "No API key, or one that is unknown or revoked.",
    403: "The key may not do this.",
    404: "The model, or the path, does not exist here.",
    405: "The path exists, the method does not.",
    413: "The request body is too large.",
    429: "A rate limit, a budget or the queue is full; `Retry-After` says when to try again.",
    500: "A defect of the gateway.",
    502: "The engine failed.",
    409: "It contradicts what is there; look at it again.",
    503: "The engine or the ledger is down or starting.",
    508: "Gateways name each other as upstreams.",
    504: "The engine did not answer in time.",
}
_TEXT = {"type": "string", "minLength": 1}
_TOKEN = {"type": "integer", "minimum": 0, "maximum": 2**31 - 1}
_READS = (401, 403, 404, 405, 500)
_LISTS = (400, *_READS, 503)


class _Post(Struct):
    """An endpoint that takes a JSON body."""

    path: str
    summary: str
    body: type[Struct]
    answer: type[Struct]
    streams: bool = True
    error: type[Struct] = shapes.Error


class _Get(Struct):
    """An endpoint that only reads."""

    path: str
    summary: str
    answer: type[Struct]
    public: bool = False
    failures: tuple[int, ...] = _READS
    query: dict[str, dict[str, Any]] = {}


class Described(Struct, eq=False):
    """An endpoint that something above the gateway registered: its types, its parameters, the status when all is well.

    `malformed` is the shape of a 400.
    """

    method: Literal["get", "post", "patch", "delete"]
    path: str
    summary: str
    answer: type[Struct]
    body: type[Struct] | None = None
    status: int = 200
    query: dict[str, dict[str, Any]] = {}
    public: bool = False
    malformed: type[Struct] = shapes.Error


_POSTS = [
    _Post("/v1/chat/completions", "Chat", ChatBody, shapes.ChatCompletion),
    _Post("/v1/completions", "Complete a text", CompletionBody, shapes.Completion),
    _Post("/v1/responses", "Chat, in the shape of Responses", ResponseBody, shapes.ResponseObject),
    _Post("/v1/messages", "Chat, in Anthropic's shape", MessageBody, shapes.MessageObject, True, shapes.AnthropicError),
    _Post("/v1/messages/count_tokens", "Count tokens", CountBody, shapes.TokenCount, False, shapes.AnthropicError),
    _Post("/v1/embeddings", "Embed texts", EmbeddingBody, shapes.EmbeddingList, False),
    _Post("/v1/knowledge/search", "Find passages of the documents", SearchBody, known.PassageList, False),
    _Post("/v1/knowledge/ask", "Answer from the documents, with citations", AskBody, known.KnowledgeAnswer),
]
_GETS = [
    _Get("/v1/models", "List models", shapes.ModelList),
    _Get("/v1/models/{model}", "Describe a model", shapes.Model),
    _Get("/v1/knowledge/sources", "List documents", known.SourceList, failures=_LISTS, query=known.PAGING),
    _Get("/v1/knowledge/sources/{id}", "Read a document", known.SourceText, failures=_LISTS, query=known.PLACE),
    _Get("/health/live", "Is the process alive?", shapes.Live, True, (405, 500)),
    _Get("/health/ready", "Can it answer requests?", shapes.Ready, True, (405, 500)),
    _Get("/", "Where to look next", shapes.About, True, (405, 500)),
]


_BATCHES = [
    Described(method, path, summary, answer, body, query=query)
    for method, path, summary, answer, body, query in batches.PATHS
]


@functools.cache
def document(more: tuple[Described, ...] = ()) -> bytes:
    """Return the OpenAPI 3.1 document as JSON, `more` endpoints in it."""
    return msgspec.json.encode(_document((*_BATCHES, *more)))


def _document(more: tuple[Described, ...]) -> dict[str, Any]:
    types: list[Any] = [t for post in _POSTS for t in (post.body, post.answer, post.error)] + [
        get.answer for get in _GETS
    ]
    types += [kind for each in more for kind in (each.body, each.answer) if kind is not None]
    items: list[Any] = [MessageItem, CallItem, OutputItem, ReasoningItem]
    types = list(dict.fromkeys([*types, *items, known.McpMessage]))
    references, schemas = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    refer = dict(zip(types, references, strict=True))
    schemas["MessageItem"]["required"].remove("type")
    schemas["ResponseBody"]["properties"]["input"] = {
        "anyOf": [{"type": "string"}, _array({"anyOf": [refer[item] for item in items]})]
    }
    schemas["CompletionBody"]["properties"]["prompt"] = {
        "anyOf": [_TEXT, _array(_TOKEN), _array({"anyOf": [_TEXT, _array(_TOKEN)]}, 1)]
    }
    schemas["EmbeddingBody"]["properties"]["input"] = {
        "anyOf": [_TEXT, *(_array(item, MAX_INPUTS) for item in (_TEXT, _TOKEN, _array(_TOKEN)))]
    }
    paths = {post.path: {"post": _post(post, refer)} for post in _POSTS}
    paths |= {get.path: {"get": _get(get, refer)} for get in _GETS}
    for each in more:
        paths.setdefault(each.path, {})[each.method] = _registered(each, refer)
    paths["/v1/files"]["post"] = _upload(refer[batches.FileObject], refer[shapes.Error])
    listed = paths["/v1/files/{file_id}"]["get"]
    paths["/v1/files/{file_id}/content"] = {
        "get": {
            **listed,
            "summary": "Read a file",
            "operationId": _name("get", "/v1/files/{file_id}/content"),
            "responses": {**listed["responses"], "200": batches.CONTENT},
        }
    }
    cancel = paths["/v1/batches/{batch_id}/cancel"]["post"]["responses"]
    cancel["409"] = _answer(_FAILURES[409], refer[shapes.Error])
    paths["/health/ready"]["get"]["responses"]["503"] = _answer("Not now.", refer[shapes.Ready])
    paths["/mcp"] = {"post": known.mcp(_name("post", "/mcp"), refer[known.McpMessage])}
    paths["/metrics"] = {"get": _text("Measurements for Prometheus", "text/plain")}
    paths["/openapi.json"] = {"get": _text("This document", "application/json", {"type": "object"})}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "aigrid",
            "version": __version__,
            "description": "An AI factory's door: OpenAI's and Anthropic's APIs in front of every engine.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "apiKey": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
        },
        "security": [{"bearer": []}, {"apiKey": []}],
    }


def _post(post: _Post, refer: dict[Any, dict[str, Any]]) -> dict[str, Any]:
    good = _answer("The answer.", refer[post.answer])
    if post.streams:
        good["content"]["text/event-stream"] = {}
        good["description"] = "The answer: one object, or events where `stream` is true."
    good["headers"] = {
        name: {"description": text, "schema": {"type": "string"}}
        for name, text in {
            "x-request-id": "The request's id, also on the ledger.",
            "x-aigrid-cost-nusd": "What it cost, in nano-dollars; not on streams, which say it in their last event.",
            "x-aigrid-energy-mj": "Energy attributed to it, in millijoules.",
            "x-aigrid-energy-source": "How energy was measured.",
            "x-aigrid-gateway-us": "The gateway's own share of the latency, in microseconds.",
            "x-aigrid-routed": "How a router chose the model, where one did.",
        }.items()
    }
    failures = {str(status): _answer(text, refer[post.error]) for status, text in _FAILURES.items()}
    failures["429"]["headers"] = {"retry-after": {"description": "In seconds.", "schema": {"type": "integer"}}}
    return {
        "summary": post.summary,
        "operationId": _name("post", post.path),
        "requestBody": {"required": True, "content": {"application/json": {"schema": refer[post.body]}}},
        "responses": {"200": good, **failures},
    }


def _get(get: _Get, refer: dict[Any, dict[str, Any]]) -> dict[str, Any]:
    failures = {str(status): _answer(_FAILURES[status], refer[shapes.Error]) for status in get.failures}
    operation: dict[str, Any] = {
        "summary": get.summary,
        "operationId": _name("get", get.path),
        "responses": {"200": _answer("The answer.", refer[get.answer]), **failures},
        **_parameters(get.path, get.query),
    }
    if get.public:
        operation["security"] = []
    return operation


def _registered(each: Described, refer: dict[Any, dict[str, Any]]) -> dict[str, Any]:
    statuses = (*_LISTS, *((409, 413) if each.body is not None else ()))
    failures = {str(status): _answer(_FAILURES[status], refer[shapes.Error]) for status in statuses}
    failures["400"] = _answer(_FAILURES[400], refer[each.malformed])
    body = {"required": True, "content": {"application/json": {"schema": refer[each.body]}}} if each.body else None
    return {
        "summary": each.summary,
        "operationId": _name(each.method, each.path),
        **({"requestBody": body} if body else {}),
        "responses": {str(each.status): _answer("The answer.", refer[each.answer]), **failures},
        **_parameters(each.path, each.query),
        **({"security": []} if each.public else {}),
    }


def _upload(answer: dict[str, Any], error: dict[str, Any]) -> dict[str, Any]:
    failures = {str(status): _answer(_FAILURES[status], error) for status in (*_LISTS, 413)}
    return {
        "summary": "Upload a file",
        "operationId": _name("post", "/v1/files"),
        "requestBody": batches.UPLOAD,
        "responses": {"200": _answer("The answer.", answer), **failures},
    }


def _parameters(path: str, query: dict[str, dict[str, Any]]) -> dict[str, Any]:
    found: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in re.findall(r"{(\w+)}", path)
    ]
    found += [{"name": name, "in": "query", "schema": schema} for name, schema in query.items()]
    return {"parameters": found} if found else {}


def _text(summary: str, media: str, schema: dict[str, Any] | None = None) -> dict[str, Any]:
    content = {media: {"schema": schema or {"type": "string"}}}
    return {
        "summary": summary,
        "operationId": _name("get", summary),
        "security": [],
        "responses": {"200": {"description": summary, "content": content}},
    }


def _answer(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _array(items: dict[str, Any], most: int | None = None) -> dict[str, Any]:
    schema = {"type": "array", "minItems": 1, "items": items}
    return schema if most is None else {**schema, "maxItems": most}


def _name(method: str, path: str) -> str:
    words = "".join(c if c.isalnum() else " " for c in path).split()
    return "_".join([method, *(word.lower() for word in words)])
