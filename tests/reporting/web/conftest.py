"""Fixtures of the page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from perception.reporting.web.server import WebPage
from perception.settings.model import WebSettings
from tests.camera.servers import rtsp
from tests.reporting.web.pilots import StartPilot, WebPilot

__all__ = ["rtsp"]


@pytest.fixture
def page() -> Iterator[WebPage]:
    """The server of the page in this process, open to this machine without a token."""
    page = WebPage(WebSettings(), "127.0.0.1:0", {})
    yield page
    page.close()


@pytest.fixture
def guarded() -> Iterator[WebPage]:
    """The same, with a token."""
    page = WebPage(WebSettings(), "127.0.0.1:0", {"PILOT_WEB_TOKEN": "correct-horse-battery-staple"})
    yield page
    page.close()


@pytest.fixture(scope="module")
def pilot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebPilot]:
    """A pilot that serves the page and detects in an endless clip."""
    pilot = WebPilot(tmp_path_factory.mktemp("pilot"))
    yield pilot
    assert pilot.stop() == 0
    assert "Traceback" not in pilot.log.read_text()


@pytest.fixture
def web_pilot(tmp_path: Path) -> Iterator[StartPilot]:
    """Starts a pilot of the test's own; it is ended after the test."""
    started: list[WebPilot] = []

    def start(**more: str) -> WebPilot:
        started.append(WebPilot(tmp_path, **more))
        return started[-1]

    yield start
    for pilot in started:
        pilot.kill()
