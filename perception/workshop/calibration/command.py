"""Building a calibration set as a command: look, choose, write, tell."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import typer
from loguru import logger

from perception.core.errors import SettingsError
from perception.settings.model import ROOT
from perception.system.stop import StopFlag, Stopped
from perception.workshop.calibration.choice import Choice, choose
from perception.workshop.calibration.looking import Look, Seen, look_through, shares
from perception.workshop.calibration.manifest import minimum
from perception.workshop.calibration.place import Place, check
from perception.workshop.calibration.progress import Interrupted, Progress
from perception.workshop.calibration.reading import Source, open_sources
from perception.workshop.calibration.report import Report
from perception.workshop.calibration.vehicles import Judge, open_judge
from perception.workshop.calibration.writing import Chosen, write_set

LOOKS = 4
"""So many times the frames that are wanted are looked at, or half of that, where the clips have more."""
FORMATS = ("jpg", "png")
DATA = Path("config", "calibration.yaml")
"""Where an export looks for the set unless it is told, from the folder of pilot.py."""


@dataclass(frozen=True)
class Options:
    """As on the command line. model: None to take what is found; format: of frames of clips."""

    sources: Sequence[str]
    count: int
    held_out: int
    seed: int
    model: str | None
    output: Path
    data: Path
    format: str
    force: bool


def run(options: Options) -> None:
    """Builds the set and prints what came of it.

    Raises SettingsError or SourceError where it cannot be built, BackendError for a model that was named and cannot
    run, Interrupted after SIGINT and SIGTERM. Whatever is raised, the set that was there before is untouched.
    """
    stop = StopFlag()
    stop.listen()
    for line in build(options, stop):
        typer.echo(line)


def build(options: Options, stop: StopFlag) -> list[str]:
    """As `run`, with the report as lines. stop: looked at with every frame."""
    if options.format not in FORMATS:
        raise SettingsError(f"--format {options.format!r} is none of {', '.join(FORMATS)}")
    minimum(options.count, options.force)
    place = Place(options.output.resolve(), options.data)
    check(place, options.force)
    with ExitStack() as stack:
        try:
            sources = stop.at_once(open_sources, options.sources)
            judge = stop.at_once(stack.enter_context, open_judge(options.model))
        except Stopped:
            raise Interrupted("Stopped before anything was done") from None
        progress = stack.enter_context(Progress(stop))
        seen = _look(sources, options, progress)
        looks = [look for one in seen for look in one.looks]
        choice = _choose(looks, options, judge, progress)
        report = Report(sources, seen, looks, choice, options.seed, judge)
        chosen = Chosen(
            [looks[number] for number in choice.chosen],
            [looks[number] for number in choice.held_out],
            report.by_source(),
            {"seed": options.seed, "asked": options.count, **report.facts()},
        )
        progress.begin("Writing", len(chosen.images) + len(chosen.held_out))
        size = write_set(sources, chosen, place, f".{options.format}", progress.turn, progress.step)
    return [*report.lines(), *_ending(options, size)]


def _look(sources: Sequence[Source], options: Options, progress: Progress) -> list[Seen]:
    """What is seen of each source; once more where they hold far less than they promise, and too little was seen."""
    wanted = options.count + options.held_out
    lengths = [source.promised for source in sources]
    seen = _look_once(sources, lengths, LOOKS * wanted, progress)
    if sum(len(one.looks) for one in seen) < wanted and any(one.frames < of for one, of in zip(seen, lengths)):
        seen = _look_once(sources, [one.frames for one in seen], LOOKS * wanted, progress)
    for one in seen:
        if one.unreadable:
            named = ", ".join(one.unreadable[:3]) + (", ..." if len(one.unreadable) > 3 else "")
            logger.warning(f"{len(one.unreadable)} files are no images that can be read and are passed over: {named}")
    return seen


def _look_once(sources: Sequence[Source], lengths: Sequence[int], looks: int, progress: Progress) -> list[Seen]:
    seen = []
    for number, (source, length, most) in enumerate(zip(sources, lengths, shares(lengths, looks))):
        progress.begin(f"Looking at {source.name}", length)
        seen.append(look_through(source, number, length, most, progress.step))
    return seen


def _choose(looks: Sequence[Look], options: Options, judge: Judge, progress: Progress) -> Choice:
    """SettingsError where there are too few frames; a warning where there are fewer than were asked for."""
    if not looks:
        raise SettingsError("There is not one frame to choose from", "Name clips or images that can be read.")
    progress.begin("Choosing", options.count + options.held_out)
    choice = choose(looks, options.count, options.held_out, options.seed, judge.empty, progress.step, progress.turn)
    images, held_out = len(choice.chosen), len(choice.held_out)
    if images < options.count:
        logger.warning(f"{options.count} images were asked for, and there are {len(looks)} frames in all")
        minimum(images, options.force)
    if held_out < options.held_out:
        logger.warning(f"{held_out} frames are held out, not {options.held_out}: there are too few")
    return choice


def _ending(options: Options, size: int) -> list[str]:
    default = "" if options.data.resolve() == (ROOT / DATA).resolve() else f" --data {shlex.quote(str(options.data))}"
    return [
        f"Written: {options.output} ({size / 2**20:.1f} MiB), described by {options.data}",
        f"Next: python3 scripts/export_int8_engine.py{default}",
    ]
