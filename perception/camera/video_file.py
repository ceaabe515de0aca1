"""A video file, every frame of it."""

from __future__ import annotations

import os
import time
from pathlib import Path

import cv2
from loguru import logger

from perception.camera.capture import Borrower, Pace, Picture
from perception.camera.opencv import known, open_capture, rate_of, summary_of
from perception.camera.uri import SourceUri
from perception.core.errors import EndOfStream, SourceError

# An intact file may promise a few frames more than it holds (edit lists, variable rate); a cut one misses many.
TRUNCATED_FRAMES = 5
TRUNCATED_SHARE = 0.05
MOST_DECODER_THREADS = 4
"""FFmpeg would start one for each core, and each holds frames: tens of MiB on a large machine."""


class VideoFile(Borrower):
    """Every frame of a file in order, exactly once; ?loop=1 starts again, ?realtime=1 plays at the file's own rate.

    promised: how many frames the file says it has; 0 where it does not say.
    """

    def __init__(self, uri: SourceUri) -> None:
        super().__init__()
        self._uri = uri
        self._capture = self._reopen()
        self.promised = max(int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)), 0)
        self.fps = rate_of(self._capture)
        self._pace = Pace(self.fps if uri.options.get("realtime") else 0)
        self._delivered = 0
        self.summary = f"{summary_of(self._capture)}, {self.promised or 'an unknown number of'} frames"

    def _reopen(self) -> cv2.VideoCapture:
        path = Path(self._uri.target)
        try:
            path.stat()
        except FileNotFoundError:
            raise SourceError(
                f"The file {path} does not exist", "Give the path of a video, or images:///FOLDER."
            ) from None
        except OSError as error:
            raise SourceError(f"The file {path} cannot be used: {error.strerror}") from None
        if not os.access(path, os.R_OK):
            raise SourceError(f"The file {path} cannot be read by this user", f"Allow it: chmod a+r {path}")
        name = str(path.absolute())  # FFmpeg takes the part of a bare name before a colon for a protocol
        threads = known({"CAP_PROP_N_THREADS": min(len(os.sched_getaffinity(0)), MOST_DECODER_THREADS)})
        capture = open_capture(name, cv2.CAP_FFMPEG, threads) or open_capture(name, cv2.CAP_GSTREAMER)
        if capture is None:
            raise SourceError(
                f"{path} is not a video that can be read: it is empty, cut off, or of another kind",
                f"Check it: ffprobe {path}",
            )
        return capture

    def read(self) -> Picture:
        """The next frame. EndOfStream after the last one."""
        frame = self.borrowed()
        found, image = self._capture.read(frame)
        if not found:
            self._end_of_round()
            found, image = self._capture.read(frame)
        if not found:
            raise SourceError(f"{self._uri.label} holds no frame that can be decoded", "Check the file with ffprobe.")
        self.note_size(image)
        self._delivered += 1
        self._pace.wait()
        return Picture(image, time.monotonic())

    def _end_of_round(self) -> None:
        missing = self.promised - self._delivered
        if self._delivered and missing > TRUNCATED_FRAMES and missing > TRUNCATED_SHARE * self.promised:
            logger.warning(
                f"{self._uri.label} is truncated: it promises {self.promised} frames, {self._delivered} came"
            )
        if self._delivered and not self._uri.options.get("loop"):
            raise EndOfStream
        self.close()
        self._capture = self._reopen()
        self.promised = self._delivered = 0  # a round is judged once, and the file may be replaced meanwhile

    def close(self) -> None:
        """Releases the decoder."""
        self._capture.release()
