"""Drawing on a copy of the frame, and the window of --show."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from perception.core.detections import Detections
from perception.core.errors import SettingsError
from perception.core.frame import Frame
from perception.core.results import BackendInfo, Report
from perception.reporting.annotate import COLOURS, WindowSink, annotate
from tests.doubles.fakes import make_image, make_report


def report_of(height: int, width: int, *rows: tuple[float, float, float, float, int]) -> Report:
    table = np.array(rows, np.float32).reshape(-1, 5)
    found = Detections(table[:, :4], np.full(len(rows), 0.9, np.float32), table[:, 4].astype(np.int64))
    report = make_report()
    return replace(
        report,
        frame=Frame(make_image(0, height, width), 0, 0.0, "x"),
        result=replace(report.result, detections=found),
        backend=BackendInfo("fake", "fp32", (64, 64), 1, {number: f"class {number}" for number in range(8)}),
    )


def test_the_frame_itself_stays_as_it_was() -> None:
    report = report_of(240, 320, (50, 60, 150, 160, 2))
    drawn = annotate(report)
    assert not report.frame.image.any()
    assert drawn.any()
    assert drawn.shape == report.frame.image.shape
    assert drawn.dtype == np.uint8


def test_a_box_is_drawn_where_it_was_found_in_the_colour_of_its_class() -> None:
    drawn = annotate(report_of(240, 320, (50, 60, 150, 160, 2)))
    colour = np.array(COLOURS[2])
    for y, x in ((110, 50), (110, 150), (160, 100)):
        assert np.abs(drawn[y, x].astype(int) - colour).max() < 40, (y, x)
    assert not drawn[110, 100].any()


def test_the_vehicle_classes_of_coco_all_differ_in_colour() -> None:
    assert len({COLOURS[class_id % len(COLOURS)] for class_id in (1, 2, 3, 5, 7)}) == 5
    assert len({COLOURS[class_id % len(COLOURS)] for class_id in range(5)}) == 5


def test_the_number_of_vehicles_and_the_time_stand_at_the_lower_edge() -> None:
    drawn = annotate(report_of(240, 320))
    assert drawn[225:, :200].any()
    assert not drawn[:200].any()


@pytest.mark.parametrize("size", [(1, 1), (2, 500), (500, 2), (7, 9), (1080, 1920)])
def test_every_size_of_picture_can_be_drawn_on(size: tuple[int, int]) -> None:
    height, width = size
    drawn = annotate(report_of(height, width, (0, 0, width, height, 2), (width, height, width, height, 7)))
    assert drawn.shape == (height, width, 3)
    assert drawn.any()


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
