"""The gate that decides if a new engine may serve: it must not find less than the model it was built from.

With labels three things are judged. Average precision over all confidences and overlaps may fall by `max_drop` points.
Recall at the operating threshold, of each class and of all, may fall by as much, and by what chance explains: of the
vehicles that one of the two models alone finds, a fair coin would give either one half, so a difference of up to twice
the square root of their number is no evidence. Of 17 trucks one vehicle is 6 points, and says nothing.

Without labels the reference is taken for the truth, and only vehicles that it is sure of are asked for: near the
threshold two precisions of one network always differ. `max_drop` percent of them may be missing, and as many sure ones
of the candidate's own may be new, with twice the square root of that number on top: so much may chance add to it.

A model that finds nothing passes neither.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from perception.workshop.accuracy.score import Score
from perception.workshop.accuracy.threshold import suggested
from perception.workshop.accuracy.unlabelled import UnlabelledScore

LEAST_SURE = 20
"""With fewer sure vehicles INT8 is not judged; of what stays in floating point a few do for a rough fault."""
FLOATS = ("fp16", "fp32")
ROUNDING = 1e-9
NEXT = {
    "int8": "Try next: the other --method (qdq, calibrator) or another --calibrator (minmax, entropy; of qdq also "
    "percentile, mse); calibration pictures of the camera's own road, with vehicles in them; or --precision fp16",
    "fp16": "Try next: --precision fp32, which tells whether the numbers of this model leave the range of FP16",
}


@dataclass(frozen=True)
class Verdict:
    """The decision on a candidate. lines: sentences for the user. report: the same for the sidecar, as JSON."""

    passed: bool
    lines: tuple[str, ...]
    report: Mapping[str, Any]


def judge_labelled(reference: Score, candidate: Score, max_drop_points: float) -> Verdict:
    """Return the verdict on two scores of the same labels. max_drop_points: percentage points."""
    conf = suggested(reference.curve, candidate.curve, candidate.conf)
    faults = list(_labelled_faults(reference, candidate, max_drop_points))
    drops = {
        "map50_95": _points(reference.map50_95 - candidate.map50_95),
        "map50": _points(reference.map50 - candidate.map50),
        "recall": _points(reference.recall - candidate.recall),
    }
    lines = [
        f"mAP50-95 {reference.map50_95:.2%} -> {candidate.map50_95:.2%}, mAP50 {reference.map50:.2%} -> "
        f"{candidate.map50:.2%}, recall at {candidate.conf:g} {reference.recall:.2%} -> {candidate.recall:.2%} "
        f"({len(candidate.label_class)} labelled vehicles in {candidate.images} pictures)",
        *faults,
    ]
    if conf is not None:
        lines.append(suggestion(candidate, conf))
    report = {
        "kind": "labelled",
        "images": candidate.images,
        "labels": len(candidate.label_class),
        "conf": candidate.conf,
        "drop_points": drops,
        "suggested_conf": conf,
        "reference": reference.to_values(),
        "candidate": candidate.to_values(),
    }
    return _verdict(faults, lines, report, max_drop_points, candidate.precision)


def suggestion(candidate: Score, conf: float) -> str:
    """Return the sentence that suggests another threshold."""
    now, then = candidate.curve.at(candidate.conf), candidate.curve.at(conf)
    return (
        f"Its confidences moved: model.conf {conf:.2f} does for it what {candidate.conf:g} does for the reference "
        f"(F1 {then:.3f} instead of {now:.3f})"
    )


def _labelled_faults(reference: Score, candidate: Score, max_drop: float) -> Iterator[str]:
    count = len(candidate.label_class)
    if not reference.is_found.any():
        yield f"The reference finds none of the {count} labelled vehicles: there is nothing to judge by"
    if not candidate.is_found.any():
        yield f"It finds none of the {count} labelled vehicles"
        return
    if (drop := _points(reference.map50_95 - candidate.map50_95)) > max_drop + ROUNDING:
        yield f"mAP50-95 falls by {drop:.2f} points, {max_drop:g} are allowed"
    lost, gained = reference.is_found & ~candidate.is_found, candidate.is_found & ~reference.is_found
    parts = {name: candidate.of_class(name) for name in candidate.classes}
    for name, own in {"all classes": np.ones(count, bool), **parts}.items():
        changed = int((lost | gained)[own].sum())
        drop = 100 * (int(lost[own].sum()) - int(gained[own].sum())) / int(own.sum())
        allowed = max_drop + 100 * 2 * math.sqrt(changed) / int(own.sum())
        if drop > allowed + ROUNDING:
            yield (
                f"Recall of {name} at {candidate.conf:g} falls by {drop:.1f} points, {allowed:.1f} are allowed "
                f"({int(lost[own].sum())} of {int(own.sum())} vehicles lost, {int(gained[own].sum())} gained)"
            )


def judge_unlabelled(found: UnlabelledScore, max_drop_points: float) -> Verdict:
    """Return the verdict on a candidate beside its reference. max_drop_points: percent of the sure vehicles."""
    whole = found.whole
    faults = list(_unlabelled_faults(found, max_drop_points))
    lines = [
        f"Of {found.sure} vehicles that the reference is sure of it misses {found.lost}, and {found.invented} of its "
        f"own {found.sure_of_candidate} are new; above {found.conf:g} it has {whole.recall:.1%} of {whole.reference} "
        f"and {whole.precision:.1%} of its {whole.candidate} are the reference's ({found.images} pictures without "
        "labels)",
        *faults,
    ]
    if found.mean_difference is not None:
        lines[0] += f"; confidences differ by {found.mean_difference:.3f} on average"
    if found.sure < LEAST_SURE and not faults:
        lines.append(f"{found.sure} vehicles are little to judge by: a small loss would not show")
    report = {"kind": "unlabelled", "images": found.images, "conf": found.conf, "candidate": found.to_values()}
    return _verdict(faults, lines, report, max_drop_points, found.precision)


def _unlabelled_faults(found: UnlabelledScore, max_drop: float) -> Iterator[str]:
    if found.sure < LEAST_SURE and found.precision not in FLOATS:
        yield (
            f"The reference is sure of {found.sure} vehicles in {found.images} pictures, and {LEAST_SURE} are needed "
            "to judge by: give pictures with more vehicles, or labels"
        )
    if not found.whole.candidate:
        yield f"It finds nothing in {found.images} pictures; the reference finds {found.whole.reference} vehicles"
        return
    expected = found.sure * max_drop / 100
    allowed = math.floor(expected + 2 * math.sqrt(expected))
    for what, count in (("misses", found.lost), ("adds", found.invented)):
        if count > allowed:
            yield f"It {what} {count} sure vehicles, {allowed} of {found.sure} are allowed"


def _verdict(faults: list[str], lines: list[str], report: dict[str, Any], max_drop: float, precision: str) -> Verdict:
    if faults and precision in NEXT:
        lines.append(NEXT[precision])
    return Verdict(not faults, tuple(lines), {**report, "max_drop": max_drop, "passed": not faults, "faults": faults})


def _points(share: float) -> float:
    return round(100 * share, 4)
