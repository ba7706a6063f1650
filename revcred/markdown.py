"""Markdown that operators write, as HTML that is safe to show to others."""

import nh3
from django.utils.safestring import SafeString, mark_safe
from markdown_it import MarkdownIt

ALLOWED_TAGS = {
    "p",
    "br",
    "strong",
    "em",
    "s",
    "del",
    "code",
    "pre",
    "blockquote",
    "ul",
    "ol",
    "li",
    "h3",
    "h4",
    "h5",
    "h6",
    "hr",
    "a",
    "table",
    "thead",
    "tbody",
    "tr",
    "th",
    "td",
}
# A page has a heading of its own, and its sections have those of the second order.
HEADING_SHIFT = 2
MAX_HEADING = 6

_parser = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])


def render_markdown(text: str) -> SafeString:
    """Return the text as HTML without pictures, scripts and styles. Links name no referrer."""
    tokens = _parser.parse(text)
    for token in tokens:
        if token.type in {"heading_open", "heading_close"}:
            token.tag = f"h{min(MAX_HEADING, int(token.tag[1]) + HEADING_SHIFT)}"
    html = _parser.renderer.render(tokens, _parser.options, {})
    # Twice safe: the parser passes no HTML on, and only these tags are left.
    return mark_safe(  # noqa: S308 - sanitised
        nh3.clean(
            html,
            tags=ALLOWED_TAGS,
            attributes={"a": {"href"}},
            url_schemes={"https", "http", "mailto"},
            link_rel="noopener noreferrer",
        )
    )
