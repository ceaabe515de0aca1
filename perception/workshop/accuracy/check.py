"""The accuracy of one model or of several beside their reference: each looks in a process of its own, then all are
compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.table import Table

from perception.camera.images import some
from perception.core.errors import SettingsError
from perception.settings.model import COCO_VEHICLES, ModelSettings
from perception.system.plain_file import reason_of
from perception.workshop.accuracy import child, table
from perception.workshop.accuracy.detector import ENGINES, Conditions
from perception.workshop.accuracy.gate import Verdict, judge_labelled, judge_unlabelled
from perception.workshop.accuracy.labelled import LabelledSet, read_labelled
from perception.workshop.accuracy.likeness import Likeness, likeness
from perception.workshop.accuracy.look import UNREADABLE, Look, read
from perception.workshop.accuracy.score import Score, score
from perception.workshop.calibration.manifest import read_set

CHILD = "perception.workshop.accuracy.child"
Looker = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""Carries out one request of `child`, and gives its result: `child.run` here, or stage.run_stage in a process of its
own.
"""


@dataclass(frozen=True, slots=True)
class Pictures:
    """What accuracy is judged on. labelled: the labels, where there are any."""

    images: tuple[Path, ...]
    labelled: LabelledSet | None

    def thinned(self, count: int | None) -> Pictures:
        """At most `count` of them, spread evenly over the list; None leaves all."""
        if count is None or count >= len(self.images):
            return self
        step = len(self.images) / count
        images = tuple(self.images[int(number * step)] for number in range(count))
        return Pictures(images, self.labelled and replace(self.labelled, images=images))


def find_pictures(data: Path, classes: Sequence[str] = COCO_VEHICLES) -> Pictures:
    """The pictures of a data set file or a folder: `val` with its labels, or else those held out of a calibration set.

    Of a set that holds none out, and of a plain folder, all. Raises SettingsError for one that cannot be used.
    """
    if data.suffix.lower() in (".yaml", ".yml") and data.is_file():
        labelled = read_labelled(data, classes)
        if labelled is not None:
            return Pictures(labelled.images, labelled)
    if not data.exists():
        raise SettingsError(
            f"The data set {data} does not exist", "Give a .yaml file with `val`, or a folder of images."
        )
    found = read_set(data)
    return Pictures(found.held_out or found.images, None)


@dataclass(frozen=True)
class Comparison:
    """How models are looked at. folder: for what they found. cache: keeps what ONNX models found, None nothing.

    conf: the operating threshold, at which recall and agreement are judged.
    """

    pictures: Pictures
    look: Looker
    folder: Path
    cache: Path | None = None
    how: Conditions = field(default_factory=Conditions)
    conf: float = ModelSettings().conf

    def look_at(self, model: Path, reference: Look | None = None) -> Look:
        """What a model finds in the pictures. reference: names the classes of an engine that does not."""
        names = reference.class_names if reference and model.suffix in ENGINES else self.how.names
        target = self.folder / f"{model.name}.npz"
        self.look(child.request(model, self.pictures.images, target, replace(self.how, names=names), self.cache))
        try:
            return read(target)
        except (OSError, ValueError) as error:
            reason = reason_of(error) if isinstance(error, OSError) else str(error)
            raise SettingsError(f"What {model} found cannot be read back: {reason}", "Run it again.") from None

    def scores(self, looks: Sequence[Look]) -> list[Score]:
        """Each against the labels: of the classes that one of the models has, at least."""
        if self.pictures.labelled is None:
            raise ValueError("these pictures have no labels")
        labels = self.pictures.labelled.labels(looks[0].sizes)
        known = [name for name in self.how.classes if any(name in look.known for look in looks)]
        return [score(look, labels, known, self.conf) for look in looks]

    def likenesses(self, looks: Sequence[Look]) -> list[Likeness]:
        """Each but the first beside the first."""
        return [likeness(looks[0], look, self.conf) for look in looks[1:]]

    def notes(self, looks: Sequence[Look]) -> Iterator[str]:
        """What of the pictures and the classes is not as one would expect, a sentence each."""
        lost = [str(path) for path, size in zip(self.pictures.images, looks[0].sizes) if size == UNREADABLE]
        if lost:
            yield f"{len(lost)} of {len(self.pictures.images)} pictures cannot be read and are left out: {some(lost)}"
        for look in looks:
            if look.missing:
                yield f"{look.model} does not know the class{_es(look.missing)} {', '.join(look.missing)}"
        if self.pictures.labelled and (unlabelled := self.pictures.labelled.unlabelled_classes):
            yield f"The labels do not know {', '.join(unlabelled)}: what is found of that is not judged"


def judge(
    comparison: Comparison, reference: Path, candidate: Path, max_drop: float, show: Callable[[Table], None]
) -> Verdict:
    """Whether `candidate` finds as well as `reference`, the ONNX model that it was built from.

    max_drop: points of accuracy that it may lose. show: takes the figures of both. Raises SettingsError for pictures
    that cannot be judged on, BackendError or GpuError where a model cannot run.
    """
    first = comparison.look_at(reference)
    looks = [first, comparison.look_at(candidate, first)]
    if comparison.pictures.labelled is None:
        (found,) = comparison.likenesses(looks)
        show(table.of_likenesses(first.title, [found]))
        verdict = judge_unlabelled(found, max_drop)
    else:
        scores = comparison.scores(looks)
        show(table.of_scores(scores))
        verdict = judge_labelled(scores[0], scores[1], max_drop)
    return replace(verdict, lines=(*verdict.lines, *comparison.notes(looks)))


def _es(names: Sequence[str]) -> str:
    return "es" if len(names) > 1 else ""
