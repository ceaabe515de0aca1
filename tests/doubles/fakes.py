"""Small stand-ins that obey the same Protocols as the real things, and builders of nouns for tests."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from perception.backends.base import Backend, Found, Request
from perception.backends.gpu.launches import NOTHING_SUPPRESSED
from perception.camera.capture import Picture
from perception.core.detections import Candidates, Detections
from perception.core.errors import EndOfStream
from perception.core.frame import Frame, Image
from perception.core.results import BackendInfo, Report, Result, StageTimes

REQUEST = Request(0.25, 0.7, (1, 2))
VEHICLES = (1, 2, 3, 5, 7)
INFO = BackendInfo("fake", "fp32", (640, 640), 1, {0: "person", 1: "bicycle", 2: "car"})


class FakeClock:
    """Monotonic seconds that move only when told."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class FakeCapture:
    """A capture that plays a list: an Image or a Picture is delivered, None is `nothing yet`, an exception is raised.

    After the last item it raises EndOfStream. `before` is called ahead of each read.
    """

    summary = "fake"
    fps = 0.0

    def __init__(
        self, items: Iterable[Image | Picture | BaseException | None], before: Callable[[], object] = lambda: None
    ) -> None:
        self._items = iter(items)
        self._before = before
        self.closed = False

    def read(self) -> Picture | None:
        self._before()
        item = next(self._items, EndOfStream())
        if isinstance(item, BaseException):
            raise item
        return Picture(item, 0.0) if isinstance(item, np.ndarray) else item

    def close(self) -> None:
        self.closed = True


class FakeBackend:
    """A backend that finds the same candidates in every image. request: of the last `detect`."""

    def __init__(self, candidates: Candidates | None = None, info: BackendInfo = INFO) -> None:
        self.info = info
        self.closed = False
        self.request: Request | None = None
        none = Detections.empty()
        self._candidates = candidates or Candidates(none.xyxy, none.confidence, none.class_id)

    def detect(self, frames: Sequence[Frame], request: Request) -> list[Found]:
        self.request = request
        keep = self._candidates.confidence > request.conf
        found = Candidates(
            self._candidates.xyxy[keep],
            self._candidates.confidence[keep],
            self._candidates.class_id[keep],
            self._candidates.final,
        )
        return [Found(found, StageTimes(1.0, 2.0, 3.0)) for _ in frames]

    def lend(self, hw: tuple[int, int]) -> Image | None:
        """It reads an image wherever it lies."""
        return None

    def __enter__(self) -> FakeBackend:
        return self

    def __exit__(self, *_: object) -> None:
        self.closed = True


def make_image(value: int = 0, height: int = 48, width: int = 64) -> Image:
    """A grey picture."""
    return np.full((height, width, 3), value, np.uint8)


def make_candidates(*rows: tuple[float, float, float, float, float, int], final: bool = False) -> Candidates:
    """Candidates from rows (left, top, right, bottom, confidence, class id)."""
    table = np.array(rows, np.float32).reshape(-1, 6)
    return Candidates(table[:, :4], table[:, 4], table[:, 5].astype(np.int64), final)


def make_report(
    total_ms: float = 12.4, age_ms: float = 18.2, frame_id: int = 7, dropped: int = 0, vehicles: int = 1
) -> Report:
    """A report of `vehicles` cars."""
    boxes = np.tile(np.array([[10, 20, 30, 40]], np.float32), (vehicles, 1))
    found = Detections(boxes, np.full(vehicles, 0.9, np.float32), np.full(vehicles, 2, np.int64))
    result = Result(found, StageTimes(0.4, 11.3, 0.7), total_ms, age_ms)
    return Report(Frame(make_image(), frame_id, 0.0, "fake"), result, dropped, INFO)


def infer(
    backend: Backend,
    images: Sequence[Image],
    conf: float = 0.25,
    iou: float = NOTHING_SUPPRESSED,
    class_ids: tuple[int, ...] = VEHICLES,
) -> list[tuple[Candidates, StageTimes]]:
    """The candidates of each image and the times of its stages; overlaps are suppressed where `iou` says so."""
    frames = [Frame(image, number, 0.0, "test") for number, image in enumerate(images)]
    return [(found.candidates, found.stages) for found in backend.detect(frames, Request(conf, iou, class_ids))]
