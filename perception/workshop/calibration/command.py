"""The command that builds a calibration set: scan, choose, write, report."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import typer
from loguru import logger

from perception.core.errors import SettingsError
from perception.system.home import ROOT
from perception.system.stop import StopFlag, Stopped
from perception.workshop.calibration.calibration_set import minimum
from perception.workshop.calibration.choice import Choice, Wanted, choose
from perception.workshop.calibration.progress_bar import Interrupted, ProgressBar
from perception.workshop.calibration.reading import Source, open_sources
from perception.workshop.calibration.scanning import FrameCandidate, SourceScan, scan, shares
from perception.workshop.calibration.set_paths import SetPaths, check
from perception.workshop.calibration.set_report import SetReport
from perception.workshop.calibration.vehicles import Judge, open_judge
from perception.workshop.calibration.writing import Chosen, write_set

SCANNED_PER_WANTED = 4
"""Candidates that are scanned per wanted frame, or half as many, where the clips have more."""
FORMATS = ("jpg", "png")
DATA = Path("config", "calibration.yaml")
"""The default of an export, from the folder of pilot.py."""


@dataclass(frozen=True)
class CalibrationOptions:
    """The options of the command line. model: None to take what is found; format: of frames of clips."""

    sources: Sequence[str]
    count: int
    held_out: int
    seed: int
    model: str | None
    output: Path
    data: Path
    format: str
    force: bool


def run(options: CalibrationOptions) -> None:
    """Build the set and print its report.

    Raises SettingsError or SourceError where it cannot be built, BackendError for a model that was named and cannot
    run, Interrupted after SIGINT and SIGTERM. Whatever is raised, the set that was there before is untouched.
    """
    stop = StopFlag()
    stop.listen()
    for line in build(options, stop):
        typer.echo(line)


def build(options: CalibrationOptions, stop: StopFlag) -> list[str]:
    """Build the set and return the report as lines. stop: checked with every frame."""
    if options.format not in FORMATS:
        raise SettingsError(f"--format {options.format!r} is none of {', '.join(FORMATS)}")
    minimum(options.count, options.force)
    paths = SetPaths(options.output.resolve(), options.data)
    check(paths, options.force)
    with ExitStack() as stack:
        try:
            sources = stop.at_once(open_sources, options.sources)
            judge = stop.at_once(stack.enter_context, open_judge(options.model))
        except Stopped:
            raise Interrupted("Stopped before anything was done") from None
        progress = stack.enter_context(ProgressBar(stop))
        seen = _scan_all(sources, options, progress)
        candidates = [candidate for one in seen for candidate in one.candidates]
        choice = _choose(candidates, options, judge, progress)
        report = SetReport(sources, seen, candidates, choice, options.seed, judge)
        chosen = Chosen(
            [candidates[number] for number in choice.chosen],
            [candidates[number] for number in choice.held_out],
            report.by_source(),
            {"seed": options.seed, "asked": options.count, **report.facts()},
        )
        progress.begin("Writing", len(chosen.images) + len(chosen.held_out))
        size = write_set(sources, chosen, paths, f".{options.format}", progress.check_stop, progress.step)
    return [*report.lines(), *_ending(options, size)]


def _scan_all(sources: Sequence[Source], options: CalibrationOptions, progress: ProgressBar) -> list[SourceScan]:
    """Scan each source; again where they hold far less than promised, so that too few frames were scanned."""
    wanted = options.count + options.held_out
    lengths = [source.promised for source in sources]
    seen = _scan_once(sources, lengths, SCANNED_PER_WANTED * wanted, progress)
    if sum(len(one.candidates) for one in seen) < wanted and any(one.frames < of for one, of in zip(seen, lengths)):
        seen = _scan_once(sources, [one.frames for one in seen], SCANNED_PER_WANTED * wanted, progress)
    for one in seen:
        if one.unreadable:
            named = ", ".join(one.unreadable[:3]) + (", ..." if len(one.unreadable) > 3 else "")
            logger.warning(f"{len(one.unreadable)} files are no images that can be read and are passed over: {named}")
    return seen


def _scan_once(
    sources: Sequence[Source], lengths: Sequence[int], count: int, progress: ProgressBar
) -> list[SourceScan]:
    seen = []
    for number, (source, length, most) in enumerate(zip(sources, lengths, shares(lengths, count))):
        progress.begin(f"Looking at {source.name}", length)
        seen.append(scan(source, number, length, most, progress.step))
    return seen


def _choose(
    candidates: Sequence[FrameCandidate], options: CalibrationOptions, judge: Judge, progress: ProgressBar
) -> Choice:
    """Choose the images. SettingsError where there are too few frames; a warning where fewer than asked for."""
    if not candidates:
        raise SettingsError("There is not one frame to choose from", "Name clips or images that can be read.")
    progress.begin("Choosing", options.count + options.held_out)

    def is_empty(candidate: FrameCandidate) -> bool:
        progress.check_stop()
        return judge.empty is not None and judge.empty(candidate)

    wanted = Wanted(options.count, options.held_out, options.seed)
    choice = choose(candidates, wanted, is_empty if judge.empty else None, progress.step)
    images, held_out = len(choice.chosen), len(choice.held_out)
    if images < options.count:
        logger.warning(f"{options.count} images were asked for, and there are {len(candidates)} frames in all")
        minimum(images, options.force)
    if held_out < options.held_out:
        logger.warning(f"{held_out} frames are held out, not {options.held_out}: there are too few")
    return choice


def _ending(options: CalibrationOptions, size: int) -> list[str]:
    default = "" if options.data.resolve() == (ROOT / DATA).resolve() else f" --data {shlex.quote(str(options.data))}"
    return [
        f"Written: {options.output} ({size / 2**20:.1f} MiB), described by {options.data}",
        f"Next: python3 scripts/export_int8_engine.py{default}",
    ]
