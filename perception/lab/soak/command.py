"""The command of the soak: starts the pilots, watches them, and judges every bar at the end."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from perception.camera.uri import redact
from perception.core.errors import PilotError, SettingsError
from perception.lab.soak import camera
from perception.lab.soak.pilot_process import PilotProcess
from perception.lab.soak.restarts import Restarter
from perception.lab.soak.soak_report import SoakReport
from perception.lab.soak.status_line import StatusLine
from perception.lab.soak.watched_pilot import Limits, WatchedPilot
from perception.system.stop import StopFlag
from perception.system.writable import check_folder_writable
from perception.workshop.own_file import check_json

TICK_S = 0.2
SAVE_S = 60.0
START_S = 180.0
"""Limit for the first frame of a pilot, as in its service."""
FUSE_S = 300.0
"""After the soak a pilot ends by itself within this time, whatever became of the soak."""
WARMUP_S = 600.0
ON = ("rtsp", "demo", "both")


@dataclass(frozen=True)
class SoakOptions:
    """The options of the command line. growth in percent."""

    hours: float
    on: str
    source: str | None
    model: str
    fps: int
    restart_s: float
    growth: float
    json: Path
    folder: Path | None
    log_mib: int

    @property
    def seconds(self) -> float:
        """The length of the soak."""
        return self.hours * 3600

    @property
    def limits(self) -> Limits:
        """A short soak has a short warm-up."""
        return Limits(min(WARMUP_S, self.seconds / 2), self.growth / 100)

    @property
    def sample_s(self) -> float:
        """The time between two samples."""
        return min(max(self.seconds / 240, 0.5), 10.0)


def run(options: SoakOptions) -> int:
    """Run the soak and print the verdicts: 0 where every bar held, 1 where one did not or could not be judged.

    Raises PilotError where it cannot be started, or its camera cannot be started again.
    """
    if options.on not in ON:
        raise SettingsError(f"--on {options.on!r} is none of {', '.join(ON)}")
    if options.source and options.on == "demo":
        raise SettingsError("--source is not used with --on demo", "Take --on rtsp or --on both.")
    check_json(options.json)
    stop = StopFlag()
    stop.listen()
    with _folder(options.folder) as folder:
        holds = _soak(options, folder.path, stop)
        folder.keep = not holds
    return 0 if holds else 1


def _soak(options: SoakOptions, folder: Path, stop: StopFlag) -> bool:
    with ExitStack() as stack:
        try:
            watched = _start(options, folder, stack, stop)
        except OSError as error:
            raise SettingsError(f"{error.filename or folder} cannot be written ({error.strerror})") from error
        if not watched:
            raise PilotError("Stopped before every pilot had its first frame: there is nothing to report")
        report = SoakReport(options.json, _told(options), options.limits)
        try:
            _watch(options, watched, stop, report)
        finally:
            for one in watched:
                one.finish()
            report.finish(watched)
    return all(verdict.holds for verdict in report.verdicts)


def _told(options: SoakOptions) -> dict[str, object]:
    """Return the options for the report, without the credentials of a source."""
    told = {name: str(value) if isinstance(value, Path) else value for name, value in asdict(options).items()}
    return {**told, "source": options.source and redact(options.source)}


@dataclass
class Folder:
    """The folder that the pilots write to. keep: do not remove it at the end."""

    path: Path
    keep: bool


@contextmanager
def _folder(given: Path | None) -> Iterator[Folder]:
    """Give the named folder, which is kept, or a temporary one."""
    if given is not None:
        check_folder_writable("--folder", given)
        given.mkdir(exist_ok=True)
        if any(given.iterdir()):
            raise SettingsError(f"--folder {given} is not empty", "Name another one: what lies there would count, too.")
    folder = Folder(given or Path(tempfile.mkdtemp(prefix="soak-")), keep=False)
    try:
        yield folder
    finally:
        if given is None and not folder.keep:
            shutil.rmtree(folder.path)
    if given or folder.keep:
        sys.stderr.write(f"Logs: {folder.path}\n")


def _start(options: SoakOptions, folder: Path, stack: ExitStack, stop: StopFlag) -> list[WatchedPilot]:
    """Start the pilots and wait for their first frames; return none where a stop was requested. Raises PilotError."""
    lasts_s = options.seconds + FUSE_S
    pilots: dict[str, PilotProcess] = {}
    server = None
    if options.on != "demo":
        uri = options.source
        if uri is None:
            python = camera.find_python()
            camera.make_pictures(folder / "pictures", options.fps)
            server = stack.enter_context(camera.RtspCamera(python, folder / "pictures", options.fps))
            uri = server.url
        name = "rtsp" if server else "source"
        pilots[name] = PilotProcess(folder / name, uri, options.model, lasts_s, options.log_mib)
        stack.enter_context(pilots[name])
    if options.on != "rtsp":
        uri = camera.drive_uri(options.fps)
        pilots["demo"] = PilotProcess(folder / "demo", uri, options.model, lasts_s, options.log_mib)
        stack.enter_context(pilots["demo"])
    if not _first_frames(list(pilots.values()), stop):
        return []
    now = time.monotonic()
    restarter = Restarter(server, options.restart_s, now, now + options.seconds, time.monotonic) if server else None
    return [
        stack.enter_context(
            WatchedPilot(name, pilot, (restarter, options.restart_s) if restarter and name == "rtsp" else None)
        )
        for name, pilot in pilots.items()
    ]


def _first_frames(pilots: list[PilotProcess], stop: StopFlag) -> bool:
    """Wait for the first frame of each; False where a stop was requested. PilotError from one that gives none."""
    until = time.monotonic() + START_S
    while not stop.requested:
        waiting = [pilot for pilot in pilots if pilot.log.first_frame_at is None]
        if not waiting:
            return True
        for pilot in waiting:
            if pilot.exit_code is not None or time.monotonic() > until:
                pilot.stop()
                raise pilot.fault()
        time.sleep(TICK_S)
    return False


def _watch(options: SoakOptions, watched: list[WatchedPilot], stop: StopFlag, report: SoakReport) -> None:
    """Watch until the time is over, all pilots have ended, or a stop is requested."""
    ends_at = time.monotonic() + options.seconds
    sample_at = save_at = time.monotonic()
    with StatusLine(options.seconds) as status:
        while (now := time.monotonic()) < ends_at and not stop.requested:
            if not any(one.running for one in watched):
                return
            for one in watched:
                one.tick(now)
            if now >= sample_at:
                for one in watched:
                    one.observe(now)
                sample_at = now + options.sample_s
            if now >= save_at:
                report.save(watched)
                save_at = now + SAVE_S
            status.show(watched)
            time.sleep(TICK_S)
