"""The calls of libcuda for graphs, on the emulated GPU."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from types import ModuleType
from typing import Any

from perception.backends.gpu import cuda
from tests.doubles.emulated_gpu import Device, pycuda_modules

NO_ERROR = 0


class LibCuda:
    """The calls for graphs, taken with the types of cuda.h; an AttributeError for what this driver lacks."""

    def __init__(self, device: Device) -> None:
        self._device = device
        pointer, out, number = ctypes.c_void_p, ctypes.POINTER(ctypes.c_void_p), ctypes.c_int
        self._functions = {
            name: ctypes.CFUNCTYPE(number, *types)(self._guarded(name, work))
            for name, work, types in (
                ("cuStreamBeginCapture_v2", self._begin, (pointer, number)),
                ("cuStreamEndCapture", self._end, (pointer, out)),
                ("cuGraphInstantiateWithFlags", self._instantiate, (out, pointer, ctypes.c_ulonglong)),
                ("cuGraphDestroy", self._destroy, (pointer,)),
                ("cuGraphLaunch", self._launch, (pointer, pointer)),
                ("cuGraphExecDestroy", self._destroy, (pointer,)),
                ("cuDevicePrimaryCtxSetFlags_v2", self._set_flags, (number, ctypes.c_uint)),
            )
        }

    def __getattr__(self, name: str) -> Any:
        if name in self._device.lacks or name not in self._functions:
            raise AttributeError(f"libcuda.so.1: undefined symbol: {name}")
        return self._functions[name]

    def _guarded(self, name: str, work: Callable[..., int]) -> Callable[..., int]:
        def call(*arguments: Any) -> int:
            self._device.calls[name] += 1
            status = self._device.refuse.get(name)
            return work(*arguments, refused=status is not None) or status or NO_ERROR

        return call

    def _set_flags(self, number: int, flags: int, refused: bool) -> int:
        if not refused:
            self._device.context_flags[number] = flags
        return NO_ERROR

    def _begin(self, stream: int, mode: int, refused: bool) -> int:
        assert mode == 1, "CU_STREAM_CAPTURE_MODE_THREAD_LOCAL"
        if not refused:
            self._device.streams[stream].recording = []
        return NO_ERROR

    def _end(self, stream: int, graph: Any, refused: bool) -> int:
        recorded, self._device.streams[stream].recording = self._device.streams[stream].recording, None
        assert recorded is not None, "no capture goes on"
        if not refused:
            graph[0] = self._keep(recorded)
        return NO_ERROR

    def _instantiate(self, executable: Any, graph: int, flags: int, refused: bool) -> int:
        assert flags == 0
        if not refused:
            executable[0] = self._keep(self._device.graphs[graph])
        return NO_ERROR

    def _keep(self, work: list[Callable[[], None]]) -> int:
        handle = self._device.new_handle()
        self._device.graphs[handle] = work
        return handle

    def _launch(self, executable: int, stream: int, refused: bool) -> int:
        if not refused:
            for work in self._device.graphs[executable]:
                self._device.streams[stream].put(work)
        return NO_ERROR

    def _destroy(self, graph: int, refused: bool) -> int:
        del self._device.graphs[graph]
        return NO_ERROR


def plug_in(device: Device, patch: Callable[[Any, str, Any], None], modules: Callable[[str, ModuleType], None]) -> None:
    """Makes `device` the one that the project finds. patch: sets an attribute; modules: an entry of sys.modules."""
    for name, module in pycuda_modules(device).items():
        modules(name, module)
    libcuda = LibCuda(device)
    faked = ModuleType("ctypes")
    vars(faked).update(vars(ctypes), CDLL=lambda name: {"libcuda.so.1": libcuda}[name])
    patch(cuda, "ctypes", faked)
