"""The annotated picture as JPEG: made once for all who watch, as seldom and as small as the settings say."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

import cv2
import numpy as np
from loguru import logger

from perception.core.detections import Detections
from perception.core.frame import Image
from perception.core.results import Report
from perception.reporting.annotate import annotate
from perception.reporting.web.sink import WebSink
from perception.settings.model import WebSettings

NICE = 15
"""On a core that detection also wants, the picture gets 36 parts to 1024: the weights of the kernel's scheduler.

With less (19 gives 15) a machine that is busy with other things shows none for seconds."""
REST = 1.0
"""After a picture that took t to make, at least REST * t passes until the next one: a busy machine gives fewer."""
LOOK_S = 0.02
STILL_S = 6.0


def shrink(report: Report, max_width: int) -> Report:
    """Return the report with a picture of its own, at most max_width pixels wide, and boxes to match."""
    image, found = report.frame.image, report.result.detections
    scale = min(max_width / image.shape[1], 1.0)
    size = (round(image.shape[1] * scale), max(round(image.shape[0] * scale), 1))
    smaller: Image = np.empty((size[1], size[0], 3), np.uint8)
    cv2.resize(image, size, smaller, interpolation=cv2.INTER_LINEAR)
    boxes = Detections(found.xyxy * np.float32(scale), found.confidence, found.class_id)
    frame = replace(report.frame, image=smaller, truth=None)
    return replace(report, frame=frame, result=replace(report.result, detections=boxes))


def encode(report: Report, quality: int) -> bytes:
    """Return the picture with its boxes as JPEG. quality: 0 to 100."""
    done, data = cv2.imencode(".jpg", annotate(report), [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise ValueError(f"OpenCV cannot encode a picture of shape {report.frame.image.shape}")
    return data.tobytes()


@dataclass(frozen=True, slots=True)
class Jpeg:
    """One encoded picture. number: counts from 1."""

    number: int
    jpeg: bytes


class PictureStream:
    """Encodes while somebody watches, in a thread of its own, and shows everyone the same newest picture.

    A slow viewer misses pictures, nothing is queued. For the thread of the server.
    """

    def __init__(self, sink: WebSink, settings: WebSettings) -> None:
        self._sink = sink
        self._settings = settings
        self._newest: Jpeg | None = None
        self._arrived = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, "web picture", initializer=yield_to_detection)
        self._complained = False
        self.viewers = 0

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Count one more viewer; the first one starts the work, the last one ends it."""
        self.viewers += 1
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._project())
        try:
            yield
        finally:
            self.viewers -= 1
            if not self.viewers:
                self._task.cancel()
                self._task = self._newest = None
                self._sink.forget()

    async def after(self, number: int) -> Jpeg:
        """Return the newest picture that is later than this one. To be called while watching."""
        while self._newest is None or self._newest.number <= number:
            await self._arrived.wait()
        return self._newest

    async def still(self) -> bytes | None:
        """Return the next picture; None where none comes within six seconds."""
        with self.watching():
            try:
                return (await asyncio.wait_for(self.after(0), STILL_S)).jpeg
            except asyncio.TimeoutError:
                return None

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _project(self) -> None:
        number, clock, period_s = 0, time.monotonic, 1 / self._settings.picture_fps
        while True:
            self._sink.ask()
            while not self._sink.has_report:
                await asyncio.sleep(LOOK_S)
            began = clock()
            if jpeg := await self._make():
                number += 1
                self._newest = Jpeg(number, jpeg)
                arrived, self._arrived = self._arrived, asyncio.Event()
                arrived.set()
            took_s = clock() - began
            await asyncio.sleep(max(period_s - took_s, REST * took_s))

    async def _make(self) -> bytes | None:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._encode_newest)
        except (cv2.error, ValueError) as fault:
            if not self._complained:
                logger.warning(f"The page shows no picture, it cannot be encoded: {' '.join(str(fault).split())}")
            self._complained = True
            return None

    def _encode_newest(self) -> bytes | None:
        # Nothing but `shrink` holds the report: its picture may be a lent one, and is free again before it is encoded.
        report = self._sink.take_report()
        small = shrink(report, self._settings.picture_width) if report else None
        del report
        return encode(small, self._settings.picture_quality) if small else None


def yield_to_detection() -> None:
    """Lower the priority of the calling thread alone: on Linux a thread has a nice value of its own, see sched(7)."""
    with suppress(OSError):  # it is a favour, and not worth a word where it is refused
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
