"""The device: context, stream, every allocation, graphs.

Copies and launches go through the `cuda` of a Gpu, on its stream. All of it belongs to the main thread. PyCUDA is
imported when a device is opened.
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType, ModuleType, TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
from loguru import logger

from perception.core.errors import BackendError, GpuError

Bytes = npt.NDArray[np.uint8]
READ_AHEAD = 16
"""Readable bytes that follow every host buffer: kernels read 16 at a time."""


WAITS: Mapping[str, int] = MappingProxyType({"spin": 1, "block": 4})
"""Ways to wait for the device: CU_CTX_SCHED_SPIN and CU_CTX_SCHED_BLOCKING_SYNC of cuda.h; else as CUDA likes."""


def has_cuda_driver() -> bool:
    """Return True if a CUDA driver can be loaded; needs neither PyCUDA nor torch."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


def _set_wait(number: int, wait: str) -> None:
    """Sets the scheduling of the primary context, which PyCUDA does not do. Raises BackendError."""
    if wait not in WAITS:
        return
    try:
        status = ctypes.CDLL("libcuda.so.1").cuDevicePrimaryCtxSetFlags_v2(number, WAITS[wait])
    except AttributeError:
        status = "no such call"
    if status:
        raise BackendError(
            f"CUDA device {number} cannot wait as engine.wait: {wait} asks (cuDevicePrimaryCtxSetFlags: {status})",
            "Set engine.wait: auto.",
        )


class HostMemory:
    """Page-locked memory of the host that the device reads and writes in place, by `address`.

    bytes: (n,) uint8. On an integrated GPU both sides use one memory; elsewhere the device reaches it over the bus.
    """

    def __init__(self, cuda: ModuleType, size: int) -> None:
        self.bytes: Bytes = cuda.pagelocked_zeros(
            size + READ_AHEAD, np.uint8, mem_flags=cuda.host_alloc_flags.DEVICEMAP
        )
        self.address: int = int(self.bytes.base.get_device_pointer())


class Gpu:
    """One CUDA device with its primary context, which TensorRT and PyCUDA share, and one stream.

    A context manager: the context is current from __init__ to `close`, or to where the object is let go of, or to the
    end of the process: PyCUDA aborts over one that is still on the stack. number: which device, as CUDA counts. wait:
    one of WAITS. Raises BackendError where there is none, or where it cannot wait so.
    """

    def __init__(self, number: int = 0, wait: str = "auto") -> None:
        try:
            import pycuda.driver as cuda
        except ImportError as error:  # also where libcuda.so.1 is missing
            raise BackendError(
                f"PyCUDA cannot be used: {error}",
                "Install it: pip install --require-hashes -r requirements-jetson.lock",
            ) from None
        self.cuda: Any = cuda
        try:
            cuda.init()
            device = cuda.Device(number)
            self.name: str = device.name()
            self.compute_capability = ".".join(map(str, device.compute_capability()))
            self.driver_version: int = cuda.get_driver_version()
            _set_wait(number, wait)
            context = device.retain_primary_context()
            context.push()
            self._pop = weakref.finalize(self, _pop, context, cuda.Error)
        except cuda.Error as error:
            raise BackendError(f"CUDA device {number} cannot be used: {error}", "See what nvidia-smi says.") from None
        try:
            self.stream = cuda.Stream()
        except cuda.Error as error:
            self._pop()
            raise BackendError(f"CUDA device {number} gives no stream: {error}", "Restart the device.") from None

    @property
    def cuda_version(self) -> str:
        """The newest CUDA that the driver knows, such as 12.6."""
        return f"{self.driver_version // 1000}.{self.driver_version % 1000 // 10}"

    def host_memory(self, size: int) -> HostMemory:
        """Zeroed memory of `size` bytes that both sides use. BackendError where there is not that much."""
        with self.starting(f"{size} bytes of page-locked memory"):
            return HostMemory(self.cuda, size)

    def device_memory(self, size: int) -> Any:
        """Device memory of `size` bytes; int() is its address. BackendError where there is not that much."""
        with self.starting(f"{size} bytes of device memory"):
            return self.cuda.mem_alloc(size)

    def upload(self, values: npt.NDArray[Any]) -> Any:
        """A copy of the values in device memory of its own."""
        with self.starting(f"{values.nbytes} bytes of device memory"):
            return self.cuda.to_device(np.ascontiguousarray(values))

    @contextmanager
    def starting(self, what: str) -> Iterator[None]:
        """At the start a fault of CUDA means that this backend cannot serve: BackendError."""
        try:
            yield
        except self.cuda.Error as error:
            raise BackendError(f"CUDA could not give {what}: {error}", "Free memory, or restart the device.") from error

    def is_short_of_memory(self, fault: BackendError) -> bool:
        """Return True if `starting` raised for a lack of memory alone, which the device survives."""
        return isinstance(fault.__cause__, self.cuda.MemoryError)

    def fault(self, error: Exception) -> GpuError:
        """Return the GpuError for a CUDA error in the middle of a run, which ends this process."""
        return GpuError(f"The GPU failed: {error}", "The pilot must be started again; see dmesg if it returns.")

    def __enter__(self) -> Gpu:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Takes the context off the stack, once.

        It is released with the last piece of memory: a frame that somebody still holds stays valid.
        """
        self.__dict__.pop("stream", None)
        self._pop()


def _pop(context: Any, fault: type[Exception]) -> None:
    try:
        context.pop()
    except fault as error:  # after a fault of the device; the process is about to end
        logger.debug(f"The CUDA context could not be taken off the stack: {error}")


class CaptureRefused(Exception):
    """The work cannot be recorded as a graph; its text is the reason."""


class Graph:
    """Work of a stream, recorded once and launched as one. PyCUDA has no graphs: these are libcuda's own calls.

    record: puts the work on the stream; it runs once, and nothing is executed then. Raises CaptureRefused where CUDA
    or `record` does not allow it.
    """

    _THREAD_LOCAL = 1  # CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: what other threads do with CUDA does not matter

    def __init__(self, stream_handle: int, record: Callable[[], None]) -> None:
        self._driver = ctypes.CDLL("libcuda.so.1")
        self._stream = ctypes.c_void_p(stream_handle)
        self._exec = ctypes.c_void_p()
        graph = ctypes.c_void_p()
        self._call("cuStreamBeginCapture_v2", self._stream, self._THREAD_LOCAL)
        refusal: Exception | None = None
        try:
            record()
        except Exception as error:  # the capture must end all the same
            refusal = error
        status = self._driver.cuStreamEndCapture(self._stream, ctypes.byref(graph))
        if refusal is not None:
            if graph:
                self._driver.cuGraphDestroy(graph)
            raise CaptureRefused(str(refusal)) from refusal
        if status:
            raise CaptureRefused(f"cuStreamEndCapture gave {status}")
        try:
            self._call("cuGraphInstantiateWithFlags", ctypes.byref(self._exec), graph, ctypes.c_ulonglong(0))
        finally:
            self._driver.cuGraphDestroy(graph)
        self._launch = self._driver.cuGraphLaunch

    def _call(self, name: str, *arguments: Any) -> None:
        try:
            status = getattr(self._driver, name)(*arguments)
        except AttributeError:
            raise CaptureRefused(f"this driver has no {name}") from None
        if status:
            raise CaptureRefused(f"{name} gave {status}")

    def launch(self) -> None:
        """Puts the recorded work on the stream. GpuError where CUDA refuses."""
        status = self._launch(self._exec, self._stream)
        if status:
            raise GpuError(f"The GPU failed: cuGraphLaunch gave {status}", "The pilot must be started again.")

    def close(self) -> None:
        """Frees the graph."""
        if self._exec:
            status = self._driver.cuGraphExecDestroy(self._exec)
            self._exec = ctypes.c_void_p()
            if status:
                logger.debug(f"cuGraphExecDestroy gave {status}")
