"""Decides which layout an output has, or asks: nothing is guessed where the evidence does not decide.

The error then says what speaks against which layout, and who can decide.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from perception.backends.models.evidence import STRIDES, Candidate, Floats, fitting, judged, read_as
from perception.backends.models.model_facts import Facts
from perception.core.errors import BackendError
from perception.core.layouts import LAYOUTS, Head

CURE = "Set the settings key model.layout (--layout in scripts/) to the one it is."


@dataclass(frozen=True, slots=True)
class Decided:
    """A head, and what a user should be told of how it was decided, a sentence each."""

    head: Head
    notes: tuple[str, ...] = ()


def decide(
    path: object, outputs: Sequence[Floats], names: Mapping[int, str], facts: Facts, input_hw: tuple[int, int],
    wanted: str | None = None,
) -> Decided:  # fmt: skip
    """Return the head of a model whose `outputs` for some probes, each (1, ., .), are these.

    names: its classes by id. wanted: the layout that the user or the sidecar names; None decides. Raises BackendError
    for what is no detector, for values that are no numbers, and where the evidence does not decide.
    """
    check_detector(path, outputs, facts)
    shape = outputs[0].shape
    found = [judged(one, outputs, names, facts, input_hw) for one in fitting(shape, names)]
    if wanted is not None:
        return _asked_for(path, wanted, found, shape, len(names))
    if not found:
        raise BackendError(f"{path} is of no known layout: {_expected(shape, len(names))}", "Give a detection model.")
    left = [one for one in found if not one.objections]
    if not left:
        raise _unknown(path, shape, found)
    told = _as_told(left, facts)
    notes = () if told else (f"{path} says that {_claim(facts)}, and its values do not",) if _claim(facts) else ()
    left = told or left
    chosen = _only(left) or _only([one for one in left if not one.doubts])
    if chosen is None:
        raise _undecided(path, shape, found)
    if not facts.names:  # YOLOX writes no metadata
        _refuse_yolox(path, chosen, outputs, input_hw)
    return Decided(_numbered(path, chosen), notes)


def check_detector(path: object, outputs: Sequence[Floats], facts: Facts) -> None:
    """Raises BackendError for a model of another task, an output of no boxes, and values that are no numbers."""
    if facts.task not in (None, "detect"):
        raise BackendError(f"{path} is a model for {facts.task!r}, not for detection", "Give a detection model.")
    shape = outputs[0].shape
    if len(shape) != 3:
        raise BackendError(
            f"The model cannot be used: its output has shape {shape}, not (batch, boxes, numbers) in any order",
            "Give a detection model, exported with its head decoded.",
        )
    if not all(np.isfinite(output).all() for output in outputs):
        raise BackendError(f"{path} gives what is no number (NaN or infinity)", "Its weights are broken: export again.")


def _as_told(left: Sequence[Candidate], facts: Facts) -> list[Candidate]:
    """Those that the file itself names; none where it names none of them."""
    if facts.head is not None and facts.head.startswith("RTDETR"):
        return [one for one in left if one.layout.shares]
    if facts.suppressed:
        return [one for one in left if one.layout.final and not one.layout.shares]
    return []


def _claim(facts: Facts) -> str:
    """Return the metadata that `_as_told` follows, in words."""
    if facts.head is not None and facts.head.startswith("RTDETR"):
        return f"its head is {facts.head}"
    return "it suppresses overlaps itself" if facts.suppressed else ""


def _only(found: Sequence[Candidate]) -> Candidate | None:
    return found[0] if len(found) == 1 else None


def _asked_for(
    path: object, wanted: str, found: Sequence[Candidate], shape: tuple[int, ...], class_count: int
) -> Decided:
    fitting = [one for one in found if one.layout.name == wanted]
    if not fitting:
        raise BackendError(
            f"The layout {wanted} (model.layout) of {class_count} classes has shape "
            f"{LAYOUTS[wanted].shape(class_count)}, and the output of {path} has {shape}",
            f"Set model.layout to one that fits ({_names(found)}), or to null." if found else "Give a detection model.",
        )
    (one,) = fitting
    notes = tuple(f"{path}: {why} ({wanted}, as model.layout says, has no such)" for why in one.objections)
    return Decided(_numbered(path, one), notes)


def _numbered(path: object, one: Candidate) -> Head:
    if not one.ids:
        raise BackendError(
            f"{path} numbers its classes not from 0 on without gaps, and whether its labels are these numbers or count "
            "the names does not show",
            "List the names by label, from label 0 on, in the settings key model.names.",
        )
    return Head(one.layout, one.ids)


def _refuse_yolox(path: object, one: Candidate, outputs: Sequence[Floats], input_hw: tuple[int, int]) -> None:
    if one.layout.tail != "objectness":
        return
    reading = read_as(one.layout, outputs)
    height, width = input_hw
    cells = sum((height // stride) * (width // stride) for stride in STRIDES[0])
    if len(reading.rows[0]) == cells and (reading.all[:, 4] != 1).any():
        raise BackendError(
            f"{path} is YOLOX by its output {outputs[0].shape}, one box and one objectness for each cell: it takes "
            "pictures of 0 to 255 in BGR, which the pilot does not give",
            "Give a YOLO by ultralytics or an RT-DETR. Where it takes 0 to 1 in RGB: model.layout yolov5.",
        )


def _expected(shape: tuple[int, ...], class_count: int) -> str:
    *first, last = dict.fromkeys(layout.shape(class_count) for layout in LAYOUTS.values())
    known = f"{', '.join(first)} or {last}"
    return f"the output has shape {shape}; a detector of {class_count} classes gives {known}"


def _names(found: Sequence[Candidate]) -> str:
    return ", ".join(one.layout.name for one in found)


def _unknown(path: object, shape: tuple[int, ...], found: Sequence[Candidate]) -> BackendError:
    against = "; ".join(f"no {one.layout.name}: {one.objections[0]}" for one in found)
    if any(one.undecoded for one in found):
        return BackendError(
            f"The head of {path} is not decoded, as YOLOX is exported and others without their last step: its output "
            f"{shape} is {against}",
            "Export it with its boxes in pixels and its scores from 0 to 1: yolo export format=onnx.",
        )
    return BackendError(f"The output {shape} of {path} is of no known layout: {against}", f"{CURE} Or export it again.")


def _undecided(path: object, shape: tuple[int, ...], found: Sequence[Candidate]) -> BackendError:
    said = "; ".join(
        f"{one.layout.name}: {'not so, ' if one.objections else ''}"
        f"{(one.objections + one.doubts + ('nothing speaks against it',))[0]}"
        for one in found
    )
    return BackendError(f"The layout of the output {shape} of {path} does not show (model.layout): {said}", CURE)
