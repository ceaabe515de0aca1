"""Copies of pictures, with a second thread for the larger ones: one core alone does not fill the memory's bus."""

from __future__ import annotations

from queue import SimpleQueue
from threading import Thread

import numpy as np

from perception.core.frame import Image

LARGE_BYTES = 1 << 19
"""A smaller picture is copied before a second thread is awake."""
OWN_SHARE = 0.6
"""Of the rows, for the thread that asks: it need not wake up first."""

_Job = tuple[Image, Image, "SimpleQueue[BaseException | None]"]


class Copier:
    """Copies for one thread at a time; its own thread starts with the first large picture, and ends at `close`."""

    def __init__(self) -> None:
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._thread: Thread | None = None

    def copy(self, target: Image, image: Image) -> None:
        """Copies an image, or some rows of one, to a target of its shape (n, W, 3) uint8."""
        rows = len(image)
        own = int(rows * OWN_SHARE) if image.nbytes >= LARGE_BYTES else rows
        if own == rows:
            np.copyto(target, image)
            return
        if self._thread is None:
            self._thread = Thread(target=_work, args=(self._jobs,), name="copier", daemon=True)
            self._thread.start()
        done: SimpleQueue[BaseException | None] = SimpleQueue()  # of its own: a Ctrl-C may leave one without a reader
        self._jobs.put((target[own:], image[own:], done))
        np.copyto(target[:own], image[:own])
        if (fault := done.get()) is not None:
            raise fault

    def close(self) -> None:
        """Ends its thread."""
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join()
            self._thread = None


def _work(jobs: SimpleQueue[_Job | None]) -> None:
    while (job := jobs.get()) is not None:
        target, image, done = job
        fault: BaseException | None = None
        try:
            np.copyto(target, image)
        except BaseException as error:  # told to whom it concerns
            fault = error
        done.put(fault)
        del job, target, image, done  # a picture is not held until the next one comes
