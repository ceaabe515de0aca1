"""Accuracy of one model, or of several beside their reference: each runs in a process of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.table import Table

from perception.camera.images import some
from perception.core.errors import SettingsError
from perception.settings.model import COCO_VEHICLES, ModelSettings
from perception.system.trusted_file import reason_of
from perception.workshop.accuracy import child, table
from perception.workshop.accuracy.detector import ENGINES, Conditions
from perception.workshop.accuracy.gate import Verdict, judge_labelled, judge_unlabelled
from perception.workshop.accuracy.labelled import LabelledSet, read_labelled
from perception.workshop.accuracy.model_run import UNREADABLE, ModelRun, read
from perception.workshop.accuracy.score import Score, score
from perception.workshop.accuracy.unlabelled import UnlabelledScore, score_unlabelled
from perception.workshop.calibration.calibration_set import read_set

CHILD = "perception.workshop.accuracy.child"
Runner = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""Carries out one request of `child` and returns its result: `child.run` here, or stage.run_stage in a process of its
own.
"""


@dataclass(frozen=True, slots=True)
class Pictures:
    """The pictures that accuracy is judged on. labelled: the labels, where there are any."""

    images: tuple[Path, ...]
    labelled: LabelledSet | None

    def thinned(self, count: int | None) -> Pictures:
        """Return at most `count` of them, spread evenly over the list; None leaves all."""
        if count is None or count >= len(self.images):
            return self
        step = len(self.images) / count
        images = tuple(self.images[int(number * step)] for number in range(count))
        return Pictures(images, self.labelled and replace(self.labelled, images=images))


def find_pictures(data: Path, classes: Sequence[str] = COCO_VEHICLES) -> Pictures:
    """Return the pictures of a data set file or a folder: `val` with labels, or those held out of a calibration set.

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
    """The conditions of a comparison. folder: for detections. cache: keeps those of ONNX models, None nothing.

    conf: the operating threshold, at which recall and agreement are judged.
    """

    pictures: Pictures
    runner: Runner
    folder: Path
    cache: Path | None = None
    how: Conditions = field(default_factory=Conditions)
    conf: float = ModelSettings().conf

    def run_model(self, model: Path, reference: ModelRun | None = None) -> ModelRun:
        """Run a model on the pictures. reference: names the classes of an engine that does not."""
        names = reference.class_names if reference and model.suffix in ENGINES else self.how.names
        target = self.folder / f"{model.name}.npz"
        self.runner(child.request(model, self.pictures.images, target, replace(self.how, names=names), self.cache))
        try:
            return read(target)
        except (OSError, ValueError) as error:
            reason = reason_of(error) if isinstance(error, OSError) else str(error)
            raise SettingsError(f"What {model} found cannot be read back: {reason}", "Run it again.") from None

    def scores(self, runs: Sequence[ModelRun]) -> list[Score]:
        """Return the score of each run against the labels, of the classes that at least one of the models has."""
        if self.pictures.labelled is None:
            raise ValueError("these pictures have no labels")
        labels = self.pictures.labelled.labels(runs[0].sizes)
        known = [name for name in self.how.classes if any(name in run.known for run in runs)]
        return [score(run, labels, known, self.conf) for run in runs]

    def unlabelled_scores(self, runs: Sequence[ModelRun]) -> list[UnlabelledScore]:
        """Return the score of each run but the first beside the first."""
        return [score_unlabelled(runs[0], run, self.conf) for run in runs[1:]]

    def notes(self, runs: Sequence[ModelRun]) -> Iterator[str]:
        """Yield a sentence for each thing about pictures and classes that is not as expected."""
        lost = [str(path) for path, size in zip(self.pictures.images, runs[0].sizes) if size == UNREADABLE]
        if lost:
            yield f"{len(lost)} of {len(self.pictures.images)} pictures cannot be read and are left out: {some(lost)}"
        for run in runs:
            if run.missing:
                yield f"{run.model} does not know the class{_es(run.missing)} {', '.join(run.missing)}"
        if self.pictures.labelled and (unlabelled := self.pictures.labelled.unlabelled_classes):
            yield f"The labels do not know {', '.join(unlabelled)}: what is found of that is not judged"


def judge(
    comparison: Comparison, reference: Path, candidate: Path, max_drop: float, show: Callable[[Table], None]
) -> Verdict:
    """Return the verdict on `candidate` beside `reference`, the ONNX model that it was built from.

    max_drop: points of accuracy that it may lose. show: takes the figures of both. Raises SettingsError for pictures
    that cannot be judged on, BackendError or GpuError where a model cannot run.
    """
    first = comparison.run_model(reference)
    runs = [first, comparison.run_model(candidate, first)]
    if comparison.pictures.labelled is None:
        (found,) = comparison.unlabelled_scores(runs)
        show(table.of_unlabelled(first.title, [found]))
        verdict = judge_unlabelled(found, max_drop)
    else:
        scores = comparison.scores(runs)
        show(table.of_scores(scores))
        verdict = judge_labelled(scores[0], scores[1], max_drop)
    return replace(verdict, lines=(*verdict.lines, *comparison.notes(runs)))


def _es(names: Sequence[str]) -> str:
    return "es" if len(names) > 1 else ""
