"""What the chat page costs a browser. `python -m bench.page`.

A house of its own in a process of its own, headless Chromium, caches empty. Measured: kilobytes over the wire and the
time until one can type (both by the browser's own clock), and, while 2,000 words of Markdown come at 100 words a second
from a target, the tasks of the page's thread longer than 50 ms (`PerformanceObserver("longtask")`). Goals: 300 KB,
1 s, none.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx2
from playwright.sync_api import sync_playwright
from tests.fakes.target import FakeTarget, running
from tests.web.conftest import FLAGS, standing

WORDS = 2000
PER_SECOND = 100
GOALS = {"kilobytes": 300, "interactive_ms": 1000, "long_tasks": 0}
_VISIBLE = """() => [performance.getEntries().filter(e => 'transferSize' in e).reduce((s, e) => s + e.transferSize, 0),
  performance.now()]"""
_WATCH = """() => { window.long = []; new PerformanceObserver(l => l.getEntries().forEach(e => window.long.push(
  Math.round(e.duration)))).observe({type: 'longtask'}) }"""


def text(words: int = WORDS) -> tuple[str, ...]:
    """Paragraphs, lists, tables and code, a word or a sign at a time."""
    parts: list[str] = []
    while sum(p.count(" ") for p in parts) < words:
        n = len(parts)
        parts.append(f"## Part {n} \n\n" + "Some words of a paragraph that goes on, with **bold** and `code`. " * 6)
        parts.append("\n\n" + "".join(f"- point {i} of the list with a few words \n" for i in range(5)))
        parts.append("\n| a | b |\n|---|---|\n" + "".join(f"| cell {i} | value {i} |\n" for i in range(4)))
        parts.append("\n```python\n" + "".join(f"def f{i}(x): return x + {i} \n" for i in range(5)) + "```\n\n")
    return tuple(w + " " for w in "".join(parts).split(" "))[:words]


def _seconds(metrics: Any) -> dict[str, float]:
    """What the page's thread has spent, by kind."""
    said = metrics.send("Performance.getMetrics")["metrics"]
    wanted = {"ScriptDuration", "LayoutDuration", "RecalcStyleDuration", "TaskDuration"}
    return {m["name"]: m["value"] for m in said if m["name"] in wanted}


def main(folder: Path) -> dict[str, Any]:
    """Measure once."""
    with (
        standing(folder) as house,
        running(FakeTarget(words=text(), glue="", pace_s=1 / PER_SECOND)) as target,
        sync_playwright() as driver,
    ):
        httpx2.post(f"{house.url}/domicile/targets", json={"name": "nas", "url": target.url})
        httpx2.post(f"{house.url}/domicile/targets/nas/consent", json={"consent": True})
        browser = driver.chromium.launch(executable_path="/usr/bin/chromium", headless=True, args=FLAGS)
        loads = []
        for _ in range(3):
            page = browser.new_context().new_page()
            page.goto(house.url)
            page.locator("#say").wait_for()
            loads.append(page.evaluate(_VISIBLE))
            page.context.close()
        page = browser.new_context().new_page()
        chat = httpx2.post(f"{house.url}/domicile/chats", json={"strategy": "away"}).json()["id"]
        page.goto(f"{house.url}/?chat={chat}")
        page.locator("#say").fill("Write two thousand words.")
        page.evaluate(_WATCH)
        metrics = page.context.new_cdp_session(page)
        metrics.send("Performance.enable")
        before = _seconds(metrics)
        began = time.monotonic()
        page.keyboard.press("Enter")
        page.locator(".turn.assistant[aria-busy=false]").wait_for(timeout=180_000)
        took = time.monotonic() - began
        long = page.evaluate("() => window.long")
        after = _seconds(metrics)
        browser.close()
    return {
        "kilobytes": round(max(size for size, _ in loads) / 1000),
        "interactive_ms": [round(ms) for _, ms in loads],
        "streamed_s": round(took, 1),
        "long_tasks": len(long),
        "longest_ms": max(long, default=0),
        **{name: round(after[name] - before[name], 2) for name in after},
        "goals": GOALS,
    }


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        sys.stdout.write(json.dumps(main(Path(scratch)), indent=1) + "\n")
