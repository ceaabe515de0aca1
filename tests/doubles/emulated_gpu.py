"""A GPU made of host memory: stands in for PyCUDA, and runs kernels.cu on the CPU.

Work waits on its stream until somebody waits for the stream, as on a device, so that a missing wait is seen. Memory
lies between guard bytes, which must still be there when it is freed.
"""

from __future__ import annotations

import ctypes
import gc
import struct
import threading
import weakref
from collections import Counter
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from perception.backends.gpu import kernels
from tests.doubles.emulated_errors import Error, LaunchError, LogicError, MemoryError
from tests.doubles.emulated_stream import Event, Stream
from tests.doubles.emulation import SIGNATURES, Guarded

BINARY = b"\x7fELF emulated"
"""What the emulated device takes for a built module."""

NEED_NO_CONTEXT = (
    "init", "Device", "name", "compute_capability", "get_driver_version", "retain_primary_context", "push", "pop",
)  # fmt: skip


class Device:
    """The machine: what is allocated on it, what waits, which contexts are current, and what is to fail.

    fail: name of a call -> the error that it raises from then on. refuse: name of a call of libcuda -> its status.
    """

    def __init__(self, emulator: ctypes.CDLL) -> None:
        self.emulator = emulator
        self.compute_capability = (8, 7)
        self.driver_version = 12060
        self.name = "Orin"
        self.fail: dict[str, Exception] = {}
        self.refuse: dict[str, int] = {}
        self.lacks: set[str] = set()
        self.calls: Counter[str] = Counter()
        self.contexts = 0
        self.pushed = 0
        self.live: dict[int, Guarded] = {}
        self.freed_by: list[int] = []
        self.overwritten: list[str] = []
        self.without_context: list[str] = []
        self.streams: weakref.WeakValueDictionary[int, Stream] = weakref.WeakValueDictionary()
        self.graphs: dict[int, list[Callable[[], None]]] = {}
        self.context_flags: dict[int, int] = {}
        self._next_handle = 0x1000

    def called(self, name: str) -> None:
        """Counts a call, which fails where it is to fail, or needs a context and there is none."""
        self.calls[name] += 1
        if fault := self.fail.get(name):
            raise type(fault)(*fault.args)  # one of its own, whose traceback holds nothing for longer than the caller
        if not self.contexts and name not in NEED_NO_CONTEXT:
            raise LogicError(f"{name} failed: invalid device context")

    def new_handle(self) -> int:
        self._next_handle += 16
        return self._next_handle

    def allocate(self, owner: object, size: int) -> Guarded:
        """Memory that lives as long as `owner`."""
        memory = Guarded(size)
        self.live[memory.address] = memory
        weakref.finalize(owner, self._free, memory).atexit = False
        return memory

    def _free(self, memory: Guarded) -> None:
        del self.live[memory.address]
        self.freed_by.append(threading.get_ident())
        if not memory.is_intact():
            self.overwritten.append(f"{len(memory.bytes)} bytes")

    def run_all(self) -> None:
        """Runs what waits on every stream."""
        for stream in list(self.streams.values()):
            stream.run()

    def read(self, address: int, shape: tuple[int, ...], dtype: Any) -> npt.NDArray[Any]:
        """A copy of an array in device memory."""
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        return np.frombuffer(ctypes.string_at(address, size), dtype).reshape(shape)

    def write(self, address: int, values: npt.NDArray[Any]) -> None:
        """Puts values into device memory."""
        ctypes.memmove(address, np.ascontiguousarray(values).ctypes.data, values.nbytes)

    def assert_clean(self) -> None:
        """Nothing is left open, and nothing was written outside of its memory."""
        if self.live:
            gc.collect()
        assert self.contexts == 0, "a context was not popped: PyCUDA aborts at the end of the process"
        assert self.calls["pop"] == self.pushed, "each context is popped once"
        assert not self.live, f"{len(self.live)} pieces of memory were not freed"
        assert not self.graphs, "a graph was not destroyed"
        assert not self.overwritten
        assert not self.without_context


class _Function:
    """A kernel; its arguments are packed when it is called, as PyCUDA does."""

    def __init__(self, device: Device, name: str) -> None:
        self._device = device
        self._run = getattr(device.emulator, name)
        self._name = name
        self._format: str | None = None

    def prepare(self, letters: str) -> _Function:
        assert letters == SIGNATURES[self._name], f"{self._name} takes {SIGNATURES[self._name]}, not {letters}"
        self._format = letters
        return self

    def prepared_async_call(
        self, grid: tuple[int, int, int], block: tuple[int, int, int], stream: Stream, *args: Any, shared_size: int = 0
    ) -> None:
        assert self._format is not None, "not prepared"
        self._device.called("prepared_async_call")
        if not 0 < block[0] <= 1024 or block[1:] != (1, 1) or grid[2] != 1 or min(grid) < 1:
            raise LogicError(f"cuLaunchKernel failed: invalid argument: {grid} x {block}")
        if shared_size > kernels.SHARED_BYTES:
            raise LogicError(f"cuLaunchKernel failed: invalid argument: {shared_size} bytes of shared memory")
        if self._name.startswith("letterbox"):
            assert shared_size == 2 * args[6], "two rows are staged"
        arguments = struct.unpack(self._format, struct.pack(self._format, *args))

        def work() -> None:
            assert self._run(grid[0], grid[1], block[0], *arguments), "written beyond shared memory"

        stream.put(work)


class _Module:
    def __init__(self, device: Device) -> None:
        self._device = device

    def get_function(self, name: str) -> _Function:
        if name not in SIGNATURES:
            raise LogicError("cuModuleGetFunction failed: named symbol not found")
        return _Function(self._device, name)


class _Allocation:
    """Device memory, known by its address."""

    def __init__(self, device: Device, size: int) -> None:
        device.called("mem_alloc")
        if size < 1:
            raise LogicError("cuMemAlloc failed: invalid argument")
        self._memory = device.allocate(self, size)

    def __int__(self) -> int:
        return self._memory.address


class _HostAllocation:
    """Page-locked memory; numpy makes it the base of the array over it."""

    def __init__(self, device: Device, size: int) -> None:
        device.called("pagelocked_zeros")
        self._memory = device.allocate(self, size)
        self._memory.bytes[:] = 0
        self.__array_interface__ = {"version": 3, "shape": (size,), "typestr": "|u1"}
        self.__array_interface__["data"] = (self._memory.address, False)

    def get_device_pointer(self) -> int:
        return self._memory.address


class _Context:
    """The primary context of the device; at most once on the stack, and released with the last one that holds it."""

    def __init__(self, device: Device) -> None:
        self._device = device

    def push(self) -> None:
        self._device.called("push")
        self._device.contexts += 1
        self._device.pushed += 1

    def pop(self) -> None:
        self._device.called("pop")
        if not self._device.contexts:
            raise LogicError("context::pop failed: cannot pop non-current context")
        self._device.contexts -= 1


class _CudaDevice:
    def __init__(self, device: Device, number: int) -> None:
        device.called("Device")
        if number:
            raise LogicError("cuDeviceGet failed: invalid device ordinal")
        self._device = device

    def retain_primary_context(self) -> _Context:
        self._device.called("retain_primary_context")
        return _Context(self._device)

    def name(self) -> str:
        self._device.called("name")
        return self._device.name

    def compute_capability(self) -> tuple[int, int]:
        self._device.called("compute_capability")
        return self._device.compute_capability


def pycuda_modules(device: Device) -> dict[str, ModuleType]:
    """`pycuda` and `pycuda.driver`, to be put into sys.modules."""
    package, driver = ModuleType("pycuda"), ModuleType("pycuda.driver")
    package.__path__ = []

    def copy(kind: str, to: int, source: int, size: int) -> None:
        device.called(kind)
        device.run_all()  # what comes from the legacy stream waits for the others
        ctypes.memmove(to, source, size)

    def memcpy_htod(to: Any, source: npt.NDArray[Any]) -> None:
        copy("memcpy_htod", int(to), _contiguous(source).ctypes.data, source.nbytes)

    def memcpy_htod_async(to: Any, source: npt.NDArray[Any], stream: Stream) -> None:
        device.called("memcpy_htod_async")
        stream.put(lambda: _move(int(to), _contiguous(source).ctypes.data, source.nbytes))

    def memcpy_dtoh_async(to: npt.NDArray[Any], source: Any, stream: Stream) -> None:
        device.called("memcpy_dtoh_async")
        stream.put(lambda: _move(_contiguous(to).ctypes.data, int(source), to.nbytes))

    def to_device(values: npt.NDArray[Any]) -> _Allocation:
        allocation = _Allocation(device, values.nbytes)
        memcpy_htod(allocation, values)
        return allocation

    def pagelocked_zeros(size: int, dtype: Any, *, mem_flags: int) -> npt.NDArray[Any]:
        assert (np.dtype(dtype), mem_flags) == (np.uint8, 2), "mapped memory is asked for"
        return np.asarray(_HostAllocation(device, size))

    def get_driver_version() -> int:
        device.called("get_driver_version")
        return device.driver_version

    def module_from_buffer(image: bytes) -> _Module:
        device.called("module_from_buffer")
        if image != BINARY:
            raise LogicError("cuModuleLoadDataEx failed: device kernel image is invalid")
        return _Module(device)

    flags = type("host_alloc_flags", (), {"DEVICEMAP": 2})
    vars(driver).update(
        Error=Error, LogicError=LogicError, LaunchError=LaunchError, MemoryError=MemoryError, host_alloc_flags=flags,
        init=lambda: device.called("init"), Device=lambda number: _CudaDevice(device, number),
        Stream=lambda: Stream(device), Event=lambda: Event(device), mem_alloc=lambda size: _Allocation(device, size),
        get_driver_version=get_driver_version, memcpy_htod=memcpy_htod,
        memcpy_htod_async=memcpy_htod_async, memcpy_dtoh_async=memcpy_dtoh_async, to_device=to_device,
        pagelocked_zeros=pagelocked_zeros, module_from_buffer=module_from_buffer,
    )  # fmt: skip
    setattr(package, "driver", driver)  # noqa: B010 - a module has no such attribute to mypy
    return {"pycuda": package, "pycuda.driver": driver}


def _contiguous(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if not values.flags.c_contiguous:
        raise ValueError("ndarray is not contiguous")
    return values


def _move(to: int, source: int, size: int) -> None:
    ctypes.memmove(to, source, size)
