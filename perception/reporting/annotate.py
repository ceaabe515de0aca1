"""Draws the vehicles onto a copy of the frame, and shows it in a window (--show)."""

from __future__ import annotations

import os
import sys

import cv2

from perception.core.errors import SettingsError
from perception.core.frame import Image
from perception.core.results import Report
from perception.reporting.vehicles import headline, vehicles

# Colour-blind safe (Okabe and Ito), BGR, by class id: seven, so that the vehicle ids of COCO all differ.
COLOURS = ((0, 159, 230), (233, 180, 86), (167, 121, 204), (0, 94, 213), (115, 158, 0), (178, 114, 0), (66, 228, 240))


def annotate(report: Report) -> Image:
    """Return a copy of the frame's image with a box and a label for each vehicle."""
    image: Image = report.frame.image.copy()
    thickness = max(round(image.shape[0] / 360), 1)
    found = report.result.detections
    named = vehicles(found, report.backend.class_names)
    for (name, confidence, box), class_id in zip(named, found.class_id.tolist()):
        colour = COLOURS[class_id % len(COLOURS)]
        left, top, right, bottom = (round(value) for value in box)
        cv2.rectangle(image, (left, top), (right, bottom), colour, thickness, cv2.LINE_AA)
        _label(image, f"{name} {confidence:.2f}", (left, top), colour)
    _label(image, headline(report.result), (0, image.shape[0]), (40, 40, 40))
    return image


def _label(image: Image, text: str, corner: tuple[int, int], colour: tuple[int, int, int]) -> None:
    """Draw white text on `colour`, its lower left corner at `corner`, moved into the image where it would leave it."""
    scale = max(image.shape[0] / 1440, 0.35)
    (width, height), baseline = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
    left = max(min(corner[0], image.shape[1] - width - 4), 0)
    bottom = max(corner[1], height + baseline + 4)
    cv2.rectangle(image, (left, bottom - height - baseline - 4), (left + width + 4, bottom), colour, cv2.FILLED)
    origin = (left + 2, bottom - baseline - 2)
    cv2.putText(image, text, origin, cv2.FONT_HERSHEY_SIMPLEX, scale, (255, 255, 255), 1, cv2.LINE_AA)


class WindowSink:
    """Shows each annotated frame. `closed` turns true when the user presses q or Esc, or closes the window."""

    TITLE = "vehicle pilot"

    def __init__(self) -> None:
        """Raises SettingsError where no window can be shown."""
        if any(words[:2] == ["GUI:", "NONE"] for words in map(str.split, cv2.getBuildInformation().splitlines())):
            raise SettingsError(
                "--show needs a window, and this OpenCV is a headless build",
                "Use --record out.mp4, or an OpenCV with a window (opencv-python, or the system's python3-opencv).",
            )
        if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            raise SettingsError(
                "--show needs a display, and there is none (DISPLAY is not set)", "Use --record out.mp4."
            )
        self.closed = False

    def write(self, report: Report) -> None:
        """Show one frame."""
        cv2.imshow(self.TITLE, annotate(report))
        pressed = cv2.waitKey(1) & 0xFF
        self.closed = pressed in (ord("q"), 27) or cv2.getWindowProperty(self.TITLE, cv2.WND_PROP_VISIBLE) < 1

    def close(self) -> None:
        """Close the window."""
        cv2.destroyAllWindows()
