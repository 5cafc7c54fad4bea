"""A real Chromium for tests: each page of its own, and watched."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

SHOTS = Path(__file__).resolve().parents[2] / "build" / "screenshots"
# The first photo loads networks, and a test machine has other things to do.
PATIENCE_MS = 240_000
CHROMIUM = shutil.which("chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
]
PHONE = {
    "viewport": {"width": 390, "height": 844},
    "device_scale_factor": 2,
    "is_mobile": True,
    "has_touch": True,
}


@contextlib.contextmanager
def launch_browser() -> Iterator[Browser]:
    """Yield a browser."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@contextlib.contextmanager
def visit(browser: Browser, base: str, *, may_say: str = "nothing", **options) -> Iterator[Page]:
    """A page of its own. At the end: nothing was asked of anybody else, no script failed,
    no policy was broken.
    """
    context = browser.new_context(base_url=base, **options)
    page, asked, said = context.new_page(), [], []
    page.on("request", lambda r: asked.append(r.url))
    page.on("console", lambda m: said.append(m.text) if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda e: said.append(str(e)))
    page.on("dialog", lambda d: (said.append(f"dialog {d.message}"), d.dismiss()))
    page.set_default_timeout(PATIENCE_MS)
    yield page
    assert not page.evaluate("window.hurt"), "a feed's script ran"
    context.close()
    assert asked and [u for u in asked if not u.startswith((f"{base}/", "data:"))] == []
    assert [text for text in said if may_say not in text] == [], said


def shoot(page: Page, name: str, *, whole: bool = False) -> None:
    """Keeps what is seen, once its pictures are there."""
    page.wait_for_load_state("networkidle")
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SHOTS / f"{name}.png", full_page=whole)


def assert_accessible(page: Page) -> None:
    """axe-core finds nothing serious in what is shown."""
    found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    bad = [
        (v["id"], [n["html"][:200] for n in v["nodes"]][:3])
        for v in found
        if v["impact"] in ("serious", "critical")
    ]
    assert bad == [], f"{page.url}: {json.dumps(bad, indent=1)}"
