"""Gives the fake `tensorrt` a builder: the names that the workshop uses, and no other.

Building calibrates as TensorRT does, and gives a plan that the fake run time runs. What real objects crash over is an
assertion here.
"""

from __future__ import annotations

import abc
import enum
import json
import struct
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, Literal

import numpy as np

from tests.doubles.fake_tensorrt import (
    HEADER_BYTES,
    DataType,
    ILogger,
    Machine,
    ProfilingVerbosity,
    Runtime,
    Severity,
    make_plan,
)
from tests.workshop.build.fake_network import Int8, LayerType, Parser
from tests.workshop.build.fake_network import Network as Network

Generation = Literal["8.6", "10", "11"]
TIMED = b"timing cache of this device:"


class LayerInformationFormat(enum.Enum):
    """Formats of the inspector."""

    ONELINE = 0
    JSON = 1


class MemoryPoolType(enum.Enum):
    """Pools of memory."""

    WORKSPACE = 0


class Profile:
    """The shapes of an input."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def set_shape(self, input: str, min: Sequence[int], opt: Sequence[int], max: Sequence[int]) -> None:
        assert input == "images"
        assert all(low <= best <= high for low, best, high in zip(min, opt, max))
        self.shapes = [tuple(min), tuple(opt), tuple(max)]


class TimingCache:
    """Knows its device by its first bytes."""

    def __init__(self, content: bytes) -> None:
        self.content = content or TIMED

    def combine(self, input_cache: TimingCache, ignore_mismatch: bool) -> bool:
        assert not ignore_mismatch
        if not input_cache.content.startswith(TIMED):
            return False
        self.content += input_cache.content.removeprefix(TIMED)
        return True

    def serialize(self) -> memoryview:
        return memoryview(self.content)


class Config:
    """Settings of a builder."""

    def __init__(self, before_10: bool) -> None:
        self.flags: set[str] = set()
        self.memory: dict[Any, int] = {}
        self.tactic_sources: int | None = None
        self.profiles: list[Profile] = []
        self.calibration_profile: Profile | None = None
        self.timing: TimingCache | None = None
        self.builder_optimization_level = 3
        self.profiling_verbosity = ProfilingVerbosity.LAYER_NAMES_ONLY
        self.int8_calibrator: Any = None
        self.progress_monitor: Any = None
        self.preview: set[str] = set()
        self._before_10 = before_10

    def set_memory_pool_limit(self, pool: MemoryPoolType, pool_size: int) -> None:
        self.memory[pool] = pool_size

    def set_flag(self, flag: Any) -> None:
        self.flags.add(flag.name)

    def set_tactic_sources(self, tactic_sources: int) -> bool:
        self.tactic_sources = tactic_sources
        return True

    def add_optimization_profile(self, profile: Profile) -> int:
        self.profiles.append(profile)
        return len(self.profiles) - 1

    def set_calibration_profile(self, profile: Profile) -> bool:
        assert self._before_10, "it causes internal errors from TensorRT 10 on"
        self.calibration_profile = profile
        return True

    def set_preview_feature(self, feature: Any, enable: bool) -> None:
        assert self._before_10, "profiles are always shared from TensorRT 10 on"
        assert enable
        self.preview.add(feature.name)

    def create_timing_cache(self, serialized_timing_cache: bytes) -> TimingCache:
        return TimingCache(bytes(serialized_timing_cache))

    def set_timing_cache(self, cache: TimingCache, ignore_mismatch: bool) -> bool:
        if not cache.content.startswith(TIMED):
            return False
        self.timing = cache
        return True

    def get_timing_cache(self) -> TimingCache | None:
        return self.timing


class Calibrator(abc.ABC):
    """Crashes, as TensorRT does, where a subclass did not initialise it."""

    algorithm = ""

    def __init__(self) -> None:
        self.is_initialised = True

    @abc.abstractmethod
    def get_batch_size(self) -> int: ...

    @abc.abstractmethod
    def get_batch(self, names: Sequence[str]) -> list[int] | None: ...

    @abc.abstractmethod
    def read_calibration_cache(self) -> bytes | None: ...

    @abc.abstractmethod
    def write_calibration_cache(self, cache: memoryview) -> None: ...


class ProgressMonitor:
    """Crashes, as TensorRT does, where a subclass did not initialise it."""

    def __init__(self) -> None:
        self.is_initialised = True


@dataclass
class Workbench:
    """The test's view of the builder.

    say: lines it logs while it builds, (severity, text). fail: whether it builds nothing. on_step: called at every step
    of the build. calibrated: the batches it was given; calibration_read: the cache it read.
    """

    generation: Generation
    say: list[tuple[Severity, str]] = field(default_factory=list)
    fail: bool = False
    on_step: Callable[[int], None] | None = None
    calibrated: list[Any] = field(default_factory=list)
    calibration_read: bytes | None = None
    network: Network | None = None
    config: Config | None = None
    builds: int = 0
    cancelled: bool = False


def extend(module: ModuleType, machine: Machine, generation: Generation) -> Workbench:
    """Gives the module what a release of that generation has; the workbench tells what was done with it."""
    bench = Workbench(generation)
    precisions = {} if generation == "11" else {name: number for number, name in enumerate(_PRECISION_FLAGS)}
    creation = {"8.6": {"EXPLICIT_BATCH": 0}, "10": {"EXPLICIT_BATCH": 0, "STRONGLY_TYPED": 1}, "11": {}}[generation]
    used: dict[str, Any] = {
        "Builder": lambda logger: Builder(logger, machine, bench), "OnnxParser": Parser, "LayerType": LayerType,
        "BuilderFlag": enum.IntEnum("BuilderFlag", {**precisions, "TF32": 99}),
        "NetworkDefinitionCreationFlag": enum.IntEnum("NetworkDefinitionCreationFlag", {**creation, "OTHER": 7}),
        "MemoryPoolType": MemoryPoolType,
        "LayerInformationFormat": LayerInformationFormat, "Runtime": lambda logger: InspectedRuntime(logger, machine),
        "DataType": SimpleNamespace(**{kind.name: kind for kind in DataType}, INT8=Int8.INT8),
    }  # fmt: skip
    if generation != "11":
        used["PreviewFeature"] = enum.IntEnum("PreviewFeature", {"PROFILE_SHARING_0806": 0, "OTHER": 1})
        used["IInt8EntropyCalibrator2"] = type("IInt8EntropyCalibrator2", (Calibrator,), {"algorithm": "Entropy"})
        used["IInt8MinMaxCalibrator"] = type("IInt8MinMaxCalibrator", (Calibrator,), {"algorithm": "MinMax"})
    if generation == "8.6":
        used["ICudaEngine"] = type("ICudaEngine", (module.ICudaEngine,), {"num_bindings": 2})
    else:
        used["IProgressMonitor"] = ProgressMonitor
    vars(module).update(used)
    vars(module)["Runtime"] = type("Runtime", (InspectedRuntime,), {"__init__": _runtime_of(machine)})
    return bench


_PRECISION_FLAGS = ("FP16", "INT8", "PREFER_PRECISION_CONSTRAINTS")


def _runtime_of(machine: Machine) -> Callable[[Any, ILogger], None]:
    return lambda self, logger: Runtime.__init__(self, logger, machine)


class InspectedRuntime(Runtime):
    """Gives engines whose inspector tells what the builder wrote into the plan."""

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> Any:
        engine = super().deserialize_cuda_engine(serialized_engine)
        if engine is not None:
            body = serialized_engine[HEADER_BYTES + 32 :]
            told = json.loads(body[4 : 4 + struct.unpack_from("<I", body)[0]])
            inspector = SimpleNamespace(get_engine_information=lambda kind: json.dumps({"Layers": told["layers"]}))
            engine.create_engine_inspector = lambda: inspector  # type: ignore[attr-defined]
        return engine


class Builder:
    """Builds plans."""

    def __init__(self, logger: ILogger, machine: Machine, bench: Workbench) -> None:
        assert getattr(logger, "is_initialised", False), "ILogger.__init__ was not called: TensorRT crashes"
        if "builder" in machine.refuse:
            logger.log(Severity.ERROR, "CUDA initialization failure with error: 2 (out of memory)")
            raise TypeError("pybind11::init(): factory function returned nullptr")
        self._logger = logger
        self._machine = machine
        self._bench = bench
        machine.born(self, "builder")

    def create_network(self, flags: int = 0) -> Network:
        assert self._bench.generation != "8.6" or flags & 1, "a network of implicit batch takes no ONNX model"
        return Network(flags)

    def create_builder_config(self) -> Config:
        return Config(self._bench.generation == "8.6")

    def create_optimization_profile(self) -> Profile:
        return Profile()

    def build_serialized_network(self, network: Network, config: Config) -> memoryview | None:
        bench = self._bench
        bench.network, bench.config = network, config
        bench.builds += 1
        assert network.parser is not None and network.parser() is not None, "the parser owns the weights"
        for severity, text in bench.say:
            self._logger.log(severity, text)
        if config.int8_calibrator is not None and not self._calibrate(network, config):
            return None
        if bench.fail or not self._steps(config):
            return None
        if config.timing is not None:
            config.timing.content += b" one more"
        path = Path(str(self._machine.version))  # never read: only its bytes are asked for
        profile = config.profiles[0].shapes if config.profiles else ()
        layers = _layers(network, config)
        told = {"layers": layers, "shares_profiles": "PROFILE_SHARING_0806" in config.preview}
        plan = make_plan(_Bytes(network.onnx, path), version=self._machine.version, profile=profile, **told)  # type: ignore[arg-type]
        return memoryview(plan)

    def _steps(self, config: Config) -> bool:
        monitor = config.progress_monitor
        if monitor is not None:
            assert monitor.is_initialised, "IProgressMonitor.__init__ was not called: TensorRT crashes"
            monitor.phase_start("Building Engine", None, 4)
        for step in range(4):
            if self._bench.on_step is not None:
                self._bench.on_step(step)
            if monitor is not None and not monitor.step_complete("Building Engine", step):
                self._bench.cancelled = True
                monitor.phase_finish("Building Engine")
                return False
        if monitor is not None:
            monitor.phase_finish("Building Engine")
        return True

    def _calibrate(self, network: Network, config: Config) -> bool:
        calibrator, bench = config.int8_calibrator, self._bench
        assert calibrator.is_initialised, "the calibrator's __init__ was not called: TensorRT crashes"
        bench.calibration_read = calibrator.read_calibration_cache()
        if bench.calibration_read is not None:
            return bench.calibration_read.startswith(b"TRT-")
        shape = tuple(network.inputs[0].shape)
        if min(shape) < 0:
            profile = config.calibration_profile or config.profiles[0]
            shape = profile.shapes[1]
        assert calibrator.get_batch_size() == shape[0], "TensorRT would read beyond the buffer, or not all of it"
        while (addresses := calibrator.get_batch(["images"])) is not None:
            assert len(addresses) == 1
            bench.calibrated.append(self._machine.device.read(addresses[0], shape, np.float32))
        if not bench.calibrated:
            self._logger.log(Severity.ERROR, "Calibration failure occurred with no scaling factors detected")
            return False
        calibrator.write_calibration_cache(memoryview(f"TRT-{calibrator.algorithm}\nimages: 3c010a14\n".encode()))
        return True


class _Bytes:
    """Bytes in the place of a file."""

    def __init__(self, content: bytes, path: Path) -> None:
        self._content = content
        self.path = path

    def read_bytes(self) -> bytes:
        return self._content


def _layers(network: Network, config: Config) -> list[Any]:
    """Return the inspector's layers: convolutions in INT8, but those that were asked for in something else."""
    if config.profiling_verbosity is not ProfilingVerbosity.DETAILED:
        return [layer.name for layer in network.layers]
    kinds = {None: "Int8" if "INT8" in config.flags else "Half", DataType.HALF: "Half", DataType.FLOAT: "Float"}
    return [
        {
            "Name": layer.name,
            "LayerType": "CaskConvolution" if layer.type is LayerType.CONVOLUTION else "PointWise",
            "Weights": {"Type": kinds.get(layer.precision, "Int8"), "Count": 1},
        }
        for layer in network.layers
    ]


def put_memory_meter(device: Any, total: int = 8 << 30) -> None:
    """Gives the emulated PyCUDA a mem_get_info, which counts what lives on the device."""
    driver = sys.modules["pycuda.driver"]

    def mem_get_info() -> tuple[int, int]:
        device.called("mem_get_info")
        return total - sum(len(memory.bytes) for memory in device.live.values()), total

    vars(driver)["mem_get_info"] = mem_get_info
