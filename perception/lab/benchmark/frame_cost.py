"""The cost of a frame: ours whole and by stage, the bare session on a ready tensor, and ultralytics' predict."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import cv2

from perception.backends.preprocess import Preprocessor
from perception.backends.session import Session
from perception.core.errors import SourceError
from perception.core.frame import Frame, Image
from perception.core.results import Result
from perception.lab.benchmark.predict import OPTIONS, load_with_threads

WARMUP = 10
SETTLE_S = 0.02
"""Threads of the way before spin for a while, and would take the next one's processor."""


class Detector(Protocol):
    """The one call of DetectorService that is measured."""

    def detect(self, frames: Sequence[Frame]) -> list[Result]: ...


def read_clip(path: Path, count: int) -> list[Image]:
    """Read the first `count` pictures of a clip into memory, so that no decoding falls into the times."""
    capture = cv2.VideoCapture(str(path))
    images: list[Any] = []
    while len(images) < count:
        read, image = capture.read()
        if not read:
            break
        images.append(image)
    capture.release()
    if not images:
        raise SourceError(f"{path} holds no frame that can be decoded", "Give a video with --clip.")
    return images


def measure(
    service: Detector, session: Session, weights: Path | None, threads: int, images: Sequence[Image], rounds: int
) -> dict[str, list[float]]:
    """Return milliseconds by name, each frame through every way in turn, `rounds` times after the warm-up.

    session: the one that `service` runs on. weights: the .pt for ultralytics' predict, None to leave it out. threads:
    what the session was given, for predict, too.
    """
    preprocess = Preprocessor(session.input_hw, session.dtype)
    predict = load_with_threads(str(weights), images[0], threads).predict if weights else None
    times: dict[str, list[float]] = {}
    for number in range(rounds + WARMUP):
        image = images[number % len(images)]
        taken: dict[str, float] = {}
        frame = Frame(image, number, time.monotonic(), "benchmark")
        taken["ours"], result = _timed(lambda: service.detect([frame])[0])  # noqa: B023 - called at once
        taken["  preprocess"] = result.stages.preprocess_ms
        taken["  infer"] = result.stages.infer_ms
        taken["  postprocess"] = result.stages.postprocess_ms
        tensor, _ = preprocess([image])
        taken["bare session.run"], _ = _timed(lambda: session.run(tensor))  # noqa: B023 - called at once
        taken["ours - bare"] = taken["ours"] - taken["bare session.run"]
        if predict:
            taken["ultralytics predict"], _ = _timed(lambda: predict(image, **OPTIONS))  # noqa: B023 - called at once
        if number >= WARMUP:
            for name, value in taken.items():
                times.setdefault(name, []).append(value)
    return times


def _timed(call: Callable[[], Any]) -> tuple[float, Any]:
    time.sleep(SETTLE_S)
    started = time.perf_counter()
    value = call()
    return (time.perf_counter() - started) * 1000, value
