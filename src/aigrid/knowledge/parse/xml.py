"""XML: its text, one block per lowest element that holds some. Entities, DTDs and the network are out of reach."""

from typing import Any

from aigrid.knowledge.base import Parsed
from aigrid.knowledge.parse.base import Blocks, Unreadable, one_line

_TITLES = frozenset({"title", "head", "subtitle", "name"})
_PHRASES = (
    "a b i u em strong emphasis literal code command filename option ulink link xref quote sub sup tt firstterm term "
    "replaceable userinput varname acronym application email uri span"
)
_INLINE = frozenset(_PHRASES.split())


def read_xml(data: bytes, *, what: str = "it") -> Any:
    """Return the root of an XML document, read without entities, DTD or network.

    Raises `Unreadable` where it is not well-formed or declares entities.
    """
    from lxml import etree

    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, dtd_validation=False, huge_tree=False, recover=False
    )
    try:
        root = etree.fromstring(data, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        if "amplification" in str(error) or "entity loop" in str(error).lower():
            raise Unreadable(f"{what} declares XML entities that grow without end") from None
        raise Unreadable(f"{what} is not well-formed XML: {one_line(str(error))[:120]}") from None
    dtd = root.getroottree().docinfo.internalDTD
    if dtd is not None and any(True for _ in dtd.iterentities()):
        raise Unreadable(f"{what} declares XML entities, which can read other files or grow without end")
    return root


def parse_xml(data: bytes) -> Parsed:
    """Return the text of an XML document in reading order, with lines."""
    root = read_xml(data)
    blocks = Blocks()
    title = ""
    gathered: list[str] = []
    line = 1

    def flush() -> None:
        if gathered:
            blocks.add(one_line("".join(gathered)), line=line)
            gathered.clear()

    from lxml import etree

    for event, node in etree.iterwalk(root, events=("start", "end")):
        if not isinstance(node.tag, str):
            gathered.append(node.tail or "" if event == "end" else "")
            continue
        name = node.tag.rpartition("}")[2].lower()
        if event == "start":
            if name not in _INLINE:
                flush()
                line = node.sourceline or 1
            gathered.append(node.text or "")
            continue
        if name in _TITLES and gathered:
            depth = sum(1 for _ in node.iterancestors())
            text = one_line("".join(gathered))
            gathered.clear()
            title = title or text
            blocks.open(max(1, depth), text, node.sourceline)
        elif name not in _INLINE:
            flush()
        gathered.append(node.tail or "")
    flush()
    if not blocks.found:
        raise Unreadable("it is XML without text")
    return Parsed(blocks.found, title, "xml", blocks.notes())
