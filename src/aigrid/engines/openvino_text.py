"""From token ids to text: whole characters, stop strings, reasoning and tool calls, as they come.

`Vocabulary` knows what bytes a token stands for, `TextStream` turns a choice's tokens into text that never holds
half a character, `Scanner` splits that text into what the client sees and finds where it ends.
"""

import codecs
import json
import re
from typing import Any, Protocol

import msgspec

from aigrid.core.ids import new_id
from aigrid.engines.base import ToolCall

CALL_BEGIN, CALL_END = "<tool_call>", "</tool_call>"
THINK_BEGIN, THINK_END = "<think>", "</think>"
_KEPT = {text.encode() for text in (CALL_BEGIN, CALL_END, THINK_BEGIN, THINK_END)}
_PROBE = "Hello, wörld! 日本語 🎉\n\tdef f(x): return x*2  # 12345 <b>é</b> don't"


class Tokenizer(Protocol):
    """The part of openvino_genai's tokenizer that is used here."""

    def decode(self, tokens: Any, skip_special_tokens: bool = True) -> Any: ...  # noqa: D102
    def get_vocab(self) -> dict[bytes, int]: ...  # noqa: D102
    def encode(self, prompt: str, add_special_tokens: bool = True) -> Any: ...  # noqa: D102


class Vocabulary:
    """The bytes of each token, where the tokenizer works byte by byte; else `pieces` is None.

    Special tokens are empty bytes, except the tags that this module itself looks for.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.pieces: list[bytes] | None = self._pieces()

    def _pieces(self) -> list[bytes] | None:
        try:
            vocabulary = self.tokenizer.get_vocab()
        except (RuntimeError, UnicodeDecodeError):
            return None
        size = max(vocabulary.values()) + 1
        pieces = [b""] * size
        for piece, token in vocabulary.items():
            pieces[token] = piece
        shown = self.tokenizer.decode([[token] for token in range(size)])
        for token, text in enumerate(shown):
            if not text and pieces[token] not in _KEPT and _is_text(pieces[token]):
                pieces[token] = b""
        ids = [int(token) for token in self.tokenizer.encode(_PROBE, add_special_tokens=False).input_ids.data[0]]
        same = b"".join(pieces[token] for token in ids).decode(errors="replace") == self.tokenizer.decode(ids)
        return pieces if same else None

    def text(self, token: int) -> str:
        """Return one token as text, with U+FFFD for half characters."""
        if self.pieces is None:
            return str(self.tokenizer.decode([token]))
        return self.pieces[token].decode(errors="replace") if token < len(self.pieces) else ""

    def stream(self) -> "TextStream":
        """Return a new stream for one choice."""
        return ByteStream(self.pieces) if self.pieces is not None else WindowStream(self.tokenizer)


class TextStream(Protocol):
    """Turns one choice's tokens into text."""

    def push(self, tokens: list[int]) -> str:
        """Take the next tokens and return the characters now complete."""

    def finish(self) -> str:
        """Return what is left at the end: U+FFFD for an incomplete character."""


class ByteStream:
    """The fast way: a table of bytes and an incremental UTF-8 decoder."""

    def __init__(self, pieces: list[bytes]) -> None:
        self._pieces = pieces
        self._size = len(pieces)
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode

    def push(self, tokens: list[int]) -> str:
        """Take the next tokens and return the characters now complete."""
        if len(tokens) == 1 and tokens[0] < self._size:
            return self._decode(self._pieces[tokens[0]])
        return self._decode(b"".join(self._pieces[token] for token in tokens if token < self._size))

    def finish(self) -> str:
        """Return what is left at the end."""
        return self._decode(b"", True)


class WindowStream:
    """The way that works for every tokenizer: decode a window again and take what has grown."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._window: list[int] = []
        self._settled = 0
        self._text = ""

    def push(self, tokens: list[int]) -> str:
        """Take the next tokens and return the characters now complete."""
        self._window += tokens
        text = str(self._tokenizer.decode(self._window))
        if text.endswith("�") or len(text) <= len(self._text):
            return ""
        fresh = text[len(self._text) :]
        self._window = self._window[self._settled :]
        self._settled = len(self._window)
        self._text = str(self._tokenizer.decode(self._window)) if self._window else ""
        return fresh

    def finish(self) -> str:
        """Return what is left at the end."""
        text = str(self._tokenizer.decode(self._window)) if self._window else ""
        return text[len(self._text) :]


class Piece(msgspec.Struct, gc=False):
    """What a bit of text came to: for the client, of its reasoning, of a tool call; `stop` is the string it stopped at."""

    text: str = ""
    reasoning: str = ""
    calls: list[ToolCall] = []
    stop: str | None = None


class Scanner:
    """Splits a choice's text; holds back the least that could still become a stop string or a tag."""

    def __init__(self, stops: list[str], *, tools: bool = False, think: bool = False) -> None:
        self._stops = stops
        self._tags = [CALL_BEGIN] * tools + [THINK_BEGIN] * think
        self.plain = not (stops or self._tags)
        self._mode = "text"
        self._held = ""
        self._call: _Call | None = None
        self.called = 0

    @property
    def thinking(self) -> bool:
        """Whether the text now coming is reasoning."""
        return self._mode == "think"

    @property
    def call(self) -> tuple[str, str] | None:
        """Return name and arguments, as far as they have come, of the call now coming."""
        return (self._call.name, self._call.text) if self._call and self._call.begun and not self._held else None

    def push(self, text: str, *, last: bool = False) -> Piece:
        """Take the next text; `last` gives back what was held."""
        piece = Piece(calls=[])
        self._held += text
        while self._held and piece.stop is None:
            before = (self._mode, len(self._held))
            {"text": self._push_text, "think": self._push_think, "call": self._push_call}[self._mode](piece, last)
            if before == (self._mode, len(self._held)):
                break
        return piece

    def _push_text(self, piece: Piece, last: bool) -> None:
        marks = self._stops + self._tags
        at, mark = _earliest(self._held, marks)
        if mark is None:
            keep = 0 if last else _overlap(self._held, marks)
            cut = len(self._held) - keep
            piece.text += self._held[:cut]
            self._held = self._held[cut:]
        elif mark in self._stops:
            piece.text += self._held[:at]
            piece.stop, self._held = mark, ""
        else:
            piece.text += self._held[:at].rstrip() if mark == CALL_BEGIN else self._held[:at]
            self._held = self._held[at + len(mark) :]
            self._mode = "call" if mark == CALL_BEGIN else "think"

    def _push_think(self, piece: Piece, last: bool) -> None:
        at, mark = _earliest(self._held, [THINK_END])
        if mark is None:
            cut = len(self._held) - (0 if last else _overlap(self._held, [THINK_END]))
            piece.reasoning += self._held[:cut]
            self._held = self._held[cut:]
        else:
            piece.reasoning += self._held[:at]
            self._held = self._held[at + len(mark) :].lstrip("\n")
            self._mode = "text"

    def _push_call(self, piece: Piece, last: bool) -> None:
        if self._call is None:
            self._call = _Call(self.called)
        at = self._held.find(CALL_END)
        while at >= 0 and _quoted(self._held[:at], self._call.quoted):
            at = self._held.find(CALL_END, at + 1)  # a value that speaks of the tag
        cut = at if at >= 0 else len(self._held) - (0 if last else _overlap(self._held, [CALL_END]))
        piece.calls += self._call.push(self._held[:cut], ended=at >= 0)
        self._held = self._held[cut:]
        if at >= 0:
            piece.text += self._call.strange
            self._held = self._held[len(CALL_END) :].lstrip("\n")
            self.called += self._call.begun
            self._call, self._mode = None, "text"


_CALL_HEAD = re.compile(r'\s*\{\s*"name"\s*:\s*("(?:[^"\\]|\\.)*")\s*,\s*"(?:arguments|parameters)"\s*:\s*')


class _Call:
    """Reads `{"name": …, "arguments": …}` as it comes and gives the arguments on at once, less the last brace."""

    def __init__(self, index: int) -> None:
        self._index = index
        self._buffer = ""
        self.begun = False
        self.name = self.text = ""
        self.quoted = ""

    @property
    def strange(self) -> str:
        """Return what stands between the tags if it never became a call: an unconstrained model's own invention."""
        return "" if self.begun or not self._buffer else CALL_BEGIN + self._buffer + CALL_END

    def push(self, text: str, *, ended: bool) -> list[ToolCall]:
        self._buffer += text
        self.text += text
        self.quoted = _quoted(text, self.quoted)
        calls = []
        if not self.begun:
            head = _CALL_HEAD.match(self._buffer)
            if head is None:
                return []
            self.begun = True
            self.name = json.loads(head[1])
            self._buffer = self.text = self._buffer[head.end() :]
            calls.append(ToolCall(index=self._index, id=new_id("call_"), name=self.name))
        if ended:
            arguments, self._buffer = self._buffer.rstrip().removesuffix("}").rstrip(), ""
        else:
            arguments = self._buffer.rstrip("} \t\r\n")
            self._buffer = self._buffer[len(arguments) :]
        if arguments:
            calls.append(ToolCall(index=self._index, arguments=arguments))
        return calls


def _quoted(text: str, before: str = "") -> str:
    """Return what is open at the end of some JSON: "" outside of strings, a quote within one, that and half an escape.

    A line's end ends a string, which cannot hold one: what is no JSON is not taken for an endless string.
    """
    state = before
    for char in text:
        if len(state) == 2:
            state = '"'
        elif state:
            state = {'"': "", "\n": "", "\\": '"\\'}.get(char, '"')
        elif char == '"':
            state = '"'
    return state


def _is_text(piece: bytes) -> bool:
    """Whether a token is whole characters: part of one shows as nothing as well, but is no special token."""
    try:
        piece.decode()
    except UnicodeDecodeError:
        return False
    return True


def _earliest(text: str, marks: list[str]) -> tuple[int, str | None]:
    """Return where the first of `marks` begins in `text`, and which; (-1, None) when there is none."""
    best, which = -1, None
    for mark in marks:
        at = text.find(mark)
        if at >= 0 and (best < 0 or at < best):
            best, which = at, mark
    return best, which


def _overlap(text: str, marks: list[str]) -> int:
    """Return the length of the longest end of `text` that begins one of `marks`."""
    longest = 0
    for mark in marks:
        for size in range(min(len(mark) - 1, len(text)), longest, -1):
            if text.endswith(mark[:size]):
                longest = size
                break
    return longest
