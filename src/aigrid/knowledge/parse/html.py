"""HTML: the main content with its headings, lists, tables and preformatted text; no navigation, no scripts."""

import re
from typing import Any

from aigrid.knowledge.base import Parsed
from aigrid.knowledge.parse.base import MAX_CELLS, Blocks, Unreadable, one_line, row

_NEVER = "script,style,noscript,template,svg,iframe,object,embed,canvas,audio,video,button,select,input,textarea,dialog"
_AROUND = (
    "nav,footer,aside,[role=navigation],[role=search],[role=banner],[role=contentinfo],[aria-hidden=true],[hidden],"
    ".headerlink,.navheader,.navfooter,.sphinxsidebar,.breadcrumb,.breadcrumbs,.toc,.skip-link,#toc"
)
_MAIN = "main,[role=main],article,#main-content,#content,#bodyContent,.markdown-body,div.body"
_BLOCKS = (
    "html body main article section div header footer aside nav address blockquote center details summary dl dd dt "
    "fieldset figure figcaption form h1 h2 h3 h4 h5 h6 hr li ol ul menu p pre table tbody thead tfoot tr td th caption "
    "hgroup legend frameset noframes dir"
)
_BOUNDARIES = frozenset(_BLOCKS.split())
_HEADINGS = {"h1": 1, "h2": 2, "h3": 3, "h4": 4, "h5": 5, "h6": 6}
_PHRASES = frozenset({"code", "em", "strong", "b", "i", "tt", "kbd", "samp", "var", "sub", "sup", "cite", "q", "small"})
_LISTS = frozenset({"ul", "ol", "menu", "dir"})
_CHARSET = re.compile(rb"""<meta[^>]{0,200}?charset\s*=\s*["']?\s*([\w-]{1,40})""", re.IGNORECASE)
_MAIN_SHARE = 0.3
_CONTAINER = re.compile(
    r"<(/?)(?:div|span|table|ul|ol|dl|b|i|u|a|font|em|strong|blockquote|section|center)\b", re.IGNORECASE
)
_VAST_TAG = re.compile(r"<[^<>]{65536,}>")
_DEEPEST = 5_000


def charset(data: bytes) -> str:
    """Return the encoding that a page says it is in, or nothing."""
    found = _CHARSET.search(data[:4096])
    return found[1].decode("ascii", "replace") if found else ""


def parse_html(text: str) -> Parsed:
    """Return the main content of a page. Nothing that it refers to is fetched."""
    from selectolax.lexbor import LexborHTMLParser

    tree = LexborHTMLParser(_bounded(text))
    named = tree.css_first("title")
    title = one_line(named.text()) if named is not None else ""
    for node in tree.css(_NEVER):
        node.decompose()
    if tree.body is None:
        return Parsed([], title, "html")
    whole = len(tree.body.text())
    around = tree.css(_AROUND)
    if sum(len(node.text()) for node in around) < whole * 0.8:
        for node in around:
            node.decompose()
    for node in tree.css("br"):
        node.replace_with("\n")
    reader = _Reader()
    reader.walk(_main(tree, whole))
    first = next((b.text for b in reader.blocks.found if b.kind == "heading"), "")
    if not title or title.startswith(first):
        title = first or title
    return Parsed(reader.blocks.found, title, "html", reader.blocks.notes())


def _bounded(text: str) -> str:
    """Return a page without what takes a parser quadratic time: vast tags go, vast depth is refused."""
    if len(text) < 65_536:
        return text
    depth = 0
    for tag in _CONTAINER.finditer(text):
        depth += -1 if tag[1] else 1
        if depth > _DEEPEST:
            raise Unreadable("it is nested too deeply")
    return _VAST_TAG.sub("", text)


def _main(tree: Any, whole: int) -> Any:
    """Return the element that holds the main content: the marked one, if much of the text is in it."""
    best, size = tree.body, 0
    for node in tree.css(_MAIN):
        length = len(node.text())
        if length > size:
            best, size = node, length
    return best if size >= _MAIN_SHARE * whole else tree.body


class _Reader:
    """Walks elements without recursion (pages nest as deep as they like) and gathers inline text into blocks."""

    def __init__(self) -> None:
        self.blocks = Blocks()
        self._inline: list[str] = []
        self._lists = 0
        self._bullet = ""
        self._in_item = False

    def walk(self, root: Any) -> None:
        """Read everything below an element."""
        waiting: list[Any] = [root.child] if root.child is not None else []
        while waiting:
            node = waiting.pop()
            if isinstance(node, str):  # the end of an element
                self._leave(node)
                continue
            if (following := node.next) is not None:
                waiting.append(following)
            tag = node.tag
            if tag == "-text":
                self._inline.append(node.text_content or "")
            elif self._enter(node, tag) and (child := node.child) is not None:
                if tag in _BOUNDARIES:
                    waiting.append(tag)
                waiting.append(child)
        self._flush()

    def _enter(self, node: Any, tag: str) -> bool:
        """Begin an element; return whether to walk into it."""
        if tag in _PHRASES:
            self._inline.append(node.text())
            return False
        if tag not in _BOUNDARIES:
            return not tag.startswith(("-", "!"))
        self._flush()
        if tag in _HEADINGS:
            self.blocks.open(_HEADINGS[tag], node.text())
            return False
        if tag == "p":
            self._inline.append(node.text())
            self._flush()
            return False
        if tag == "pre":
            self.blocks.add(node.text(), "code")
            return False
        if tag == "table":
            rows = _rows(node)
            if rows:
                self.blocks.add("\n".join(rows), "table")
            return not rows
        if tag in _LISTS:
            self._lists += 1
        elif tag == "li":
            self._bullet = "  " * max(0, self._lists - 1) + "- "
            self._in_item = True
        return True

    def _leave(self, tag: str) -> None:
        self._flush()
        if tag in _LISTS:
            self._lists = max(0, self._lists - 1)
        elif tag == "li":
            self._in_item, self._bullet = False, ""

    def _flush(self) -> None:
        if not self._inline:
            return
        text = one_line("".join(self._inline))
        self._inline.clear()
        if text:
            self.blocks.add(self._bullet + text, "list" if self._in_item else "text")
            self._bullet = ""


def _rows(table: Any) -> list[str]:
    """Return the rows of a table of data, one line each; nothing for a table that only lays a page out."""
    if table.css_first("table table, h1, h2, h3") is not None:
        return []
    rows: list[str] = []
    cells = most = 0
    for line in table.css("tr"):
        texts = [one_line(cell.text()) for cell in line.css("td, th")]
        cells += len(texts)
        if cells > MAX_CELLS:
            break
        most = max(most, len(texts))
        if text := row(texts):
            rows.append(text)
    if most < 2 or len(rows) < 2 or sum(map(len, rows)) > 800 * cells:
        return []
    caption = table.css_first("caption")
    return [one_line(caption.text()), *rows] if caption is not None and caption.text().strip() else rows
