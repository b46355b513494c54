"""A model card: Markdown that somebody wrote, as HTML that can do nothing and as text for a terminal.

The *final* HTML is sanitised (nh3, which is ammonia), not the Markdown before it: what a renderer makes of raw HTML is
what a browser would see. No image is ever fetched: a picture becomes its description. Links go to http(s) only and
carry no referrer. Knows nothing of the network: a base address makes relative links whole.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urljoin, urlsplit

from domicile.plain import text as plain_text

RENDER_LIMIT = 128 * 2**10
"""Characters that are rendered; what follows is left out and the card says so. Cards of the Hub are 5 to 60 kB, and
the worst of 38 hostile texts of this length takes 2 s (nested `<div>`: the time grows with the square)."""

LINK_REL = "noopener noreferrer nofollow"

_TAGS = frozenset({
    "a", "abbr", "b", "blockquote", "br", "caption", "center", "code", "dd", "del", "details", "div", "dl", "dt",
    "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "i", "ins", "kbd", "li", "mark", "ol", "p", "pre", "q", "s",
    "samp", "small", "span", "strong", "sub", "summary", "sup", "table", "tbody", "td", "tfoot", "th", "thead",
    "tr", "u", "ul", "var",
})  # fmt: skip
# Tags whose content is not prose either: it goes with them.
_GONE = frozenset({
    "script", "style", "template", "iframe", "object", "embed", "noscript", "noembed", "noframes", "svg", "math",
    "title", "textarea", "select", "xmp", "plaintext", "audio", "video", "canvas", "head",
})  # fmt: skip
_ATTRIBUTES = {
    "a": {"href", "title"},
    "abbr": {"title"},
    "details": {"open"},
    "ol": {"start"},
    "td": {"align", "colspan", "rowspan"},
    "th": {"align", "colspan", "rowspan"},
}
_SPAN_LIMIT = 100


@dataclass(frozen=True, slots=True)
class Card:
    """What a repository says of itself."""

    markdown: str
    """As written, without its front matter; for keeping, not for showing."""
    html: str
    """Safe to put into a page."""
    text: str
    """Safe to print."""
    cut: bool = False
    """It was longer than what is shown."""
    age_s: float = 0.0

    def public(self) -> dict[str, Any]:
        return {"html": self.html, "text": self.text, "cut": self.cut, "age_s": round(self.age_s, 3)}


def render(markdown: str, base: str = "") -> Card:
    """Make a card of Markdown. `base` is the http(s) address that relative links start from; without one they go."""
    import nh3
    from markdown_it import MarkdownIt

    written = without_front_matter(markdown)
    shown = plain_text(written[:RENDER_LIMIT])
    reader = MarkdownIt("commonmark", {"html": True, "maxNesting": 20}).enable(["table", "strikethrough"])
    reader.add_render_rule("image", _image)

    def keep(tag: str, name: str, value: str) -> str | None:
        if name == "href":
            address = urljoin(base, value) if _can_join(value) else value
            return address if _is_web(address) else None
        if name in {"colspan", "rowspan", "start"}:
            return value if value.isdecimal() and int(value[:9]) <= _SPAN_LIMIT else None
        if name == "align":
            return value if value in {"left", "right", "center"} else None
        return value

    html = nh3.clean(
        reader.render(shown),
        tags=_TAGS,
        clean_content_tags=_GONE,
        attributes=_ATTRIBUTES,
        attribute_filter=keep,
        strip_comments=True,
        link_rel=LINK_REL,
        generic_attribute_prefixes=set(),
        url_schemes={"http", "https"},
        url_relative="pass_through",  # `keep` sees every href, and decides
    )
    html = plain_text(html)  # again: an entity may have become a control character
    return Card(written, html, plain_text(as_text(html)), cut=len(written) > RENDER_LIMIT)


def without_front_matter(markdown: str) -> str:
    """The card without the YAML block that the Hub reads. Found by its lines: no expression that could run away."""
    body = markdown.removeprefix("\ufeff")
    lines = body.splitlines(keepends=True)
    if not lines or lines[0].rstrip() != "---":
        return body
    for number, line in enumerate(lines[1:], 1):
        if line.rstrip() in {"---", "..."}:
            return "".join(lines[number + 1 :]).lstrip("\r\n")
    return body


def _can_join(url: str) -> bool:
    """Joining takes a bad address apart: one with brackets that do not match raises."""
    try:
        urlsplit(url)
    except ValueError:
        return False
    return True


def _is_web(url: str) -> bool:
    """http(s) to a host, without a name and password that would make it look like another, without blanks."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    shown = all(c > " " and c != "\x7f" for c in url)
    return shown and parts.scheme in {"http", "https"} and bool(parts.hostname) and "@" not in parts.netloc


def _image(_: Any, tokens: Sequence[Any], place: int, options: Any, env: Any) -> str:
    """A picture is its description: nothing is fetched."""
    from markdown_it.common.utils import escapeHtml

    described = escapeHtml(tokens[place].content.strip())
    return f"<span>[{described}]</span>" if described else ""


# --- for a terminal ---

_BLOCKS = frozenset({
    "blockquote", "center", "dd", "details", "div", "dl", "dt", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "li",
    "ol", "p", "pre", "summary", "table", "tr", "ul",
})  # fmt: skip
_DEEPEST = 20
_BLANKS = re.compile(r"[ \t\n\r\f]+")


class _Text(HTMLParser):
    """Sanitised HTML, as lines."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.out: list[str] = []
        self._kept = 0
        self._lists: list[int | None] = []
        self._link: str | None = None
        self._link_text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _BLOCKS:
            self.out.append("\n")
        if tag == "pre":
            self._kept += 1
        elif tag in {"ul", "ol"}:
            self._lists.append(1 if tag == "ol" else None)
        elif tag == "li":
            self._item()
        elif tag == "br":
            self.out.append("\n")
        elif tag == "hr":
            self.out.append("———\n")
        elif tag in {"td", "th"}:
            self.out.append(" | ")
        elif tag == "blockquote":
            self.out.append("> ")
        elif len(tag) == 2 and tag[0] == "h" and tag[1].isdigit():
            self.out.append("\n" + "#" * int(tag[1]) + " ")
        elif tag == "a":
            self._link, self._link_text = dict(attrs).get("href"), ""

    def _item(self) -> None:
        number = self._lists[-1] if self._lists else None
        self.out.append("  " * min(max(0, len(self._lists) - 1), _DEEPEST))
        self.out.append("- " if number is None else f"{number}. ")
        if number is not None:
            self._lists[-1] = number + 1

    def handle_endtag(self, tag: str) -> None:
        if tag == "a" and self._link:
            if self._link_text.strip() != self._link:
                self.out.append(f" <{self._link}>")
            self._link = None
        if tag == "pre":
            self._kept = max(0, self._kept - 1)
        elif tag in {"ul", "ol"} and self._lists:
            self._lists.pop()
        if tag in _BLOCKS:
            self.out.append("\n")

    def handle_data(self, data: str) -> None:
        said = data
        if not self._kept:
            said = _BLANKS.sub(" ", data)
            if not self.out or self.out[-1].endswith(("\n", " ")):
                said = said.lstrip(" ")
        if self._link is not None:
            self._link_text += said
        self.out.append(said)


def as_text(html: str) -> str:
    """Sanitised HTML as text: headings, lists and code as one would write them, links with their address."""
    reader = _Text()
    reader.feed(html)
    reader.close()
    lines: list[str] = []
    for line in "".join(reader.out).split("\n"):
        if line.strip() or (lines and lines[-1]):
            lines.append(line.rstrip())
    return "\n".join(lines).strip("\n") + "\n"
