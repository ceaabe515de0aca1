"""The page in a real browser, Debian's Chromium, on a real pilot."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.camera.servers import StartRtsp
from tests.needs import path_of
from tests.reporting.web.pilots import StartPilot, WebPilot

TOKEN = "correct-horse-battery-staple"
PATIENCE_MS = 45_000
HASH = """() => {
  const image = document.getElementById('picture'), canvas = document.createElement('canvas');
  if (!image.naturalWidth) return '';
  canvas.width = image.naturalWidth; canvas.height = image.naturalHeight;
  canvas.getContext('2d').drawImage(image, 0, 0);
  return canvas.toDataURL();
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=path_of("chromium"), args=arguments)
        yield browser
        browser.close()


class Window:
    """A page of the browser that notes what its console says."""

    def __init__(self, context: BrowserContext, port: int) -> None:
        self.page: Page = context.new_page()
        self.page.set_default_timeout(PATIENCE_MS)
        self.page.set_default_navigation_timeout(PATIENCE_MS)
        self.said: list[str] = []
        self.page.on("console", lambda message: self._hear(message.type, message.text))
        self.page.on("pageerror", lambda error: self.said.append(f"fault: {error}"))
        self.foreign: list[str] = []
        self.page.on("request", lambda request: self._note(request.url, port))
        self.address = f"http://127.0.0.1:{port}"

    def _hear(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.said.append(f"{kind}: {text}")

    def _note(self, url: str, port: int) -> None:
        if not url.startswith((f"http://127.0.0.1:{port}/", "data:")):
            self.foreign.append(url)

    def open(self, path: str = "/") -> Page:
        self.page.goto(self.address + path)
        return self.page

    def has(self, script: str) -> None:
        """Waits until the expression holds."""
        self.wait(lambda: bool(self.page.evaluate(script)), script)

    def wait(self, true: Callable[[], bool], what: str) -> None:
        """Waits for it. Playwright's own way evaluates text in the page, which the page's policy forbids."""
        for _ in range(PATIENCE_MS // 100):
            if true():
                return
            self.page.wait_for_timeout(100)
        pytest.fail(f"it did not come: {what}")

    def picture(self) -> str:
        """Return what the picture shows."""
        return str(self.page.evaluate(HASH))

    def picture_moves(self) -> None:
        self.has("document.getElementById('picture').naturalWidth > 0")
        before = self.picture()
        self.wait(lambda: self.picture() != before, "another picture")


def faults(page: Page) -> list[str]:
    """Return what axe-core calls serious or critical."""
    violations: list[dict[str, Any]] = Axe().run(page).response["violations"]
    return [f"{found['id']}: {found['help']}" for found in violations if found["impact"] in ("serious", "critical")]


@pytest.fixture
def windows(browser: Browser) -> Iterator[list[BrowserContext]]:
    """Contexts to be closed after the test."""
    contexts: list[BrowserContext] = []
    yield contexts
    for context in contexts:
        context.close()


def open_window(browser: Browser, windows: list[BrowserContext], port: int, **more: Any) -> Window:
    windows.append(browser.new_context(**more))
    return Window(windows[-1], port)


def test_the_page_shows_the_run_the_loss_of_the_camera_and_its_return(
    browser: Browser, windows: list[BrowserContext], rtsp: StartRtsp, web_pilot: StartPilot
) -> None:
    server = rtsp("--fps", "10")
    pilot = web_pilot(source=f"{{uri: '{server.url}', stall_s: 1.0}}")
    window = open_window(browser, windows, pilot.port)
    page = window.open()
    expect(page.locator("#pill")).to_have_attribute("data-state", "live", timeout=PATIENCE_MS)
    window.picture_moves()
    window.has("parseFloat(document.getElementById('p50').textContent) > 0")
    window.has("document.querySelector('#latency-chart .curve.p50')?.getAttribute('d').split('L').length > 2")
    expect(page.locator("#backend")).to_have_text("onnxruntime fp32")
    expect(page.locator("#why li").first).to_contain_text("TensorRT: ")
    expect(page.locator("#lines")).to_contain_text("Source live")
    server.kill()
    expect(page.locator("#pill")).to_have_attribute("data-state", "lost", timeout=PATIENCE_MS)
    expect(page.locator("#curtain")).to_be_visible()
    expect(page.locator("#curtain")).to_contain_text("Camera lost")
    server.restart("--fps", "10")
    expect(page.locator("#pill")).to_have_attribute("data-state", "live", timeout=PATIENCE_MS)
    expect(page.locator("#counts")).to_contain_text("1 times", timeout=PATIENCE_MS)
    window.picture_moves()
    assert (window.said, window.foreign) == ([], [])
    assert pilot.stop() == 0
    expect(page.locator("#pill-text")).to_have_text("The pilot does not answer", timeout=PATIENCE_MS)


@pytest.mark.parametrize(("scheme", "size"), [("light", (1440, 900)), ("dark", (390, 844))])
def test_nobody_is_kept_out(
    browser: Browser, windows: list[BrowserContext], pilot: WebPilot, scheme: str, size: tuple[int, int]
) -> None:
    viewport = {"width": size[0], "height": size[1]}
    window = open_window(browser, windows, pilot.port, color_scheme=scheme, viewport=viewport)
    page = window.open()
    window.has("document.querySelector('#latency-chart .curve.p50')")
    assert faults(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
    assert window.said == []


def test_whoever_wants_no_motion_sees_a_still_and_may_play_it(
    browser: Browser, windows: list[BrowserContext], pilot: WebPilot
) -> None:
    window = open_window(browser, windows, pilot.port, reduced_motion="reduce")
    page = window.open()
    expect(page.locator("#pause")).to_have_text("Play")
    assert "/picture.jpg" in str(page.locator("#picture").get_attribute("src"))
    page.keyboard.press("Tab")
    page.locator("#pause").press("Enter")
    expect(page.locator("#pause")).to_have_text("Pause")
    window.picture_moves()
    page.get_by_text("1 min", exact=True).click()
    assert [text for text in window.said if "503" not in text] == []  # a busy machine may have no picture in time


def test_the_door_refuses_a_wrong_token_and_opens_to_the_right_one(
    browser: Browser, windows: list[BrowserContext], web_pilot: StartPilot, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "token").chmod(0o600)
    pilot = web_pilot(web="bind: '127.0.0.1:0', token_path: token")
    window = open_window(browser, windows, pilot.port)
    page = window.open()
    page.wait_for_url("**/sign-in")
    assert faults(page) == []
    page.get_by_label("Token").fill("wrong")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_have_text("That is not the token.")
    assert [text for text in window.said if "401" not in text] == []
    window.said.clear()
    page.get_by_label("Token").fill(TOKEN)
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator("#pill")).to_have_attribute("data-state", "live", timeout=PATIENCE_MS)
    assert TOKEN not in page.url and TOKEN not in page.content()
    assert [(cookie["httpOnly"], cookie["sameSite"]) for cookie in windows[-1].cookies()] == [(True, "Strict")]
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/sign-in")
    assert window.said == []
    assert pilot.stop() == 0
    assert TOKEN not in pilot.log.read_text()
