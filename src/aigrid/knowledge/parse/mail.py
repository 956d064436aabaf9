"""E-mail: one message or a mailbox; the body as written, attachments as what they are."""

import re
from email import message_from_bytes, policy
from email.message import EmailMessage

from aigrid.knowledge.base import Block, Parsed
from aigrid.knowledge.parse.base import Blocks, Unreadable, one_line
from aigrid.knowledge.parse.encoding import decode

_SHOWN = ("From", "To", "Cc", "Date")
_MAX_PARTS = 200
_MAX_DEPTH = 3
_MAX_HEADERS = 256 << 10
_FROM_LINE = re.compile(rb"(?:\A|\n)From \S{1,200} [^\r\n]{6,80}\r?\n")


def parse_mail(data: bytes, depth: int = 0) -> Parsed:
    """Return a message: its headers that people read, its body, and what its attachments say."""
    blocks = Blocks()
    notes: list[str] = []
    subject = _message(data, blocks, notes, depth)
    return Parsed(blocks.found, subject, "mail", notes + blocks.notes())


def parse_mbox(data: bytes, depth: int = 0) -> Parsed:
    """Return the messages of a mailbox, each under its subject."""
    starts = [(found.start(), found.end()) for found in _FROM_LINE.finditer(data)]
    ends = [start for start, _ in starts[1:]] + [len(data)]
    blocks = Blocks()
    notes: list[str] = []
    for (_, start), end in zip(starts, ends, strict=True):
        if blocks.full:
            break
        line = data.count(b"\n", 0, start) + 1 if len(starts) < 1_000 else None
        _message(data[start:end].replace(b"\n>From ", b"\nFrom "), blocks, notes, depth, line)
    return Parsed(blocks.found, "", "mbox", notes + blocks.notes())


def _message(data: bytes, blocks: Blocks, notes: list[str], depth: int, line: int | None = None) -> str:
    end = data.find(b"\n\n")
    end = end if end >= 0 else data.find(b"\n\r\n")
    if min(end if end >= 0 else len(data), len(data)) > _MAX_HEADERS:
        raise Unreadable("its headers are longer than 256 KiB")
    message = message_from_bytes(data, policy=policy.default)
    assert isinstance(message, EmailMessage)
    subject = _header(message, "Subject")
    blocks.close(1)
    blocks.open(1, subject or "(no subject)", line)
    shown = [f"{name}: {value}" for name in _SHOWN if (value := _header(message, name))]
    blocks.add("\n".join(shown))
    above = blocks.heading
    for number, part in enumerate(_leaves(message)):
        if number >= _MAX_PARTS or blocks.full:
            notes.append(f"only the first {_MAX_PARTS} parts of the message were read")
            break
        _part(part, blocks, notes, depth, above)
    return subject


def _leaves(message: EmailMessage) -> list[EmailMessage]:
    """Return the parts to read, in order: of alternatives the plain text where there is some."""
    leaves: list[EmailMessage] = []
    waiting: list[EmailMessage] = [message]
    while waiting and len(leaves) <= _MAX_PARTS:
        part = waiting.pop()
        if part.get_content_type() == "message/rfc822" or not part.is_multipart():
            leaves.append(part)
            continue
        children = [child for child in part.iter_parts() if isinstance(child, EmailMessage)]
        if part.get_content_type() == "multipart/alternative":
            plain = [c for c in children if c.get_content_type() == "text/plain" and c.get_payload()]
            children = plain[:1] or children[-1:]
        waiting.extend(reversed(children))
    return leaves


def _part(part: EmailMessage, blocks: Blocks, notes: list[str], depth: int, above: tuple[str, ...]) -> None:
    from aigrid.knowledge.parse import parse

    kind = part.get_content_type()
    try:
        name = one_line(part.get_filename() or "")[:200]
    except (ValueError, LookupError, TypeError, AttributeError, IndexError):
        name = ""
    if kind == "message/rfc822":
        inner = next(part.iter_parts(), None)
        data = inner.as_bytes() if isinstance(inner, EmailMessage) else b""
        name = name or "message.eml"
    else:
        payload = part.get_payload(decode=True)
        data = payload if isinstance(payload, bytes) else b""
    if not data.strip():
        return
    attached = bool(name) or part.get_content_disposition() == "attachment"
    if not attached and kind == "text/plain":
        from aigrid.knowledge.parse.text import parse_text

        found = parse_text(decode(data, part.get_content_charset("") or "")[0])
        blocks.extend(_below(found.blocks, above))
        return
    if depth >= _MAX_DEPTH:
        notes.append(f"messages within messages were read {_MAX_DEPTH} deep")
        return
    label = name or kind
    if not attached and not kind.startswith("text/"):
        return
    try:
        inside = parse(data, name or ("body.html" if kind == "text/html" else "part.txt"), depth + 1)
    except Unreadable as error:
        notes.append(f"its attachment {label!r} was left out: {error.message}")
        return
    blocks.extend(_below(inside.blocks, (*above, label) if attached else above))
    notes.extend(inside.notes)


def _below(blocks: list[Block], above: tuple[str, ...]) -> list[Block]:
    """Return blocks moved under headings; they lose their lines, which are not the file's."""
    return [Block(block.text, block.kind, above + block.heading, None, None) for block in blocks]


def _header(message: EmailMessage, name: str) -> str:
    """Return a header in words; nothing where it is missing or broken beyond reading."""
    try:
        return one_line(str(message.get(name, "")))[:1000]
    except (ValueError, LookupError, TypeError, AttributeError, IndexError, UnicodeError):
        return ""
