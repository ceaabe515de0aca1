"""The recording of a run: a sink that hands each frame to a thread, and waits for it only where the source does."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from loguru import logger

from perception.core.errors import PilotError, SettingsError
from perception.core.results import Report
from perception.reporting.annotate import annotate
from perception.reporting.output_file import claim, free_name
from perception.reporting.recording.encoder import find_encoders
from perception.reporting.recording.recordings import FileRecording, FolderRecording, Recording, usable_fps
from perception.reporting.recording.segment import RecordedFrame
from perception.reporting.records import record_line
from perception.settings.model import RecordSettings
from perception.system.lock import Lock
from perception.system.writable import check_folder_writable, check_writable

WAITING = 2
"""Frames that wait to be copied: they may be lent, and a backend has few to lend."""
PATIENCE_S = 30.0
"""The longest that a source which can wait does wait: longer than STUCK_S of an encoder."""
END_S = 9.0
"""The longest that the end of a run waits: less than the 15 s that systemd gives it."""


class _Job(NamedTuple):
    report: Report
    wall_s: float


class Recorder:
    """Records to `record.path`, an .mp4 or a folder, with the boxes drawn in or without.

    Frames of a live source are dropped and counted where the thread does not keep up; a finite source waits for it.
    """

    def __init__(self, settings: RecordSettings, wall_clock: Callable[[], float] = time.time) -> None:
        """settings.path must not be None. Makes no file.

        Raises SettingsError for a path that cannot be written, BusyError where its disk or another pilot is in the way.
        """
        assert settings.path
        self._settings = settings
        self._path = settings.path
        self._single = _is_file(self._path)
        self._wall_clock = wall_clock
        self._check()
        self._lock = Lock()
        self._claim(self._path)
        if self._single:
            self._path = free_name("record.path", self._path, settings.overwrite)
            self._claim(self._path)
        self._changed = threading.Condition()
        self._jobs: deque[_Job] = deque()
        self._closing = False
        self._ended = False
        self._counted = 0
        self.dropped = 0
        self.lost = 0
        self._fault: PilotError | None = None
        # Looks for encoders at once, while the model is being loaded.
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()

    def _check(self) -> None:
        if not self._single:
            check_folder_writable("--record", self._path)
            return
        check_writable("--record", self._path)
        if self._settings.on == "vehicles":
            raise SettingsError(
                f"--record {self._path} is one video, and record.on: vehicles makes many", "Name a folder instead."
            )

    def _claim(self, path: Path) -> None:
        claim(self._lock, path, "Give --record another name.")

    def write(self, report: Report) -> None:
        """Take one frame. Raises BusyError where another pilot has taken the file since the start."""
        if self._fault:
            raise self._fault
        if self._ended:
            self.lost += 1
            return
        with self._changed:
            if report.frame.live:
                room = len(self._jobs) < WAITING
            else:
                room = self._changed.wait_for(lambda: len(self._jobs) < WAITING or self._closing, PATIENCE_S)
            if room and not self._closing:
                self._jobs.append(_Job(report, self._wall_clock()))
                self._changed.notify_all()
                return
            self.dropped += 1
        if self.dropped == 1:
            logger.warning(f"The recording to {self._path} does not keep up: frames are left out of it and counted")

    def _run(self) -> None:
        try:
            recording = self._open_recording()
            try:
                while (frame := self._next()) is not None:
                    if not recording.add(frame):
                        self.lost += 1
            finally:
                recording.close()
        except PilotError as fault:
            self._fault = fault
        except Exception:
            logger.exception("A bug ended the recording; the run goes on")
        with self._changed:
            self._ended = self._closing = True
            self.lost += len(self._jobs)
            self._jobs.clear()
            self._changed.notify_all()

    def _open_recording(self) -> Recording:
        kinds = find_encoders()
        if self._single:
            return FileRecording(self._path, kinds, self._claim, self._settings.overwrite)
        return FolderRecording(self._path, self._settings, kinds, self._claim)

    def _next(self) -> RecordedFrame | None:
        """Return a copy of the next frame: from here on nobody holds the original, which may be lent."""
        with self._changed:
            self._changed.wait_for(lambda: self._jobs or self._closing)
            if not self._jobs:
                return None
            job = self._jobs.popleft()
            self._changed.notify_all()
        return self._copied(job)

    def _copied(self, job: _Job) -> RecordedFrame:
        report, frame = job.report, job.report.frame
        image = frame.image.copy() if self._settings.clean else annotate(report)
        fps = usable_fps(frame.fps)
        moment_s = frame.captured_at if frame.live else self._counted / fps
        self._counted += 1
        record = b"" if self._single else record_line(report, job.wall_s).encode("utf-8", "replace")
        return RecordedFrame(image, moment_s, job.wall_s, fps, len(report.result.detections), record)

    def close(self) -> None:
        """Finish the file, and log how many frames are missing."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(END_S)
        if self._thread.is_alive():
            logger.warning(f"The recording to {self._path} did not end in time: its last file may be cut short")
        self._lock.release()
        if self.dropped or self.lost:
            logger.warning(
                f"The recording to {self._path} lacks {self.dropped} frames that came too fast for it, and {self.lost} "
                "that could not be written"
            )


def _is_file(path: Path) -> bool:
    """Return True for the name of an .mp4. SettingsError for what is neither that nor a folder."""
    if path.suffix.lower() == ".mp4":
        return True
    if path.is_dir() or not (path.suffix or path.name == ".mp4"):
        return False
    raise SettingsError(f"--record {path}: the name must end in .mp4, or be that of a folder")
