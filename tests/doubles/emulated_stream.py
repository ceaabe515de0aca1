"""Streams and events of the emulated GPU: work waits until somebody waits for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from tests.doubles.emulated_errors import LogicError

if TYPE_CHECKING:
    from tests.doubles.emulated_gpu import Device


class Stream:
    """A queue of work, and the graph that it is recorded into while a capture goes on."""

    def __init__(self, device: Device) -> None:
        device.called("Stream")
        self._device = device
        self.handle = device.new_handle()
        self.recording: list[Callable[[], None]] | None = None
        self._waiting: list[Callable[[], None]] = []
        device.streams[self.handle] = self

    def put(self, work: Callable[[], None]) -> None:
        """Adds work, or records it."""
        (self._waiting if self.recording is None else self.recording).append(work)

    @property
    def has_work(self) -> bool:
        """Whether something waits to be done."""
        return bool(self._waiting)

    def run(self) -> None:
        """Does what waits."""
        waiting, self._waiting = self._waiting, []
        for work in waiting:
            work()

    def synchronize(self) -> None:
        self._device.called("synchronize")
        if self.recording is not None:
            raise LogicError("cuStreamSynchronize failed: operation not permitted when stream is capturing")
        self.run()


class Event:
    """A point in a stream's work, and when that work was done."""

    def __init__(self, device: Device) -> None:
        device.called("Event")
        self._stream: Stream | None = None
        self._done_at: float | None = None

    def record(self, stream: Stream) -> None:
        self._stream, self._done_at = stream, None
        stream.put(self._done)

    def _done(self) -> None:
        self._done_at = time.perf_counter()

    def synchronize(self) -> None:
        assert self._stream is not None, "recorded before it is waited for"
        self._stream.synchronize()

    def time_since(self, earlier: Event) -> float:
        """Milliseconds."""
        if self._done_at is None or earlier._done_at is None:
            raise LogicError("cuEventElapsedTime failed: device not ready")
        return (self._done_at - earlier._done_at) * 1000
