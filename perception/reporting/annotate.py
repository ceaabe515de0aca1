"""Draws the vehicles onto a copy of the frame."""

from __future__ import annotations

import cv2

from perception.core.frame import Image, Report
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
