"""A model card can be read and can do nothing: no script, no picture, no link but to the web, no moved cursor."""

from __future__ import annotations

import re
import sys
from collections.abc import AsyncIterator
from html.parser import HTMLParser

import httpx2
import pytest

from domicile.card import RENDER_LIMIT, as_text, render, without_front_matter
from domicile.config import load
from domicile.errors import FileNotOnHub, Gated, HubUnreachable, RepositoryNotFound
from domicile.refs import ModelRef
from domicile.sources.hub import CARD_LIMIT, Hub
from tests.fakes.hub import FakeHub

BASE = "https://hub.example/org/repo/blob/main/"

PAYLOADS = [
    "<script>alert(1)</script>",
    "<SCRIPT SRC=//evil.example/x.js></SCRIPT>",
    "<scr<script>ipt>alert(1)</scr</script>ipt>",
    "<img src=x onerror=alert(1)>",
    '<img src="https://evil.example/track.gif?who=you">',
    "![x](https://evil.example/track.gif)",
    '![x" onerror="alert(1)](https://evil.example/a.png "t\\" onerror=\\"alert(1)")',
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt:alert(1))",
    "[x](&#106;avascript:alert(1))",
    "[x](java\tscript:alert(1))",
    "<a href='java&#10;script:alert(1)'>x</a>",
    "<a href=' &#14; javascript:alert(1)'>x</a>",
    "[x](data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==)",
    "[x](vbscript:msgbox(1))",
    "[x]: javascript:alert(1)\n\n[x]",
    "<javascript:alert(1)>",
    "<svg onload=alert(1)><script>alert(1)</script></svg>",
    "<svg><a xlink:href='javascript:alert(1)'><text>x</text></a></svg>",
    "<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src=1 onerror=alert(1)&gt;'>",
    "<iframe src='javascript:alert(1)'></iframe>",
    "<iframe srcdoc='<script>alert(1)</script>'></iframe>",
    "<object data='evil.swf'></object><embed src='evil.swf'>",
    "<details open ontoggle=alert(1)><summary>x</summary></details>",
    "<div style='background:url(https://evil.example/x)'>x</div>",
    "<style>@import 'https://evil.example/x.css'; body{display:none}</style>",
    "<link rel=stylesheet href=https://evil.example/x.css>",
    "<meta http-equiv=refresh content='0;url=https://evil.example'>",
    "<base href='https://evil.example/'>[x](relative)",
    "<form action='https://evil.example'><input name=token><button formaction='javascript:alert(1)'>x</button></form>",
    "<div hx-get='/domicile/keys' hx-trigger='load'>x</div>",
    "<div data-hx-post='/domicile/remove' hx-on:load='alert(1)'>x</div>",
    "<p id=main class=hidden onclick=alert(1) tabindex=1 contenteditable>x</p>",
    "<video src=x onerror=alert(1)><source src='https://evil.example/v'></video>",
    "<audio autoplay src='https://evil.example/a.mp3'></audio>",
    "<noscript><p title='</noscript><img src=x onerror=alert(1)>'></noscript>",
    "<textarea></textarea><img src=x onerror=alert(1)>",
    "<template><script>alert(1)</script></template>",
    "<xmp><script>alert(1)</script></xmp>",
    "<!--><script>alert(1)</script>-->",
    "<![CDATA[<script>alert(1)</script>]]>",
    "`</code><script>alert(1)</script>`",
    '```html"onmouseover=alert(1)\n<script>alert(1)</script>\n```',
    "<table background='https://evil.example/x'><tr><td background='javascript:alert(1)'>x</td></tr></table>",
    "<a href='https://user:password@evil.example/'>bank.example</a>",
    "<a href='//evil.example' target=_blank ping='https://evil.example/p' rel=opener>x</a>",
    "[x](file:///etc/passwd) [y](ftp://evil.example) [z](blob:https://x) [w](about:blank)",
    "<a href='ht\ntps://evil.example'>x</a><a href='https:///evil'>y</a><a href='https://[bad'>z</a>",
    "<picture><source srcset='https://evil.example/x'><img srcset='https://evil.example/x 2x'></picture>",
    "<td colspan=99999999 rowspan=99999999>x</td><ol start=-999999999999><li>x</ol>",
    "<marquee onstart=alert(1)>x</marquee><blink>x</blink><isindex action=javascript:alert(1)>",
    "<p>\u202egnp.exe\u202c \x1b[2J \x07 &#27;]0;evil&#7; \u200b</p>",
]

_ALLOWED = {
    "a": {"href", "title", "rel"},
    "abbr": {"title"},
    "details": {"open"},
    "ol": {"start"},
    "td": {"align", "colspan", "rowspan"},
    "th": {"align", "colspan", "rowspan"},
}


class _Judge(HTMLParser):
    """Reads HTML and objects to whatever could act. Written apart from the code under test."""

    def __init__(self) -> None:
        super().__init__()
        self.wrong: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in {"script", "style", "img", "svg", "iframe", "object", "embed", "form", "input", "link", "meta"}:
            self.wrong.append(tag)
        for name, value in attrs:
            if name not in _ALLOWED.get(tag, set()):
                self.wrong.append(f"{tag}.{name}")
            if name == "href" and not re.match(r"https?://[^@]+$", value or ""):
                self.wrong.append(f"{name}={value}")
            if name == "rel" and value != "noopener noreferrer nofollow":
                self.wrong.append(f"{name}={value}")
        if tag == "a" and "rel" not in dict(attrs):
            self.wrong.append("a without rel")

    def handle_comment(self, data: str) -> None:
        self.wrong.append(f"comment {data}")


@pytest.mark.parametrize("payload", PAYLOADS)
@pytest.mark.parametrize("around", ["{}", "- item {}\n", "| a |\n|---|\n| {} |\n", "<div>\n\n{}\n\n</div>", "> {}"])
def test_nothing_in_a_card_can_act(payload: str, around: str) -> None:
    card = render(around.format(payload), BASE)
    judge = _Judge()
    judge.feed(card.html)
    judge.close()
    assert judge.wrong == []
    assert "evil.example/track" not in card.html
    for shown in (card.html, card.text):
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u200b]", shown)


def test_a_card_is_still_a_card() -> None:
    card = render(
        "---\nlicense: mit\n---\n# Title\n\nSome **bold** [link](https://x.example/a) and [file](./LICENSE).\n\n"
        "| a | b |\n|---|--:|\n| 1 | 2 |\n\n1. one\n2. two\n   - in\n\n```python\nx = 1\n  y\n```\n\n"
        '<p align="center"><img src="logo.png"> ~~gone~~</p>\n\n![A graph](g.png)\n',
        BASE,
    )
    assert card.markdown.startswith("# Title")
    assert "<h1>Title</h1>" in card.html
    rel = 'rel="noopener noreferrer nofollow"'
    assert f'<a href="https://x.example/a" {rel}>link</a>' in card.html
    assert f'<a href="{BASE}LICENSE" {rel}>file</a>' in card.html
    assert "<td>1</td>" in card.html
    assert "[A graph]" in card.html
    assert "license" not in card.text
    lines = card.text.splitlines()
    assert lines[0] == "# Title"
    assert "Some bold link <https://x.example/a> and file <" + BASE + "LICENSE>." in lines
    assert "1. one" in lines
    assert "  - in" in lines
    assert "  y" in lines
    assert not card.cut


@pytest.mark.parametrize(
    ("written", "body"),
    [
        ("", ""),
        ("# a", "# a"),
        ("---\na: b\n---\n# a", "# a"),
        ("\ufeff---\r\na: b\r\n---\r\n\r\n# a", "# a"),
        ("---\na: b\n...\n# a", "# a"),
        ("---\nnever ended\n# a", "---\nnever ended\n# a"),
        ("text\n---\na: b\n---\n", "text\n---\na: b\n---\n"),
        ("---\n" + "a: b\n" * 100_000, "---\n" + "a: b\n" * 100_000),
    ],
)
def test_front_matter_is_not_part_of_the_card(written: str, body: str) -> None:
    assert without_front_matter(written) == body


def test_a_card_without_a_base_has_no_relative_links() -> None:
    assert "href" not in render("[x](y.md)").html


def test_a_long_card_is_cut_and_says_so() -> None:
    card = render("word " * RENDER_LIMIT, BASE)
    assert card.cut
    assert len(card.text) <= RENDER_LIMIT + 1


@pytest.mark.parametrize("unit", ["![", "<div>", "|a|b|\n|-|-|\n"])
def test_a_hostile_card_is_rendered_in_bounded_time(unit: str) -> None:
    import time

    started = time.process_time()
    render(unit * (RENDER_LIMIT // len(unit)), BASE)
    assert time.process_time() - started < 20


def test_text_is_made_of_the_sanitised_html() -> None:
    assert as_text("<h2>a</h2><p>b &lt;c&gt;</p><ul><li>d</li></ul><hr>") == "## a\n\nb <c>\n\n- d\n\n———\n"


def test_the_renderer_is_not_loaded_before_a_card_is() -> None:
    import subprocess

    code = "import sys, domicile.sources.hub; print('nh3' in sys.modules, 'markdown_it' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.split() == ["False", "False"]


# --- fetched from the Hub ---


@pytest.fixture
async def client() -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(follow_redirects=True, timeout=10) as http:
        yield http


@pytest.mark.anyio
async def test_the_card_of_a_repository(hub: FakeHub, client: httpx2.AsyncClient) -> None:
    hub.add("org/repo", {"README.md": b"---\nlicense: mit\n---\n# Bonjour \xff\n\n[l](LICENSE)"})
    source = Hub(load(), client)
    card = await source.card(ModelRef.parse("org/repo"))
    assert "Bonjour" in card.text
    assert f"{hub.url}/org/repo/blob/main/LICENSE" in card.html
    asked = len(hub.seen)
    again = await Hub(load(), client, offline=True).card(ModelRef.parse("org/repo"))
    assert again.html == card.html
    assert len(hub.seen) == asked


@pytest.mark.anyio
async def test_a_card_of_any_length_ends(hub: FakeHub, client: httpx2.AsyncClient) -> None:
    hub.add("org/repo", {"README.md": b"word " * (CARD_LIMIT // 2)})
    card = await Hub(load(), client).card(ModelRef.parse("org/repo"))
    assert card.cut
    assert len(card.markdown) <= CARD_LIMIT


@pytest.mark.anyio
async def test_no_card_is_said_in_its_own_words(hub: FakeHub, client: httpx2.AsyncClient) -> None:
    hub.add("org/repo", {"m-Q4_K_M.gguf": b"x"})
    hub.add("org/gated", {"README.md": b"x"}, gated=True)
    source = Hub(load(), client)
    with pytest.raises(FileNotOnHub):
        await source.card(ModelRef.parse("org/repo"))
    with pytest.raises(RepositoryNotFound):
        await source.card(ModelRef.parse("org/nothing"))
    with pytest.raises(Gated):
        await source.card(ModelRef.parse("org/gated"))
    with pytest.raises(HubUnreachable):
        await Hub(load(), client, offline=True).card(ModelRef.parse("org/never"))
