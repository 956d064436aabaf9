"""Constrained output: what a grammar or a set of tools means to XGrammar, checked before it meets the model.

A grammar that XGrammar refuses would throw in the middle of a step and leave the pipeline unusable for everyone.
So each new grammar first runs on a model of one layer with random (zero) weights and the real tokenizer: what
throws there costs 60 ms and one request; what passes is compiled already, for both share one compiler.
"""

import json
import re
import struct
import tempfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import openvino_genai as genai

from aigrid.core.errors import BadRequest
from aigrid.engines.base import GenerateRequest, Grammar
from aigrid.engines.openvino_pattern import LARGEST_REPEAT, Patterns
from aigrid.engines.openvino_schema import bounded
from aigrid.engines.openvino_text import CALL_BEGIN, CALL_END

_LARGEST_TEXT = 64 << 10
_BOUNDS = ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties")
_REMEMBERED = 1024

_JSON_OBJECT = r"""
root ::= object
value ::= object | array | string | number | "true" | "false" | "null"
object ::= "{" (member (", " member)*)? "}"
member ::= string ": " value
array ::= "[" (value (", " value)*)? "]"
string ::= "\"" ([^"\\\x00-\x1f] | "\\" (["\\/bfnrt] | "u" [0-9a-fA-F] [0-9a-fA-F] [0-9a-fA-F] [0-9a-fA-F]))* "\""
number ::= "-"? ("0" | [1-9] [0-9]*) ("." [0-9]+)? ([eE] [+-]? [0-9]+)?
"""
"""Any JSON object, written in one way: small models lose themselves where white space is free."""

_Config = genai.StructuredOutputConfig


def named_tool(request: GenerateRequest) -> str | None:
    """Return the name of the function that `tool_choice` demands, or None."""
    choice = request.tool_choice
    if isinstance(choice, dict):
        function = choice.get("function")
        name = function.get("name") if isinstance(function, dict) else choice.get("name")
        return name if isinstance(name, str) else None
    return None


def uses_tools(request: GenerateRequest) -> bool:
    """Whether an answer to this request may be a tool call."""
    return bool(request.tools) and request.tool_choice != "none" and request.messages is not None


def constraint(request: GenerateRequest) -> tuple[str, Any] | None:
    """Return (key, XGrammar configuration) of what the request demands, or None; the key names it for the memory.

    Calls follow their schemas unless their tools say `strict: false`; where all do and none is demanded, nothing is.
    """
    if uses_tools(request):
        return _tools(request)
    return _plain(request.grammar) if request.grammar else None


def _plain(grammar: Grammar) -> tuple[str, Any]:
    if len(grammar.value) > _LARGEST_TEXT:
        raise BadRequest(f"the grammar has {len(grammar.value):,} characters; {_LARGEST_TEXT:,} is the most",
                         param="response_format")  # fmt: skip
    if grammar.kind == "regex":
        Patterns().add(grammar.value, "response_format")
        return f"regex {grammar.value}", _Config(regex=grammar.value)
    if grammar.kind == "json":
        return "json", _Config(grammar=_JSON_OBJECT)
    _check_bounds(_parse(grammar.value), Patterns(), "response_format")
    return f"schema {grammar.value}", _Config(json_schema=grammar.value)


def _parse(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise BadRequest(f"the JSON schema is not JSON: {error}", param="response_format") from error


def _check_bounds(schema: Any, patterns: Patterns, param: str) -> None:
    stack = [schema]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            for key in _BOUNDS:
                bound = item.get(key)
                if isinstance(bound, int | float) and bound > LARGEST_REPEAT:
                    raise BadRequest(f"{key} is {bound:,}; {LARGEST_REPEAT:,} is the most", param=param)
            if isinstance(pattern := item.get("pattern"), str):
                patterns.add(pattern, param)
            if isinstance(by_pattern := item.get("patternProperties"), dict):
                for pattern in by_pattern:
                    patterns.add(pattern, param)
            stack += item.values()
        elif isinstance(item, list):
            stack += item


def _tools(request: GenerateRequest) -> tuple[str, Any] | None:
    wanted = named_tool(request)
    forced = wanted is not None or request.tool_choice == "required"
    if not forced and all(_loose(tool) for tool in request.tools):
        return None
    tags, names, patterns = [], [], Patterns()
    for index, tool in enumerate(request.tools):
        function = tool.get("function", tool)
        name = function.get("name") if isinstance(function, dict) else None
        if not isinstance(name, str) or not name:
            raise BadRequest(f"tools[{index}] has no function name", param=f"tools[{index}].function.name")
        names.append(name)
        if wanted in (None, name):
            schema = {"type": "object"} if _loose(tool) else function.get("parameters") or {"type": "object"}
            _check_bounds(schema, patterns, f"tools[{index}].function.parameters")
            begin = f'{CALL_BEGIN}\n{{"name": {json.dumps(name)}, "arguments": '
            finite = bounded(schema, _room(request.max_tokens) - len(begin) // 2)
            content = _Config.EBNF(finite) if finite else _Config.JSONSchema(json.dumps(schema))
            tags.append(_Config.Tag(begin=begin, content=content, end=f"}}\n{CALL_END}"))
    if not tags:
        raise BadRequest(f"tool_choice names `{wanted}`, which is not among the tools: {', '.join(names)}",
                         param="tool_choice")  # fmt: skip
    text = json.dumps([forced, wanted, request.tools, _room(request.max_tokens)])
    if len(text) > _LARGEST_TEXT:
        raise BadRequest(f"the tools take {len(text):,} characters; {_LARGEST_TEXT:,} is the most", param="tools")
    structure = _Config.TriggeredTags(triggers=[CALL_BEGIN], tags=tags, at_least_one=forced, stop_after_first=True)
    return f"tools {text}", _Config(structural_tags_config=structure)


def _room(tokens: int) -> int:
    """Return the tokens a call may take: a power of two, so that requests that differ little share a grammar."""
    return 1 << max(tokens, 1).bit_length() - 1


def _loose(tool: dict[str, Any]) -> bool:
    function = tool.get("function", tool)
    return isinstance(function, dict) and function.get("strict") is False


class GrammarCheck:
    """Tries grammars on a throw-away model. `vocabulary` is the width of the real model's logits."""

    def __init__(self, tokenizer: Any, vocabulary: int) -> None:
        self._tokenizer = tokenizer
        self._vocabulary = vocabulary
        self._pipeline: Any = None
        self._verdicts: OrderedDict[str, str] = OrderedDict()
        self._next = 0

    def check(self, key: str, config: Any, param: str) -> None:
        """Raise `BadRequest` with XGrammar's reason if it refuses the grammar."""
        if key in self._verdicts:
            self._verdicts.move_to_end(key)
        else:
            self._verdicts[key] = self._try(config)
            if len(self._verdicts) > _REMEMBERED:
                self._verdicts.popitem(last=False)
        if verdict := self._verdicts[key]:
            raise BadRequest(f"this grammar cannot be enforced: {verdict}", param=param, code="unsupported_grammar")

    def _try(self, config: Any) -> str:
        if self._pipeline is None:
            self._pipeline = self._build()
        settings = genai.GenerationConfig(max_new_tokens=1, structured_output_config=config)
        settings.set_eos_token_id(self._tokenizer.get_eos_token_id())
        self._next += 1
        try:
            handle = self._pipeline.add_request(self._next, ov.Tensor(np.array([[0]], dtype=np.int64)), settings)
            self._pipeline.step()
            del handle
        except RuntimeError as error:
            self._pipeline = None  # a step that threw leaves it unusable
            return _reason(str(error))
        return ""

    def _build(self) -> Any:
        scheduler = genai.SchedulerConfig()
        scheduler.num_kv_blocks = 4
        scheduler.enable_prefix_caching = False
        with tempfile.TemporaryDirectory(prefix="aigrid-grammar-") as folder:
            path = Path(folder, "tiny.gguf")
            _write_tiny_model(path, self._vocabulary)
            return genai.ContinuousBatchingPipeline(path, self._tokenizer, scheduler, "CPU")


def _reason(error: str) -> str:
    lines = [line for line in error.strip().splitlines() if line.strip()]
    text = re.sub(r"^.*\.(?:cc|cpp|h|hpp):\d+:\s*", "", lines[-1] if lines else "no reason given")
    return re.sub(r"^Check failed: .* is false: ", "", text)[:300]


def _write_tiny_model(path: Path, vocabulary: int, width: int = 64) -> None:
    """Write a GGUF of one Llama layer whose weights are all zero."""
    settings: dict[str, str | int | float] = {
        "general.architecture": "llama",
        "general.file_type": 1,
        "llama.block_count": 1,
        "llama.context_length": 64,
        "llama.embedding_length": width,
        "llama.feed_forward_length": width,
        "llama.attention.head_count": 1,
        "llama.attention.head_count_kv": 1,
        "llama.rope.freq_base": 10_000.0,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
    }
    tensors = {"token_embd": (width, vocabulary), "output_norm": (width,)}
    tensors |= {f"blk.0.{name}_norm": (width,) for name in ("attn", "ffn")}
    square = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
    tensors |= {f"blk.0.{name}": (width, width) for name in square}

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(settings))
    for key, value in settings.items():
        head += text(key)
        if isinstance(value, str):
            head += struct.pack("<I", 8) + text(value)
        else:
            head += struct.pack("<If", 6, value) if isinstance(value, float) else struct.pack("<II", 4, value)
    size = 0
    for name, shape in tensors.items():
        kind, item = (1, 2) if len(shape) == 2 else (0, 4)
        head += text(f"{name}.weight") + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, size)
        size += -(-int(np.prod(shape)) * item // 32) * 32
    path.write_bytes(head + b"\0" * (-len(head) % 32) + b"\0" * size)
