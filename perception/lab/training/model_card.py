"""The figures of the model card as tables."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from perception.lab.training.figures import (
    CONDITIONS,
    CONFIDENCES,
    Detect,
    Split,
    by_confidence,
    detect_split,
    drive_scores,
    follow,
)
from perception.reporting.truth import Score
from perception.settings.model import COCO_VEHICLES
from perception.workshop.figures import show

Rows = dict[str, dict[str, float]]

SOURCES: Mapping[str, tuple[str, ...]] = {
    "whole": (),
    "india_*": ("india",),
    "openimages_*": ("openimages",),
    "india_* and openimages_*": ("india", "openimages"),
    "carla_*": ("carla",),
}


def on_pictures(name: str, detect: Detect, data: Path) -> Rows:
    """Return average precision on a validation split by source and class. detect: one with almost no threshold."""
    split = detect_split(detect, data)
    rows = {source: _precision(split.of(*words)) for source, words in SOURCES.items()}
    by_class = split.precision().by_class
    for number, (ap50, ap) in by_class.items():
        rows[COCO_VEHICLES[number]] = {"mAP50": round(ap50, 3), "mAP50-95": round(ap, 3)}
    show(f"{name} on {len(split.names)} validation pictures", rows, [])
    return rows


def _precision(split: Split) -> dict[str, float]:
    precision = split.precision()
    return {
        "pictures": len(split.names),
        "mAP50": round(precision.map50, 3),
        "mAP50-95": round(precision.map50_95, 3),
        "any vehicle AP50": round(split.any_vehicle(), 3),
    }


def on_drives(name: str, detect: Detect, seeds: int) -> Rows:
    """Return recall and precision on unseen drives, by light and weather, and by class in each."""
    rows: Rows = {}
    for condition, (light, rain) in CONDITIONS.items():
        for group, score in drive_scores(detect, seeds, light, rain).items():
            rows[condition if group == "all" else f"  {condition}: {group}"] = _shares(score)
    show(f"{name} on {seeds} unseen drives of each kind", rows, [])
    return rows


def by_threshold(name: str, detect: Detect, seeds: int) -> Rows:
    """Return recall and precision by confidence, over the drives kept for choosing one."""
    rows: Rows = {}
    for condition, (light, rain) in CONDITIONS.items():
        for least, score in by_confidence(detect, seeds, light, rain).items():
            rows[f"{condition}, above {least:g}"] = _shares(score)
    show(f"{name} by confidence, least {CONFIDENCES[0]:g}", rows, [])
    return rows


def _shares(score: Score) -> dict[str, float]:
    return {"recall": round(score.recall, 3), "precision": round(score.precision, 3), "vehicles": score.wanted}


def on_footage(name: str, detect: Detect, reference: Detect, clip: Path) -> Rows:
    """Count the frames of a clip in which the car nearest at first is found; `reference` tells where it is."""
    seen = follow(detect, reference, clip)
    rows = {"the white car": {"found": seen.found, "of frames": seen.asked, "in clip": seen.frames}}
    show(f"{name} on {clip.name}", rows, [])
    return {key: {word: float(count) for word, count in row.items()} for key, row in rows.items()}
