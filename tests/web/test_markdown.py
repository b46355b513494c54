"""Markdown as a model may write it: drawn, coloured, set; and nothing of it runs, styles, frames or fetches."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import expect

from tests.web.conftest import Standing, Visit

pytestmark = pytest.mark.slow

PAYLOADS = [
    "<script>window.ran=1</script>",
    "<img src=x onerror='window.ran=1'>",
    "<svg onload='window.ran=1'><circle/></svg>",
    "[a](javascript:window.ran=1)",
    "<a href='data:text/html,<script>1</script>'>a</a>",
    "<iframe src='https://evil.test/'></iframe>",
    "<form action='https://evil.test/'><input name=x><button>b</button></form>",
    "![track](https://evil.test/pixel.png)",
    "<style>body{background:url(https://evil.test/)}</style>",
    "<div style='background:url(https://evil.test/x)'>a</div>",
    "<link rel=stylesheet href='https://evil.test/a.css'>",
    "<video src='https://evil.test/v.mp4' autoplay></video>",
    "<math><mtext><img src=x onerror='window.ran=1'></mtext></math>",
    "$\\href{javascript:window.ran=1}{x}$ $\\includegraphics{https://evil.test/x.png}$",
    "```html\n<script>window.ran=1</script>\n```",
    "<details open ontoggle='window.ran=1'><summary>s</summary></details>",
]
_DRAW = """async ([text, base]) => {
  const { Markdown } = await import(base + '/js/lib/md.js');
  const place = document.createElement('div'); place.id = 'drawn';
  document.getElementById('drawn')?.remove(); document.querySelector('main').append(place);
  window.drawer = new Markdown(place); window.drawer.draw(text, true);
}"""


def _draw(page: Any, text: str) -> Any:
    page.evaluate(_DRAW, [text, page.evaluate("() => JSON.parse(document.getElementById('state').textContent).base")])
    return page.locator("#drawn")


def test_what_a_model_writes_is_drawn_with_code_tables_and_formulas(house: Standing, visit: Visit) -> None:
    page = visit(house.url + "/learn")
    drawn = _draw(
        page,
        "# Title\n\n| a | b |\n|-|-|\n| 1 | 2 |\n\n```python\ndef f(): return 1\n```\n\n"
        "$$\\frac{1}{2}$$ and $x^2$, for $5 and $6.\n\n- [x] done",
    )
    expect(drawn.locator("table td")).to_have_text(["1", "2"])
    expect(drawn.locator(".hljs-keyword").first).to_have_text("def")
    expect(drawn.locator(".katex")).to_have_count(2)
    expect(drawn).to_contain_text("for $5 and $6.")
    assert drawn.locator("input[type=checkbox][disabled]").count() == 1


@pytest.mark.parametrize("theme", ["light"])
def test_sixteen_payloads_run_nothing_and_fetch_nothing(house: Standing, visit: Visit, theme: str) -> None:
    page = visit(house.url + "/learn", theme=theme)  # `visit` fails for any request to another origin
    for payload in PAYLOADS:
        drawn = _draw(page, f"before\n\n{payload}\n\nafter")
        expect(drawn).to_contain_text("after")
        assert (
            drawn.locator(":is(script, iframe, form, style, link, video, object, embed, button:not(.ghost))").count()
            == 0
        )
        bad = drawn.evaluate(
            "e => [...e.querySelectorAll('*')].flatMap(n => [...n.attributes].map(a => a.name + '=' + a.value))"
            ".filter(a => /^on|javascript:/.test(a))"
        )
        assert bad == [], payload
        assert drawn.locator("img").count() == 0, payload
    page.wait_for_timeout(200)
    assert page.evaluate("() => window.ran") is None


def test_a_link_opens_apart_and_tells_nobody_where_from(house: Standing, visit: Visit) -> None:
    page = visit(house.url + "/learn")
    link = _draw(page, "[a](https://example.org/)").locator("a")
    assert link.get_attribute("rel") == "noopener noreferrer nofollow"
    assert link.get_attribute("target") == "_blank"


def test_only_what_changed_is_drawn_again(house: Standing, visit: Visit) -> None:
    page = visit(house.url + "/learn")
    _draw(page, "first\n\nsecond")
    kept = page.evaluate("""() => {
      const [first, second] = document.querySelectorAll('#drawn .block');
      window.drawer.draw('first\\n\\nsecond and more', true);
      const now = document.querySelectorAll('#drawn .block');
      return [now[0] === first, now[1] === second, now.length];
    }""")
    assert kept == [True, False, 2]
