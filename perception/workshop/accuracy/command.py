"""The command of scripts/evaluate.py: run every model, print one table, and judge where that is asked for."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress, TaskID

from perception.backends.tensorrt.place import work_folder
from perception.core.errors import SettingsError
from perception.workshop.accuracy import table
from perception.workshop.accuracy.check import CHILD, Comparison, find_pictures
from perception.workshop.accuracy.detector import Conditions
from perception.workshop.accuracy.gate import Verdict, judge_labelled, judge_unlabelled, suggestion
from perception.workshop.accuracy.model_run import ModelRun
from perception.workshop.accuracy.threshold import suggested
from perception.workshop.figures import save
from perception.workshop.own_file import check_json
from perception.workshop.stage import Event, run_stage

REFUSED = 7
"""Exit code where a candidate loses more than --max-drop, as of an export."""


@dataclass(frozen=True, slots=True)
class AccuracyOptions:
    """The options of the command line. max_drop in points; None judges nothing. cache: None keeps nothing."""

    models: tuple[Path, ...]
    reference: Path | None
    data: Path
    conf: float
    max_drop: float | None
    count: int | None
    how: Conditions
    cache: Path | None
    json: Path | None


def default_cache(engines: Path) -> Path | None:
    """Return the cache that an export uses, too; None, with a line on stderr, where this user may not write there."""
    try:
        return work_folder(engines) / "looks"
    except SettingsError as fault:
        sys.stderr.write(f"What the models find is not kept for the next time: {fault.what}\n")
        return None


def run(options: AccuracyOptions) -> int:
    """Print the table; return 0, or REFUSED where a candidate was judged and does not pass. Raises PilotError."""
    models = [path for path in (options.reference, *options.models) if path]
    check_json(options.json)
    if options.max_drop is not None and options.reference is None:
        raise SettingsError("--max-drop judges models beside a reference, and there is none", "Name it: --reference")
    for path in models:
        if not path.is_file():
            raise SettingsError(f"{path} does not exist", "Give the path of a model.")
    pictures = find_pictures(options.data, options.how.classes).thinned(options.count)
    if pictures.labelled is None and options.reference is None:
        raise SettingsError(
            f"{options.data} has no labels, so that a model can be judged beside another one alone",
            "Name that with --reference, or give a data set with labels.",
        )
    with tempfile.TemporaryDirectory(prefix="pilot-accuracy-") as folder, _progress() as show:
        comparison = Comparison(
            pictures,
            lambda request: run_stage(CHILD, request, show),
            Path(folder),
            options.cache,
            options.how,
            options.conf,
        )
        runs = _runs(comparison, models, beside=options.reference is not None)
    return _report(options, comparison, runs)


def _runs(comparison: Comparison, models: Sequence[Path], beside: bool) -> list[ModelRun]:
    runs: list[ModelRun] = []
    for path in models:
        runs.append(comparison.run_model(path, runs[0] if beside and runs else None))
    return runs


@contextmanager
def _progress() -> Iterator[Any]:
    """Show the events of a child: a bar a model, on stderr."""
    with Progress(console=Console(file=sys.stderr), transient=True) as bars:
        tasks: dict[str, TaskID] = {}

        def show(event: Event) -> None:
            if event.get("event") == "progress":
                what = str(event["what"])
                if what not in tasks:
                    tasks[what] = bars.add_task(what)
                bars.update(tasks[what], completed=int(event["done"]), total=int(event["of"]))
            elif event.get("event") == "say":
                _say(bars.console, str(event["text"]))

        yield show


def _say(out: Console, line: str) -> None:
    """Print a line as it is."""
    out.print(line, highlight=False, markup=False, soft_wrap=True)


def _report(options: AccuracyOptions, comparison: Comparison, runs: Sequence[ModelRun]) -> int:
    out = table.console()
    notes = list(comparison.notes(runs))
    if comparison.pictures.labelled is None:
        figures, verdicts = _unlabelled(options, comparison, runs, out)
    else:
        figures, verdicts = _labelled(options, comparison, runs, out)
    for note in notes:
        _say(out, note)
    for model_run, verdict in zip(runs[1:], verdicts):
        _say(out, f"{model_run.title} {'passes' if verdict.passed else 'IS REFUSED'}:")
        for line in verdict.lines:
            _say(out, f"  {line}.")
    save(options.json, {**figures, "notes": notes, "verdicts": [dict(verdict.report) for verdict in verdicts]})
    return 0 if all(verdict.passed for verdict in verdicts) else REFUSED


def _labelled(
    options: AccuracyOptions, comparison: Comparison, runs: Sequence[ModelRun], out: Console
) -> tuple[Mapping[str, Any], list[Verdict]]:
    scores = comparison.scores(runs)
    reference, candidates = scores[0], scores[1:]
    out.print(table.of_scores(scores))
    figures = {"conf": options.conf, "images": runs[0].pictures, "scores": [one.to_values() for one in scores]}
    if options.reference is None:
        return figures, []
    for line in table.differences(scores):
        _say(out, line)
    if options.max_drop is not None:
        return figures, [judge_labelled(reference, one, options.max_drop) for one in candidates]
    for one in candidates:
        if (conf := suggested(reference.curve, one.curve, one.conf)) is not None:
            _say(out, f"{one.title}: {suggestion(one, conf)}")
    return figures, []


def _unlabelled(
    options: AccuracyOptions, comparison: Comparison, runs: Sequence[ModelRun], out: Console
) -> tuple[Mapping[str, Any], list[Verdict]]:
    found = comparison.unlabelled_scores(runs)
    out.print(table.of_unlabelled(runs[0].title, found))
    figures = {"conf": options.conf, "images": runs[0].pictures, "agreement": [one.to_values() for one in found]}
    if options.max_drop is None:
        return figures, []
    return figures, [judge_unlabelled(one, options.max_drop) for one in found]
