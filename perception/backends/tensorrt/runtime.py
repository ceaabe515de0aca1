"""TensorRT: an engine file becomes an engine whose tensors have their memory, ready to be put on a stream."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from loguru import logger

from perception.backends.gpu.cuda import Gpu
from perception.backends.input_size import input_size
from perception.backends.models.model_facts import Facts, facts_of
from perception.backends.tensorrt.engine_file import EngineFile
from perception.backends.tensorrt.identity import Machine, check_identity, check_input, precision_of, version_of_number
from perception.backends.tensorrt.log_tail import LogTail, make_logger
from perception.core.errors import BackendError, GpuError
from perception.system.signals import held_back
from perception.system.trusted_file import REBUILD

if TYPE_CHECKING:
    import tensorrt as trt

USED = (
    "__version__",
    "ILogger.Severity.INTERNAL_ERROR",
    "ILogger.Severity.ERROR",
    "ILogger.Severity.WARNING",
    "Runtime.deserialize_cuda_engine",
    "ICudaEngine.num_io_tensors",
    "ICudaEngine.get_tensor_name",
    "ICudaEngine.get_tensor_mode",
    "ICudaEngine.get_tensor_shape",
    "ICudaEngine.get_tensor_dtype",
    "ICudaEngine.get_tensor_format",
    "ICudaEngine.get_tensor_format_desc",
    "ICudaEngine.get_tensor_profile_shape",
    "ICudaEngine.create_execution_context",
    "IExecutionContext.set_input_shape",
    "IExecutionContext.get_tensor_shape",
    "IExecutionContext.set_tensor_address",
    "IExecutionContext.execute_async_v3",
    "IExecutionContext.nvtx_verbosity",
    "IExecutionContext.active_optimization_profile",
    "IExecutionContext.set_optimization_profile_async",
    "ProfilingVerbosity.NONE",
    "TensorIOMode.INPUT",
    "DataType.FLOAT",
    "DataType.HALF",
)
"""Every name of TensorRT that the run time uses: there from 8.6 to 11."""


def import_tensorrt() -> ModuleType:
    """The module. BackendError where it does not load, or lacks what the run time uses."""
    try:
        import tensorrt
    except (ImportError, OSError) as error:  # OSError: one of its libraries is missing
        raise BackendError(
            f"tensorrt does not load: {error}", "Use the one of JetPack, in a venv with --system-site-packages."
        ) from None
    if missing := missing_names(tensorrt):
        raise BackendError(
            f"TensorRT {getattr(tensorrt, '__version__', 'of unknown version')} lacks {', '.join(missing)}",
            "TensorRT 8.6 or newer is needed.",
        )
    return tensorrt


def library_version(module: ModuleType) -> str:
    """The version of the library that is loaded, which is not always that of the Python bindings."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        path = line.partition("/")[1] + line.partition("/")[2]
        if Path(path).name.startswith(("libnvinfer.so", "libnvinfer_lean.so")):
            return version_of_number(int(ctypes.CDLL(path).getInferLibVersion()))
    return str(module.__version__)


def missing_names(module: ModuleType) -> list[str]:
    """Those of USED that the module lacks."""
    missing = []
    for name in USED:
        found: Any = module
        for part in name.split("."):
            found = getattr(found, part, None)
        if found is None:
            missing.append(name)
    return missing


def _sizes(shape: trt.Dims) -> tuple[int, ...]:
    return tuple(int(shape[axis]) for axis in range(len(shape)))


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor of an engine, for the largest batch: its name, shape, type and device memory."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    memory: Any

    @property
    def address(self) -> int:
        """Its address in device memory."""
        return int(self.memory)


class Engine:
    """A deserialised engine with one input (batch, 3, H, W) and one output, its contexts and its memory.

    It runs `smallest_batch` to `batch` images at once. An engine of open batch has a context for each number of images:
    a graph depends on the context that it was recorded from, which may not be given another shape. file: a checked
    engine file. imgsz: side of the input in pixels where the engine leaves it open, None for what it was built for.
    Raises BackendError, with the cure, for an engine that does not fit this device or this pilot.
    """

    def __init__(self, file: EngineFile, gpu: Gpu, imgsz: int | None) -> None:
        module = import_tensorrt()
        self.gpu = gpu
        self._module = module
        self.path = file.path
        self.precision = precision_of(file)
        machine = Machine(library_version(module), gpu.name, gpu.compute_capability, gpu.cuda_version)
        for unchecked in (*file.warnings, *check_identity(file, machine)):
            logger.warning(unchecked)
        self._log_tail = LogTail()
        self._logger = make_logger(module, self._log_tail)
        self._made: Any = None  # by TensorRT's last long call, whose end a signal waits for
        try:
            self._open(module, file, imgsz)
        except BaseException:
            self.close()  # while the context is there: this exception may keep the object for longer
            raise

    def _open(self, module: ModuleType, file: EngineFile, imgsz: int | None) -> None:
        self._runtime: trt.Runtime = module.Runtime(self._logger)
        self._engine = self._deserialize(file.plan)
        self._context = self._make_context()
        names = [self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)]
        inputs = [name for name in names if self._engine.get_tensor_mode(name) == module.TensorIOMode.INPUT]
        outputs = [name for name in names if name not in inputs]
        if len(inputs) != 1 or len(outputs) != 1:
            found = f"{len(inputs)} inputs and {len(outputs)} outputs ({', '.join(names)})"
            raise self._misfit(f"it has {found}, not one each")
        declared = _sizes(self._engine.get_tensor_shape(inputs[0]))
        check_input(file, declared, self._dtype(module, inputs[0]).name)
        self.is_dynamic = declared[0] < 0
        self.input = self._tensor(module, inputs[0], self._largest(inputs[0], declared, facts_of(file.metadata), imgsz))
        self._set_shape(self._context, self.input.shape)
        self.output = self._tensor(module, outputs[0], _sizes(self._context.get_tensor_shape(outputs[0])))
        self._set_addresses(self._context)
        self.batch: int = self.input.shape[0]
        self._contexts = {self.batch: self._context}
        self._shared_images = 0  # the most that were asked of the first context

    @property
    def input_hw(self) -> tuple[int, int]:
        """Height and width of the input in pixels."""
        return self.input.shape[2], self.input.shape[3]

    def _deserialize(self, plan: bytes) -> trt.ICudaEngine:
        with held_back():
            self._made = self._runtime.deserialize_cuda_engine(plan)
        self._log_tail.raise_interruption()
        engine: trt.ICudaEngine | None = self._made
        if engine is None:
            raise BackendError(
                f"{self.path} does not load into TensorRT: {self._log_tail.why()}",
                f"Rebuild it on this device: {REBUILD}",
            )
        return engine

    def _make_context(self) -> trt.IExecutionContext:
        with held_back():
            self._made = self._engine.create_execution_context()
        self._log_tail.raise_interruption()
        context: trt.IExecutionContext | None = self._made
        if context is None:
            raise BackendError(
                f"{self.path} has no room on this device: {self._log_tail.why()}", "Free memory, or build it smaller."
            )
        # What an engine keeps of its layers for the inspector would be told in each launch, and slow it down.
        context.nvtx_verbosity = self._module.ProfilingVerbosity.NONE
        return context

    def _set_shape(self, context: trt.IExecutionContext, shape: tuple[int, ...]) -> None:
        if context.set_input_shape(self.input.name, shape) is False:
            raise self._misfit(f"it refuses an input of shape {shape}: {self._log_tail.why()}")

    def _set_addresses(self, context: trt.IExecutionContext) -> None:
        for tensor in (self.input, self.output):
            context.set_tensor_address(tensor.name, tensor.address)

    def _misfit(self, why: str) -> BackendError:
        return BackendError(f"{self.path} is not a detector that the pilot can run: {why}", "Export it again.")

    def _largest(self, name: str, declared: tuple[int, ...], facts: Facts, imgsz: int | None) -> tuple[int, ...]:
        """The input's shape, an open batch as large as the profile allows, open sides as asked for."""
        self.smallest_batch = declared[0]
        fixed = tuple(side if side > 0 else None for side in declared[2:])
        (height, width), note = input_size(self.path, (fixed[0], fixed[1]), facts, imgsz)
        if note:
            logger.warning(note)
        if min(declared) > 0:
            return declared
        smallest, _, largest = (_sizes(shape) for shape in self._engine.get_tensor_profile_shape(name, 0))
        self.smallest_batch = smallest[0]
        sides = [min(max(side, smallest[axis]), largest[axis]) for axis, side in ((2, height), (3, width))]
        return largest[0], 3, sides[0], sides[1]

    def _dtype(self, module: ModuleType, name: str) -> np.dtype[Any]:
        kinds = {module.DataType.FLOAT: "float32", module.DataType.HALF: "float16"}
        kind = self._engine.get_tensor_dtype(name)
        if kind not in kinds:
            raise self._misfit(f"its tensor {name} is {kind}, not float32 or float16")
        return np.dtype(kinds[kind])

    def _tensor(self, module: ModuleType, name: str, shape: tuple[int, ...]) -> Tensor:
        if len(shape) < 2 or min(shape) < 1:
            raise self._misfit(f"its tensor {name} has shape {shape}")
        if layout := self._odd_format(module, name):
            raise self._misfit(f"its tensor {name} is laid out as {layout}, not row by row")
        dtype = self._dtype(module, name)
        return Tensor(name, shape, dtype, self.gpu.device_memory(int(np.prod(shape)) * dtype.itemsize))

    def _odd_format(self, module: ModuleType, name: str) -> str:
        """Return how a tensor lies in memory where that is not row by row, else ""."""
        formats = getattr(module, "TensorFormat", None)
        if formats is not None:
            found = self._engine.get_tensor_format(name)
            return "" if found == formats.LINEAR else str(found)
        # The lean run time has no such enumeration, and words alone.
        words = str(self._engine.get_tensor_format_desc(name) or "")
        return words if words and "linear" not in words.lower() else ""

    def set_batch(self, images: int) -> bool:
        """Set the count of images of the next launches; an engine of fixed batch always runs all of its batch.

        Gives whether launches that were recorded as graphs for other numbers are void.
        """
        if not self.is_dynamic:
            return False
        images = max(images, self.smallest_batch)
        if images not in self._contexts:
            self._contexts[images] = self._context_of(images)
        self._context = self._contexts[images]
        if self._context is not self._contexts[self.batch] or images <= self._shared_images:
            return False
        self._set_shape(self._context, (images, *self.input.shape[1:]))
        self._shared_images = images
        return True

    def _context_of(self, images: int) -> trt.IExecutionContext:
        """A context for so many images alone, or else the first one, which then runs the most that were asked of it."""
        try:
            context = self._make_context()
            # Before TensorRT 10 a profile is for one context, unless the engine was built with PROFILE_SHARING_0806.
            if context.active_optimization_profile != 0 and not context.set_optimization_profile_async(
                0, self.gpu.stream.handle
            ):
                raise BackendError(self._log_tail.why())
        except BackendError as fault:
            self._made = None  # a context of no use, and its memory
            logger.warning(f"{images} pictures in one launch can take as long as {self.batch}: {fault.what}")
            return self._contexts[self.batch]
        self._set_shape(context, (images, *self.input.shape[1:]))
        self._set_addresses(context)
        return context

    def try_out(self, picture: npt.NDArray[np.floating] | float = 0.5) -> npt.NDArray[np.floating]:
        """Return the output (1, ...) for one picture (3, H, W) of 0 to 1, or one of a single value.

        BackendError where TensorRT refuses, GpuError where the device fails.
        """
        self.set_batch(1)
        pictures = np.empty(self.input.shape, self.input.dtype)
        pictures[:] = picture
        answer = np.empty((1, *self.output.shape[1:]), self.output.dtype)
        with self.gpu.starting("the engine its first picture"):
            self.gpu.cuda.memcpy_htod(self.input.address, pictures)
        runs = self._enqueue()
        try:
            self.gpu.cuda.memcpy_dtoh_async(answer, self.output.address, self.gpu.stream)
            self.gpu.stream.synchronize()
        except self.gpu.cuda.Error as error:
            raise self.gpu.fault(error) from error
        if not runs:
            raise BackendError(self._refusal(), f"Rebuild it on this device: {REBUILD}")
        return answer

    def enqueue(self) -> None:
        """Puts one inference on the GPU's stream. GpuError where TensorRT refuses."""
        if not self._enqueue():
            raise GpuError(self._refusal(), "Start the pilot again.")

    def _enqueue(self) -> bool:
        runs = bool(self._context.execute_async_v3(self.gpu.stream.handle))
        self._log_tail.raise_interruption()
        return runs

    def _refusal(self) -> str:
        return f"TensorRT refused to run {self.path}: {self._log_tail.why()}"

    def close(self) -> None:
        """Frees contexts, engine, run time and memory, in this order."""
        for name in ("_context", "_contexts", "_made", "_engine", "_runtime", "input", "output"):
            self.__dict__.pop(name, None)
