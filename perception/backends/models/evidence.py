"""Evidence for and against each layout that an output could have: its shape, its metadata, the values of probes.

A layout that the values contradict is out (an objection). What only speaks against it is a doubt.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from perception.backends.models.model_facts import Facts
from perception.core.boxes import overlaps
from perception.core.layouts import LAYOUTS, Layout

Floats = npt.NDArray[np.floating]

FEW_ROWS = 0.1
"""The share of boxes that may be odd in a sound output: distances below 0 where a network sees nothing."""
OVERLAP = 0.7
"""Of two boxes of one class that overlap by more, any suppression leaves one."""
SURE = 0.25
"""Below this confidence even a network that suppresses overlaps itself gives a box twice."""
ROUNDING = 1e-6
"""The largest distance of a label from a whole number."""
MOST_SHARE = 1.5
"""No coordinate in shares of the input is larger, and no set of them in pixels is all smaller."""
STRIDES = ((8, 16, 32), (8, 16, 32, 64), (4, 8, 16, 32), (16, 32))


@dataclass(frozen=True, slots=True)
class Candidate:
    """A layout that fits the shape. ids: see Head; None where labels could be counted in two ways."""

    layout: Layout
    ids: tuple[int, ...] | None
    objections: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    undecoded: bool = False


def fitting(shape: tuple[int, ...], names: Mapping[int, str]) -> list[Candidate]:
    """The layouts of that shape: with a score for each name or, else, for each id up to the largest."""
    in_order = tuple(sorted(names))
    by_id = tuple(number if number in names else -1 for number in range(max(names) + 1))
    found: dict[str, Candidate] = {}
    for ids in (in_order, by_id):
        for layout in LAYOUTS.values():
            if layout.fits(shape, len(ids)):
                found.setdefault(layout.name, Candidate(layout, ids))
    return list(found.values())


@dataclass(frozen=True, slots=True)
class Reading:
    """The reading of the values under one layout. rows: by picture, (n, width); all: of all pictures together."""

    layout: Layout
    rows: list[Floats]
    all: Floats

    @property
    def boxes(self) -> Floats:
        """Those rows whose box is not all zeros, four numbers each."""
        return np.asarray(self.all[self.all[:, :4].any(axis=1), :4])

    @property
    def scores(self) -> Floats:
        """Everything that must be 0 to 1, of each row."""
        return np.asarray(self.all[:, 4:5] if self.layout.tail == "label" else self.all[:, 4:])

    @property
    def labels(self) -> Floats:
        """The labels of the rows with a confidence; the others are padding."""
        return np.asarray(self.all[self.all[:, 4] > 0, 5])

    def confidence(self, rows: Floats) -> Floats:
        """Of each of these rows."""
        if self.layout.tail == "label":
            return np.asarray(rows[:, 4])
        if self.layout.tail == "objectness":
            return np.asarray(rows[:, 5:].max(axis=1, initial=0) * rows[:, 4])
        return np.asarray(rows[:, 4:].max(axis=1, initial=0))


def read_as(layout: Layout, outputs: Sequence[Floats]) -> Reading:
    rows = [image.astype(np.float32) if layout.by_row else image.T.astype(np.float32) for (image,) in outputs]
    return Reading(layout, rows, np.concatenate(rows))


def judged(
    one: Candidate, outputs: Sequence[Floats], names: Mapping[int, str], facts: Facts, input_hw: tuple[int, int]
) -> Candidate:
    reading = read_as(one.layout, outputs)
    undecoded = tuple(_not_decoded(reading, input_hw))
    objections = (*undecoded, *_objections(reading, names, input_hw, facts))
    ids = one.ids
    if one.layout.tail == "label" and not objections:
        ids = _label_ids(reading, names)
    doubts = () if objections else tuple(_doubts(one, reading, input_hw))
    return replace(one, ids=ids, objections=objections, doubts=doubts, undecoded=bool(undecoded))


def _not_decoded(reading: Reading, input_hw: tuple[int, int]) -> Iterator[str]:
    """Return the signs of a head that leaves its last step to the reader: offsets in cells, logarithms, logits."""
    boxes, scores = reading.boxes, reading.scores
    if scores.size and scores.min() < -0.01:
        yield f"its scores reach from {scores.min():.3g} to {scores.max():.3g}, not 0 to 1"
    if not len(boxes):
        return
    inverted = (boxes[:, 2:] < 0).any(axis=1).mean()
    if reading.layout.tail == "objectness" and inverted > FEW_ROWS:
        yield f"its boxes have sizes below 0 ({boxes[:, 2:].min():.3g})"
    largest = np.abs(boxes).max()
    if not reading.layout.shares and MOST_SHARE < largest < min(input_hw) / 16:
        yield f"no coordinate is larger than {largest:.3g}, at an input of {input_hw[1]}x{input_hw[0]}: no pixels"


def _objections(reading: Reading, names: Mapping[int, str], input_hw: tuple[int, int], facts: Facts) -> Iterator[str]:
    layout, boxes, scores = reading.layout, reading.boxes, reading.scores
    if scores.size and scores.max() > 1.01:
        yield f"its scores reach {scores.max():.3g}, not 1"
    largest = np.abs(boxes).max(initial=0)
    if layout.shares and largest > MOST_SHARE:
        yield f"its coordinates reach {largest:.3g}: no shares of the input"
    if not layout.shares and 0 < largest <= MOST_SHARE:
        yield f"its coordinates reach {largest:.3g}: no pixels of an input of {input_hw[1]}x{input_hw[0]}"
    if layout.tail == "label":
        yield from _no_labels(reading, names)
    elif layout.by_row and scores.shape[1] == 2 and _whole(scores[:, 1]).all() and (scores[:, 1] > 0.5).any():
        yield "its last number is a whole one in every box: a label, and no score"
    certain = reading.all[reading.all[:, 4] > 0, :4]
    if layout.corners and len(certain) and not facts.suppressed:
        crossed = (certain[:, 2:] < certain[:, :2]).any(axis=1).mean()
        if crossed > FEW_ROWS:
            yield f"{crossed:.0%} of its boxes end before they begin: centres and sizes, no corners"


def _whole(values: Floats) -> npt.NDArray[np.bool_]:
    whole: npt.NDArray[np.bool_] = np.abs(values - np.rint(values)) <= ROUNDING
    return whole


def _no_labels(reading: Reading, names: Mapping[int, str]) -> Iterator[str]:
    labels, most = reading.labels, max(len(names) - 1, *names)
    broken = reading.all[~_whole(reading.all[:, 5]), 5]
    if len(broken):
        yield f"its last number is {broken[0]:.3g} in a box: a score, and no label"
    elif len(labels) and (labels.min() < 0 or labels.max() > most):
        odd = labels.min() if labels.min() < 0 else labels.max()
        yield f"its last number is {odd:.3g} in a box, and its classes end at {most}"
    elif len(labels) and _label_ids(reading, names) == ():
        yield f"its labels are {sorted(_seen(reading))[:20]}, and its classes {list(names)[:20]}"


def _seen(reading: Reading) -> set[int]:
    return set(np.rint(reading.labels).astype(int).tolist())


def _label_ids(reading: Reading, names: Mapping[int, str]) -> tuple[int, ...] | None:
    """The ids by label: as labels count the names or as they are ids; None where both could be, () where neither."""
    in_order = tuple(sorted(names))
    if in_order == tuple(range(len(names))):
        return in_order
    seen = _seen(reading)
    counted, given = all(label < len(names) for label in seen), seen <= set(names)
    if counted and given:
        return None
    by_id = tuple(number if number in names else -1 for number in range(max(names) + 1))
    return in_order if counted else by_id if given else ()


def _doubts(one: Candidate, reading: Reading, input_hw: tuple[int, int]) -> Iterator[str]:
    confidence = reading.confidence(reading.all)
    if not reading.layout.corners and len(reading.boxes) and (reading.boxes[:, 2:] < 0).any(axis=1).mean() > FEW_ROWS:
        yield "its boxes have sizes below 0"  # as YOLO26 gives them where it was not trained
    if len(reading.boxes) and not (confidence > 0).any():
        yield "it gives boxes, and every confidence would be 0"
    if reading.layout.shares and len(reading.boxes):
        boxes = reading.boxes
        outside = (np.abs(boxes[:, :2] - 0.5) + boxes[:, 2:] / 2 > 0.6).any(axis=1).mean()
        if outside > FEW_ROWS:
            yield f"{outside:.0%} of its boxes reach out of the picture"
    if reading.layout.by_row and reading.scores.shape[1] == 2:
        yield from _rather_labelled(reading)
    if one.layout.tail != "label" and one.ids is not None and -1 in one.ids:
        yield from _nameless(reading, one.ids)
    if reading.layout.corners:
        open_, suppressed = _suppression(reading, input_hw)
        if reading.layout.final and not suppressed:
            yield open_ or "whether overlaps are suppressed does not show"
        if not reading.layout.final and not open_:
            yield suppressed or "whether overlaps are suppressed does not show"


def _rather_labelled(reading: Reading) -> Iterator[str]:
    """Return the signs of corners, a confidence and a label where two numbers could be scores as well."""
    certain = reading.all[reading.all[:, 4] > 0]
    if len(certain) and (certain[:, 5] <= ROUNDING).all():
        yield "its last number is 0 in every box: a label, rather than a score"
    distinct = np.unique(certain[:, :4], axis=0)
    if not reading.layout.shares and len(distinct) > 1 and (distinct[:, 2:] > distinct[:, :2]).all():
        yield "all of its boxes make sense as corners"


def _nameless(reading: Reading, ids: tuple[int, ...]) -> Iterator[str]:
    """Return what speaks against a score for each id up to the largest, where some have no name."""
    scores = reading.all[reading.confidence(reading.all) > 0, -len(ids) :]
    nameless = scores[:, np.array(ids) < 0].max(axis=1, initial=0)
    share = (nameless > scores.max(axis=1, initial=0) / 2).mean() if len(scores) else 0
    if share > FEW_ROWS:
        yield f"{share:.0%} of its boxes would as well be of classes without a name"


def _suppression(reading: Reading, input_hw: tuple[int, int]) -> tuple[str, str]:
    """Why overlaps are not suppressed yet, and why they are; one of the two at most is a sentence."""
    count = len(reading.rows[0])
    if count in _cells(input_hw):
        return f"its {count} rows are one for each cell", ""
    for rows in reading.rows:
        confidence = rows[:, 4]
        if (np.diff(confidence) > 0).any():
            return "its rows are not sorted by confidence", ""
        sure = rows[confidence > SURE]
        boxes = sure[:, :4].astype(np.float32)
        same = overlaps(boxes, boxes) * (sure[:, None, 5] == sure[None, :, 5])
        if (np.triu(same, 1) > OVERLAP).any():
            return "two of its boxes of one class nearly cover each other", ""
    if max(int((rows[:, 4] > 0).sum()) for rows in reading.rows) < 2:
        return "", ""
    return "", "its rows are sorted by confidence, and none covers another one of its class"


def _cells(input_hw: tuple[int, int]) -> set[int]:
    """Return the counts of cells that the levels of a YOLO have together, one or three boxes in each."""
    height, width = input_hw
    cells = [sum(-(-height // stride) * -(-width // stride) for stride in strides) for strides in STRIDES]
    return {boxes * count for count in cells for boxes in (1, 3)}
