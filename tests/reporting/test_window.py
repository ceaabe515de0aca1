"""The window of --show."""

from __future__ import annotations

import cv2
import pytest

from perception.core.errors import SettingsError
from perception.reporting.window import WindowSink
from tests.doubles.fakes import make_report


def headless() -> bool:
    return any(line.split()[:2] == ["GUI:", "NONE"] for line in cv2.getBuildInformation().splitlines())


def test_a_headless_opencv_has_no_window_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "getBuildInformation", lambda: "  GUI:                           NONE\n")
    monkeypatch.setenv("DISPLAY", ":0")
    with pytest.raises(SettingsError, match=r"--show needs a window, and this OpenCV is a headless build.*--record"):
        WindowSink()


def test_a_machine_without_a_display_has_no_window_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "getBuildInformation", lambda: "  GUI:                           GTK3\n")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(SettingsError, match="--show needs a display, and there is none"):
        WindowSink()


def test_this_machine_gets_a_window_or_the_reason_why_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(SettingsError, match="headless build" if headless() else "needs a display"):
        WindowSink()


@pytest.mark.parametrize(
    ("key", "visible", "closed"),
    [(-1, 1.0, False), (ord("x"), 1.0, False), (ord("q"), 1.0, True), (27, 1.0, True), (-1, 0.0, True)],
)
def test_q_escape_or_closing_the_window_ends_the_run(
    monkeypatch: pytest.MonkeyPatch, key: int, visible: float, closed: bool
) -> None:
    shown: list[tuple[str, tuple[int, ...]]] = []
    monkeypatch.setattr(cv2, "getBuildInformation", lambda: "  GUI:                           GTK3\n")
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(cv2, "imshow", lambda title, image: shown.append((title, image.shape)))
    monkeypatch.setattr(cv2, "waitKey", lambda ms: key)
    monkeypatch.setattr(cv2, "getWindowProperty", lambda title, name: visible)
    monkeypatch.setattr(cv2, "destroyAllWindows", lambda: shown.append(("closed", ())))
    window = WindowSink()
    window.write(make_report())
    assert window.closed is closed
    window.close()
    assert shown == [("vehicle pilot", (48, 64, 3)), ("closed", ())]
