"""Recordings to one file or to a folder: which file each frame goes to, and when a file begins and ends."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from loguru import logger

from perception.reporting.output_file import reserve
from perception.reporting.recording.commands import Stream
from perception.reporting.recording.encoder import Encoders, Kind
from perception.reporting.recording.segment import PreRoll, RecordedFrame, Segment, even
from perception.reporting.recording.segment_folder import SegmentFolder
from perception.settings.model import RecordSettings

FALLBACK_FPS = 25.0
"""The rate for a source that tells none, or an impossible one."""
RESERVE_BYTES = 32 * 2**20
"""A recording ends while there is room for the index of its file, and for the logs."""
RETRY_S = 10.0
GAP_S = 5.0
"""A source that gave nothing for this long ends the segment; shorter gaps are filled with the last picture."""
ROOM_S = 2.0
"""Seconds between two looks at the space that all segments take."""
SEGMENTS = 4
"""A segment ends before it takes more than this part of max_gib, so that there is always an older one to delete."""
FINISH_S = 5.0
FINISHING = 2
"""The most segments that their encoders finish while the next one is written."""


class Recording(Protocol):
    """Takes the frames to record. Used by one thread."""

    def add(self, frame: RecordedFrame) -> bool:
        """Take one frame. False where it is lost, which was told in the log."""
        ...

    def close(self) -> None:
        """Finish the file that is being written."""
        ...


def usable_fps(fps: float) -> float:
    """Return the rate of a video: some streams call a clock of theirs their rate."""
    return fps if 1 <= fps <= 240 else FALLBACK_FPS


def check_room(folder: Path) -> None:
    """Raise OSError where the disk is about to be full."""
    status = os.statvfs(folder)
    if status.f_bavail * status.f_frsize < RESERVE_BYTES:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def is_empty(path: Path) -> bool:
    """Return True if nothing was written to it yet."""
    return not path.exists() or path.stat().st_size == 0


class FileRecording:
    """One .mp4 for the whole run. Where it cannot be written any more it ends, with a warning."""

    def __init__(self, path: Path, kinds: list[Kind], claim: Callable[[Path], None], overwrite: bool = False) -> None:
        """claim: called with the file once it exists. overwrite: one that is there is replaced."""
        self._path = path
        self._overwrite = overwrite
        self._encoders = Encoders(kinds)
        self._claim = claim
        self._segment: Segment | None = None
        self._ended = False

    def add(self, frame: RecordedFrame) -> bool:
        """See Recording."""
        if self._ended:
            return False
        try:
            check_room(self._path.parent)
            if self._segment is None:
                self._segment = self._open(frame)
            self._segment.add(frame)
        except OSError as error:
            if error.errno == errno.EPIPE and is_empty(self._path) and self._encoders.give_up_best():
                self._close(0)
                return self.add(frame)
            full = error.errno == errno.ENOSPC
            reason = f"The disk of {self._path} is full" if full else f"{self._path} cannot be written any more"
            reason += "" if full else f" ({error.strerror})"
            logger.warning(f"{reason}: the video ends here, the run goes on")
            self._ended = True
            self.close()
            return False
        return True

    def _open(self, frame: RecordedFrame) -> Segment:
        self._claim(self._path)  # of another pilot: BusyError, before another name is taken
        self._path = reserve("record.path", self._path, self._overwrite)
        self._overwrite = True  # from here on it is this run's own
        self._claim(self._path)
        size = even((frame.image.shape[1], frame.image.shape[0]))
        stream = Stream(self._path, usable_fps(frame.fps), size, fragmented=False)
        return Segment(self._encoders.open(stream, self._path), stream, frame.moment_s, None)

    def close(self) -> None:
        """See Recording."""
        self._close(FINISH_S)

    def _close(self, wait_s: float) -> None:
        if self._segment:
            segment, self._segment = self._segment, None
            if not segment.close(wait_s) and wait_s:
                logger.debug(f"The encoder has not finished {self._path} yet")


class FolderRecording:
    """Segments in a folder, of all pictures or of those with vehicles and some seconds around them.

    Where they cannot be written, pictures are lost, with one warning, until they can.
    """

    def __init__(
        self,
        folder: Path,
        settings: RecordSettings,
        kinds: list[Kind],
        claim: Callable[[Path], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """claim: called with the folder once it exists."""
        self._settings = settings
        self._claim = claim
        self._encoders = Encoders(kinds)
        self._folder = SegmentFolder(folder, round(settings.max_gib * 2**30))
        self._clock = clock
        self._segment: Segment | None = None
        self._finishing: list[Segment] = []
        self._preroll = PreRoll(settings.pre_s)
        self._until_s = float("-inf")
        self._look_at = 0.0
        self._retry_at: float | None = None  # while it cannot be written

    def add(self, frame: RecordedFrame) -> bool:
        """See Recording."""
        if self._settings.on == "vehicles":
            if frame.vehicles:
                self._until_s = frame.moment_s + self._settings.post_s
            if frame.moment_s > self._until_s:
                self._close_segment()
                self._preroll.add(frame)
                return True
        kept = [self._record(old) for old in self._preroll.take()]
        return self._record(frame) and all(kept)

    def _record(self, frame: RecordedFrame) -> bool:
        if self._retry_at is not None and self._clock() < self._retry_at:
            return False
        try:
            self._write(frame)
        except OSError as error:
            # One that has written something works, and was ended by somebody else: it is started again.
            worked = self._segment is not None and not is_empty(self._segment.path)
            self._close_segment()
            if error.errno == errno.EPIPE and (worked or self._encoders.give_up_best()):
                return self._record(frame)
            self._fail(error)
            return False
        if self._retry_at is not None:
            self._retry_at = None
            logger.info(f"{self._folder.path} is recorded to again")
        return True

    def _write(self, frame: RecordedFrame) -> None:
        start_s = frame.moment_s
        size = even((frame.image.shape[1], frame.image.shape[0]))
        if self._segment:
            gap = not 0 <= frame.moment_s - self._segment.last_s <= GAP_S
            if not gap:
                self._segment.fill(frame.moment_s)
            if gap or size != self._segment.size or self._is_over(self._segment, frame.moment_s):
                start_s = frame.moment_s if gap else self._segment.end_s
                self._close_segment()
        if self._segment is None:
            self._segment = self._open(frame, size, start_s)
        elif self._clock() >= self._look_at:
            self._look(self._segment.path)
        self._segment.add(frame)

    def _is_over(self, segment: Segment, moment_s: float) -> bool:
        if moment_s - segment.start_s >= self._settings.segment_s:
            return True
        return segment.path.exists() and segment.path.stat().st_size > self._folder.max_bytes / SEGMENTS

    def _open(self, frame: RecordedFrame, size: tuple[int, int], start_s: float) -> Segment:
        video, records = self._folder.new(frame.wall_s)
        self._claim(self._folder.path)
        self._look(None)
        stream = Stream(video, usable_fps(frame.fps), size, fragmented=True)
        return Segment(self._encoders.open(stream, self._folder.path), stream, start_s, records)

    def _look(self, current: Path | None) -> None:
        self._look_at = self._clock() + ROOM_S
        self._folder.make_room(current)
        check_room(self._folder.path)

    def _fail(self, error: OSError) -> None:
        told, self._retry_at = self._retry_at is not None, self._clock() + RETRY_S
        if not told:
            logger.warning(
                f"{self._folder.path} cannot be recorded to ({error.strerror}): pictures are lost until it can, the "
                "run goes on"
            )

    def _close_segment(self) -> None:
        """Leave the segment to its encoder; wait where that has not finished earlier ones."""
        if self._segment:
            segment, self._segment = self._segment, None
            segment.close(0)
            self._finishing = [other for other in (*self._finishing, segment) if not other.close(0)]
            if len(self._finishing) > FINISHING:
                self._finishing.pop(0).close(FINISH_S)

    def close(self) -> None:
        """See Recording."""
        self._close_segment()
        ends = time.monotonic() + FINISH_S
        for segment in self._finishing:
            if not segment.close(max(ends - time.monotonic(), 0)):
                logger.debug(f"The encoder has not finished {segment.path} yet")
