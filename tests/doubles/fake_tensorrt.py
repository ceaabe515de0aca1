"""A `tensorrt` whose engines are ONNX models, run by ONNX Runtime: the names that the run time uses, and no other.

Its plans have the header of real ones. It refuses what TensorRT refuses: a plan of another version or a cut one gives
None and an error on the logger, work without addresses or without a shape gives False, a shape outside the profile too.
"""

from __future__ import annotations

import abc
import enum
import hashlib
import json
import struct
import weakref
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from tests.doubles import tiny_model
from tests.doubles.emulated_gpu import Device
from tests.doubles.engine_files import with_header

HEADER_BYTES = 32
VERSION = "10.3.0"
KINDS = {"tensor(float)": "FLOAT", "tensor(float16)": "HALF", "tensor(int64)": "INT64"}


NAMES = {str(number): name for number, name in tiny_model.NAMES.items()}


def write_engine(
    path: Path, *, profile: Sequence[Sequence[int]] = (), header: dict[str, Any] | None = None,
    told: dict[str, Any] | None = None, version: str = VERSION, **model: Any,
) -> Path:  # fmt: skip
    """An engine of the tiny model at `path`, as ultralytics writes it; its ONNX file lies beside it.

    profile: see make_plan; header: more of its header; told: see ICudaEngine; model: see tiny_model.build.
    """
    onnx = tiny_model.build(path.with_suffix(".onnx"), **model)
    half = model.get("dtype") is np.float16
    told_by_all = {"names": NAMES, "args": {"half": half, "int8": False}, "end2end": model.get("head") == "end2end"}
    metadata = {**told_by_all, **(header or {})}
    path.write_bytes(with_header(metadata, make_plan(onnx, version=version, profile=profile, **(told or {}))))
    return path


def make_plan(onnx: Path, *, version: str = VERSION, profile: Sequence[Sequence[int]] = (), **told: Any) -> bytes:
    """A plan of a model. profile: smallest, best and largest shape of the input. told: see ICudaEngine."""
    text = json.dumps({"profile": [list(shape) for shape in profile], **told}).encode()
    body = struct.pack("<I", len(text)) + text + onnx.read_bytes()
    body = hashlib.sha256(body).digest() + body
    numbers = [int(part) for part in version.split(".")]
    return b"ftrt" + struct.pack("<IQQ4B4x", 0, 1, HEADER_BYTES + len(body), *numbers, 26) + body


class Severity(enum.Enum):
    """ILogger.Severity."""

    INTERNAL_ERROR = 0
    ERROR = 1
    WARNING = 2
    INFO = 3
    VERBOSE = 4


class ILogger(abc.ABC):
    """Crashes, as TensorRT does, where a subclass did not initialise it."""

    Severity = Severity

    def __init__(self) -> None:
        self.is_initialised = True

    @abc.abstractmethod
    def log(self, level: Any, message: str) -> None:
        """Takes one line."""


class TensorIOMode(enum.Enum):
    """Whether a tensor goes in or comes out."""

    NONE = 0
    INPUT = 1
    OUTPUT = 2


class DataType(enum.Enum):
    """Types of tensors; the stubs and the real module have more."""

    FLOAT = 0
    HALF = 1
    INT64 = 8

    def __str__(self) -> str:
        return f"DataType.{self.name}"


class TensorFormat(enum.Enum):
    """How a tensor lies in memory; NvInferRuntimeBase.h has more."""

    LINEAR = 0
    CHW2 = 1
    HWC8 = 2

    def __str__(self) -> str:
        return f"TensorFormat.{self.name}"


class ProfilingVerbosity(enum.Enum):
    """How much the inspector will tell of an engine, and NVTX in each launch."""

    LAYER_NAMES_ONLY = 0
    NONE = 1
    DETAILED = 2


class Dims:
    """A shape: can be counted, indexed and gone through, and is no tuple."""

    def __init__(self, sizes: Sequence[int]) -> None:
        self._sizes = tuple(sizes)

    def __len__(self) -> int:
        return len(self._sizes)

    def __getitem__(self, index: int) -> int:
        return self._sizes[index]

    def __iter__(self) -> Iterator[int]:
        return iter(self._sizes)


class Machine:
    """What all objects of one module share.

    alive, died: kinds of object, in order. refuse: calls that fail. ran: images of each run that was asked for.
    nvtx: how much each of them told of its layers.
    """

    def __init__(self, device: Device, version: str) -> None:
        self.device = device
        self.version = version
        self.alive: list[str] = []
        self.died: list[str] = []
        self.refuse: set[str] = set()
        self.ran: list[int] = []
        self.nvtx: list[ProfilingVerbosity] = []

    def born(self, owner: object, kind: str) -> None:
        """Notes the life of an object, and that CUDA was there at its end."""
        self.alive.append(kind)
        weakref.finalize(owner, self._died, kind).atexit = False

    def _died(self, kind: str) -> None:
        self.alive.remove(kind)
        self.died.append(kind)
        if not self.device.contexts:
            self.device.without_context.append(kind)


class Runtime:
    """Deserialises plans."""

    def __init__(self, logger: ILogger, machine: Machine) -> None:
        assert getattr(logger, "is_initialised", False), "ILogger.__init__ was not called: TensorRT crashes"
        self.logger = logger
        self.machine = machine
        machine.born(self, "runtime")
        logger.log(Severity.INFO, "Loaded engine runtime")

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> ICudaEngine | None:
        plan = serialized_engine
        if plan[:4] != b"ftrt":
            return self._refuse("IRuntime::deserializeCudaEngine: Error Code 1: Serialization (magicTag)")
        version = ".".join(str(number) for number in plan[24:27])
        if version != self.machine.version:
            return self._refuse(f"Version tag does not match. Current: {self.machine.version}, Serialized: {version}")
        digest, body = plan[HEADER_BYTES : HEADER_BYTES + 32], plan[HEADER_BYTES + 32 :]
        if hashlib.sha256(body).digest() != digest:
            return self._refuse("Error Code 1: Serialization (Serialization assertion sizeRead == static_cast failed.)")
        if "deserialize" in self.machine.refuse:
            return self._refuse("[defaultAllocator.cpp::allocate] Error Code 1: Cuda Runtime (out of memory)")
        length = struct.unpack_from("<I", body)[0]
        return ICudaEngine(self, json.loads(body[4 : 4 + length]), body[4 + length :])

    def _refuse(self, message: str) -> ICudaEngine | None:
        self.logger.log(Severity.ERROR, message)
        return None


class ICudaEngine:
    """A model. told: `dtypes`, `shapes` and `formats` of tensors by name, not the real ones; `extra` outputs;
    `shares_profiles`: built so that several contexts may have one profile, as all are from TensorRT 10 on.
    """

    def __init__(self, runtime: Runtime, told: dict[str, Any], onnx: bytes) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
        self.runtime = runtime
        self.profile = told["profile"]
        self._dtypes, self._shapes = told.get("dtypes", {}), told.get("shapes", {})
        self._formats = told.get("formats", {})
        self._extra = told.get("extra", [])
        is_old = int(runtime.machine.version.split(".")[0]) < 10
        self._shares_profiles = not is_old or told.get("shares_profiles", False)
        self.profile_holder: weakref.ref[IExecutionContext] | None = None
        self.values = {value.name: value for value in (*self.session.get_inputs(), *self.session.get_outputs())}
        self.input = self.session.get_inputs()[0].name
        self.output = self.session.get_outputs()[0].name
        runtime.machine.born(self, "engine")

    @property
    def num_io_tensors(self) -> int:
        return len(self.values) + len(self._extra)

    def get_tensor_name(self, index: int) -> str:
        return str([*self.values, *self._extra][index])

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return TensorIOMode.INPUT if name == self.input else TensorIOMode.OUTPUT

    def get_tensor_shape(self, name: str) -> Dims:
        sizes = self._shapes.get(name, self.values[name].shape)
        return Dims([size if isinstance(size, int) else -1 for size in sizes])

    def get_tensor_dtype(self, name: str) -> DataType:
        return DataType[self._dtypes.get(name, KINDS[self.values[name].type])]

    def get_tensor_format(self, name: str) -> TensorFormat:
        return TensorFormat[self._formats.get(name, "LINEAR")]

    def get_tensor_format_desc(self, name: str) -> str:
        kind = self.get_tensor_format(name)
        return "Row major linear FP32 format (kLINEAR)" if kind is TensorFormat.LINEAR else f"Format (k{kind.name})"

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[Dims]:
        assert (name, profile_index) == (self.input, 0), "only inputs have profiles"
        shapes = self.profile or [list(self.get_tensor_shape(name))] * 3
        return [Dims(shape) for shape in shapes]

    def create_execution_context(self) -> IExecutionContext | None:
        if "context" in self.runtime.machine.refuse:
            self.runtime.logger.log(Severity.ERROR, "createExecutionContext: Error Code 2: OutOfMemory")
            return None
        return IExecutionContext(self)


class IExecutionContext:
    """Runs an engine on a stream, where the addresses say."""

    nvtx_verbosity = ProfilingVerbosity.DETAILED
    active_optimization_profile = -1

    def __init__(self, engine: ICudaEngine) -> None:
        self._engine = engine
        self._addresses: dict[str, int] = {}
        declared = tuple(engine.get_tensor_shape(engine.input))
        self._shape: tuple[int, ...] | None = declared if min(declared) > 0 else None
        if self._take_profile():
            self.active_optimization_profile = 0
        engine.runtime.machine.born(self, "context")

    def _take_profile(self) -> bool:
        engine = self._engine
        holder = engine.profile_holder() if engine.profile_holder else None
        if holder not in (None, self) and not engine._shares_profiles:
            return False
        engine.profile_holder = weakref.ref(self)
        return True

    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
        if profile_index != 0 or not self._take_profile():
            return self._refuse(f"Profile {profile_index} has been chosen by another IExecutionContext. Use another.")
        self.active_optimization_profile = 0
        return True

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        smallest, _, largest = (tuple(sizes) for sizes in self._engine.get_tensor_profile_shape(name, 0))
        if len(shape) != len(largest) or any(
            not low <= size <= high for low, size, high in zip(smallest, shape, largest)
        ):
            return self._refuse(f"IExecutionContext::setInputShape: Error Code 3: API Usage Error ({shape})")
        self._shape = tuple(shape)
        return True

    def get_tensor_shape(self, name: str) -> Dims:
        sizes = list(self._engine.get_tensor_shape(name))
        if self._shape is not None:
            if name == self._engine.input:
                return Dims(self._shape)
            sizes[0] = self._shape[0] if sizes[0] == -1 else sizes[0]
        return Dims(sizes)

    def set_tensor_address(self, name: str, memory: int) -> bool:
        if name not in self._engine.values:
            return self._refuse(f"setTensorAddress: {name} is no tensor")
        self._addresses[name] = memory
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        machine, engine, addresses = self._engine.runtime.machine, self._engine, dict(self._addresses)
        machine.device.calls["execute_async_v3"] += 1
        if set(addresses) != set(engine.values):
            return self._refuse("enqueueV3: Error Code 3: API Usage Error (address is not set for all tensors)")
        shape = self._shape
        if self.active_optimization_profile < 0:
            return self._refuse("enqueueV3: Error Code 2: Internal Error (Assertion mOptimizationProfile >= 0 failed.)")
        if shape is None:
            return self._refuse("enqueueV3: Error Code 3: API Usage Error (a dynamic input has no shape)")
        if "execute" in machine.refuse:
            return self._refuse("enqueueV3: Error Code 1: Cuda Runtime (an illegal memory access was encountered)")
        machine.ran.append(shape[0])
        machine.nvtx.append(self.nvtx_verbosity)
        # What waits on a stream keeps no engine alive.
        device, session, name = machine.device, engine.session, engine.input
        source, target = addresses[name], addresses[engine.output]
        dtype = np.float16 if "16" in engine.values[name].type else np.float32

        def work() -> None:
            device.write(target, session.run(None, {name: device.read(source, shape, dtype)})[0])

        machine.device.streams[stream_handle].put(work)
        return True

    def _refuse(self, message: str) -> bool:
        self._engine.runtime.logger.log(Severity.ERROR, message)
        return False


def tensorrt_module(device: Device, version: str = VERSION) -> ModuleType:
    """`tensorrt`, to be put into sys.modules; its `machine` tells what lives and makes calls fail."""
    machine = Machine(device, version)
    module = ModuleType("tensorrt")
    module.__spec__ = ModuleSpec("tensorrt", None, origin="a fake")
    used = SimpleNamespace(
        __version__=version, ILogger=ILogger, TensorIOMode=TensorIOMode, DataType=DataType, machine=machine,
        ICudaEngine=ICudaEngine, IExecutionContext=IExecutionContext, ProfilingVerbosity=ProfilingVerbosity,
        TensorFormat=TensorFormat,
        Runtime=type("Runtime", (Runtime,), {"__init__": lambda self, logger: Runtime.__init__(self, logger, machine)}),
    )  # fmt: skip
    vars(module).update(vars(used))
    return module
