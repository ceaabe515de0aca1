"""Results of a frame and of a run, and the facts that go with them: backend, stages, board. Frozen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from perception.core.detections import Detections
from perception.core.frame import Frame


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
