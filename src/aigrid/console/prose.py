"""A model's answer as HTML: Markdown without raw HTML and without images, so that text cannot do or fetch anything."""

import re

import markdown2  # type: ignore[import-untyped]

_EXTRAS = ["fenced-code-blocks", "tables", "cuddled-lists"]
_IMAGE = re.compile(r"<img\b[^>]*>", re.IGNORECASE)


def prose(text: str) -> str:
    """Return Markdown as HTML; tags in the text are shown as they were written. The browser sanitises it once more."""
    html: str = markdown2.markdown(text, extras=_EXTRAS, safe_mode="escape")
    return _IMAGE.sub("", html)
