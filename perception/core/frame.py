"""The nouns that the rooms hand to one another: frozen, validated at the border, numpy only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]
Boxes = npt.NDArray[np.float32]
Scores = npt.NDArray[np.float32]
ClassIds = npt.NDArray[np.int64]


def _check_arrays(
    noun: str,
    xyxy: npt.NDArray[Any],
    confidence: npt.NDArray[Any],
    class_id: npt.NDArray[Any],
    second: str = "confidence",
) -> None:
    count = len(xyxy)
    if xyxy.ndim != 2 or xyxy.shape[1] != 4:
        raise ValueError(f"{noun}.xyxy must have shape (n, 4), got {xyxy.shape}")
    if confidence.shape != (count,):
        raise ValueError(f"{noun}.{second} must have shape ({count},), got {confidence.shape}")
    if class_id.shape != (count,):
        raise ValueError(f"{noun}.class_id must have shape ({count},), got {class_id.shape}")


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """Vehicles found in one frame.

    xyxy: (n, 4) float32, pixels of the frame, left top right bottom. confidence: (n,) float32, 0 to 1.
    class_id: (n,) int64, an id of the model that found them. Raises ValueError where the shapes disagree.
    """

    xyxy: Boxes
    confidence: Scores
    class_id: ClassIds

    def __post_init__(self) -> None:
        _check_arrays("Detections", self.xyxy, self.confidence, self.class_id)

    def __len__(self) -> int:
        return len(self.xyxy)

    @classmethod
    def empty(cls) -> Detections:
        """No vehicle at all."""
        return cls(np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty(0, np.int64))


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """Boxes of vehicle classes that passed the threshold, before NMS unless `final`.

    Same shapes and units as Detections, not yet clipped to the frame. `final` says that NMS has nothing to do: the
    model (an end-to-end head) or the backend suppressed the overlaps, and what is left lies best first, 300 boxes at
    most. Raises ValueError where the shapes disagree.
    """

    xyxy: Boxes
    confidence: Scores
    class_id: ClassIds
    final: bool = False

    def __post_init__(self) -> None:
        _check_arrays("Candidates", self.xyxy, self.confidence, self.class_id)

    def __len__(self) -> int:
        return len(self.xyxy)


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """The vehicles that are really in a frame of the synthetic drive, nearest last.

    xyxy: (n, 4) float32, tight boxes of whole silhouettes, cut at the frame, in pixels (a pixel i spans i to i+1).
    class_id: (n,) int64, places in config.COCO_VEHICLES. occluded: (n,) bool, too little of it shows, or it is too
    small, to ask a detector for it. Raises ValueError where the shapes disagree.
    """

    xyxy: Boxes
    class_id: ClassIds
    occluded: npt.NDArray[np.bool_]

    def __post_init__(self) -> None:
        _check_arrays("Truth", self.xyxy, self.occluded, self.class_id, "occluded")

    def __len__(self) -> int:
        return len(self.xyxy)


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One picture on its way through the pilot.

    image: (H, W, 3) uint8 BGR. frame_id counts captured frames from 0, so a gap is a drop. captured_at: monotonic
    seconds, when the picture reached this process. source: where it came from, without credentials. truth: what is
    really there, known to the demo only. fps: the nominal rate of the source, 0 where unknown. live: pictures come at
    their own pace, captured_at is their time.
    """

    image: Image
    frame_id: int
    captured_at: float
    source: str
    truth: Truth | None = None
    fps: float = 0.0
    live: bool = False

    def __post_init__(self) -> None:
        if self.image.ndim != 3 or self.image.shape[2] != 3 or self.image.dtype != np.uint8:
            raise ValueError(f"Frame.image must be (H, W, 3) uint8, got {self.image.shape} {self.image.dtype}")


@dataclass(frozen=True, slots=True)
class StageTimes:
    """Milliseconds by stage; None where a backend cannot tell a stage apart."""

    preprocess_ms: float | None = None
    infer_ms: float | None = None
    postprocess_ms: float | None = None


@dataclass(frozen=True, slots=True)
class BackendInfo:
    """A backend: name ("tensorrt", "onnxruntime", "pytorch"), precision, input size in pixels, batch, class names.

    layout: of its output, see layouts.py. on_cpu: what of a GPU's work the CPU does; empty where it does none of it.
    """

    name: str
    precision: str
    input_hw: tuple[int, int]
    batch: int
    class_names: Mapping[int, str]
    layout: str = ""
    on_cpu: str = ""

    def __str__(self) -> str:
        layout = f", layout {self.layout}" if self.layout else ""
        on_cpu = f", {self.on_cpu}" if self.on_cpu else ""
        return f"{self.name} {self.precision}, input {self.input_hw[1]}x{self.input_hw[0]}{layout}{on_cpu}"


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """The result of `detect` for one frame.

    total_ms: from a frame in host memory to vehicles in Python. age_ms: from captured_at to that same
    moment.
    """

    detections: Detections
    stages: StageTimes
    total_ms: float
    age_ms: float


@dataclass(frozen=True, slots=True, eq=False)
class BoardSnapshot:
    """Readings of the board at one moment; None or empty where it does not tell.

    temperatures_c: by thermal zone (`gpu`, `cpu`, `tj`). throttle_from_c: by zone, where the board begins to slow
    itself down. power_w: of the whole board, on a desk of the GPU card; rails_w: by label. Loads are 0 to 1, clocks Hz,
    memory MiB. throttling: what slows the board down now. oc_events: by kind, since boot.
    """

    temperatures_c: Mapping[str, float] = field(default_factory=dict)
    throttle_from_c: Mapping[str, float] = field(default_factory=dict)
    power_w: float | None = None
    rails_w: Mapping[str, float] = field(default_factory=dict)
    gpu_load: float | None = None
    gpu_clock_hz: float | None = None
    gpu_clock_max_hz: float | None = None
    cpu_load: float | None = None
    cpu_clock_hz: float | None = None
    cpu_clock_max_hz: float | None = None
    emc_load: float | None = None
    emc_clock_hz: float | None = None
    emc_clock_max_hz: float | None = None
    memory_total_mib: float | None = None
    memory_available_mib: float | None = None
    swap_total_mib: float | None = None
    swap_used_mib: float | None = None
    power_mode: str | None = None
    throttling: tuple[str, ...] = ()
    oc_events: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """A frame with its result, ready for the sinks.

    dropped: frames lost since the report before this one. board: once a second, where a board can be read.
    """

    frame: Frame
    result: Result
    dropped: int
    backend: BackendInfo
    board: BoardSnapshot | None = None


@dataclass(frozen=True, slots=True)
class Summary:
    """Figures over `frames` measured frames (those of the warm-up left out).

    Times in milliseconds, None where no frame was measured; fps None where fewer than two frames came.
    dropped_share: of all captured frames, 0 to 1.
    """

    frames: int
    p50_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    max_ms: float | None
    age_p95_ms: float | None
    fps: float | None
    dropped: int
    dropped_share: float
