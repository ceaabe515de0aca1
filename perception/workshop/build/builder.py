"""Builds a TensorRT engine from an ONNX model: TensorRT 8.6 to 11, told apart by what each of them has.

Up to TensorRT 10 the builder chooses the precision of each layer among those that flags allow, and a calibrator finds
the ranges that INT8 needs. TensorRT 11 takes both from the model: Q/DQ nodes, and float16 tensors.
"""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import TYPE_CHECKING, Any

from perception.backends.gpu.cuda import Gpu
from perception.backends.tensorrt.log_tail import LogTail, make_logger
from perception.backends.tensorrt.runtime import import_tensorrt, library_version
from perception.core.errors import BackendError, BuildError, ExportMemoryError, PilotError
from perception.system.signals import held_back
from perception.workshop.build import inspect, network, timing_cache
from perception.workshop.build.config import Configuration, Interrupt, Material
from perception.workshop.build.request import BuildRequest
from perception.workshop.progress import Phases, Tell, make_monitor, stage

if TYPE_CHECKING:
    import tensorrt as trt

SHORT_OF_MEMORY = re.compile(
    r"(?i)memory is insufficient|insufficient (memory|workspace)|out of memory|OutOfMemory|error 12\b|MemAlloc"
)
"""Words of TensorRT's lines where memory was short. As a warning it is no failure: one way to run a layer is passed
over. Other things are insufficient, too: scales, drivers.
"""
NO_WAY_LEFT = "Could not find any implementation"
"""TensorRT's words where all ways to run a layer were passed over."""
REMEMBERED = 4000


@dataclass(frozen=True, slots=True)
class Built:
    """An engine. plan: what TensorRT serialized. facts: what is known of it, for the sidecar and the reader."""

    plan: bytes = field(repr=False)
    facts: Mapping[str, Any]


def build(request: BuildRequest, material: Material, tell: Tell, interrupt: Interrupt | None = None) -> Built:
    """Build the engine of a request. Nothing is written but caches.

    interrupt: see Feed. Raises BuildError where TensorRT cannot build it, ExportMemoryError where memory was short,
    SettingsError for what cannot be asked for here.
    """
    try:
        module = import_tensorrt()
        if not hasattr(module, "Builder"):
            raise BuildError("This TensorRT runs engines and cannot build them", "Install the whole of it: tensorrt.")
        with Gpu(request.device) as gpu:
            work = _Build(module, gpu, request, material, tell, interrupt)
            try:
                return work.run()
            except PilotError as fault:
                raise _without_frames(fault) from None
            finally:
                work.close()  # while the context is there
    except BackendError as fault:
        raise BuildError(fault.what, fault.cure) from None


def _without_frames(fault: PilotError) -> PilotError:
    """Return the fault without its traceback: those frames hold TensorRT's objects beyond the context."""
    fault.__cause__ = fault.__context__ = None
    return fault.with_traceback(None)


class _Build:
    """One build, and TensorRT's objects that it needs."""

    def __init__(
        self, module: ModuleType, gpu: Gpu, request: BuildRequest, material: Material, tell: Tell,
        interrupt: Interrupt | None,
    ) -> None:  # fmt: skip
        self._module, self._gpu, self._request, self._material = module, gpu, request, material
        self._tell, self._interrupt = tell, interrupt
        self._log_tail = LogTail()
        self._log_tail.lines = deque(maxlen=REMEMBERED)
        self._version = library_version(module)
        self._logger = make_logger(module, self._log_tail)
        self._seconds: dict[str, float] = {}

    def run(self) -> Built:
        """Read the model, configure, build, inspect."""
        stage(self._tell, "reading the model")
        self._read()
        request = self._request
        shape = network.input_shape(self._network.shape, request.onnx, request.batch, self._material.usual_hw)
        self._settings = Configuration(
            self._module, self._builder, self._gpu, self._network, shape, request, self._material, self._version,
            self._tell, self._interrupt,
        )  # fmt: skip
        names, is_dynamic = network.convolutions(self._module, self._network), self._network.is_dynamic
        stage(self._tell, "building")
        plan = self._timed("build", self._serialize)
        if request.timing_cache is not None:
            timing_cache.save(self._settings.config, request.timing_cache, self._tell)
        self._let_go()
        stage(self._tell, "inspecting")
        layers = self._timed("inspect", lambda: inspect.look_into(self._module, self._logger, self._log_tail, plan))
        return Built(plan, self._facts(plan, shape, is_dynamic, layers, names))

    def _timed(self, what: str, work: Callable[[], Any]) -> Any:
        started = time.monotonic()
        result = work()
        self._seconds[what] = round(time.monotonic() - started, 1)
        return result

    def _read(self) -> None:
        try:
            self._builder: trt.Builder = self._module.Builder(self._logger)
        except TypeError:  # what pybind11 makes of a null pointer
            raise self._failure("TensorRT gives no builder") from None
        self._network = self._timed(
            "read",
            lambda: network.parse(self._module, self._builder, self._logger, self._log_tail, self._request.onnx),
        )

    def _serialize(self) -> bytes:
        monitor = make_monitor(self._module, Phases(self._tell), self._goes_on, self._keep)
        if monitor is not None:
            self._settings.config.progress_monitor = monitor
        with held_back():
            plan = self._builder.build_serialized_network(self._network.definition, self._settings.config)
        self._log_tail.raise_interruption()
        if self._settings.feed is not None:
            self._settings.feed.raise_fault()
        if plan is None:
            raise self._failure("TensorRT built no engine")
        return bytes(plan)

    def _goes_on(self) -> bool:
        feed = self._settings.feed
        return self._log_tail.interruption is None and not (feed is not None and feed.has_failed)

    def _keep(self, fault: BaseException) -> None:
        self._log_tail.interruption = self._log_tail.interruption or fault

    def _failure(self, what: str) -> BuildError | ExportMemoryError:
        """Return the fault behind a null pointer of TensorRT, by what it logged."""
        warned = self._short(self._log_tail.lines)
        short = self._short(self._log_tail.errors)
        if not self._log_tail.errors or any(NO_WAY_LEFT in line for line in self._log_tail.errors):
            short += warned
        if short:
            return ExportMemoryError(f"{what}: {short[0]}", "Free memory, or build with less workspace.")
        return BuildError(f"{what}: {self._log_tail.why()}", "Look this line up in docs/int8.md.")

    @staticmethod
    def _short(lines: Iterable[str]) -> list[str]:
        return [line for line in lines if SHORT_OF_MEMORY.search(line)]

    def _facts(
        self, plan: bytes, shape: network.Shape, is_dynamic: bool, layers: str, names: list[str]
    ) -> dict[str, Any]:
        runs = inspect.convolutions(inspect.layers_of(layers), names)
        settings, gpu = self._settings, self._gpu
        return {
            "onnx_sha256": self._material.onnx_sha256,
            "precision": self._request.precision,
            "input_shape": [-1 if is_dynamic else shape[0], *shape[1:]],
            "largest_input": list(shape),
            "is_dynamic": is_dynamic,
            "tensorrt_version": self._version,
            "cuda_version": gpu.cuda_version,
            "gpu_name": gpu.name,
            "compute_capability": gpu.compute_capability,
            "builder": {**settings.settings, "int8_convolutions": round(runs.share_int8, 4)},
            "plan_bytes": len(plan),
            "seconds": self._seconds,
            "convolutions": {"int8": len(runs.int8), "other": list(runs.other), "unseen": list(runs.unseen)},
            "protected_in_int8": sorted(set(runs.int8) & set(settings.protected)),
            "calibration": None if settings.feed is None else settings.feed.facts(),
            "warnings": len(self._log_tail.lines),
            "tactics_without_memory": len(self._short(self._log_tail.lines)),
        }

    def _let_go(self) -> None:
        """Free what building took; the settings that were made stay known."""
        if "_settings" in self.__dict__:
            self._settings.close()
        for name in ("_network", "_builder"):
            self.__dict__.pop(name, None)

    def close(self) -> None:
        """Free all that TensorRT made, the logger last."""
        self._let_go()
        self.__dict__.pop("_logger", None)
