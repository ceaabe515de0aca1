"""kernels.cu compiled for this CPU, and memory for it whose surroundings are watched."""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from perception.backends.gpu import kernels

FEW = 64
"""So many candidates of an image the kernels suppress: suppression.cuh."""
GUARD_BYTES = 64
GUARD = 0xC3

_GRID = (ctypes.c_uint,) * 3  # blocks along both axes, threads of a block
_TYPES = {"P": ctypes.c_void_p, "l": ctypes.c_long, "i": ctypes.c_int, "f": ctypes.c_float, "d": ctypes.c_double}
_LETTERBOX, _FILTER = "PlPPiiiPiiP", "PiiPPifPPP"
SIGNATURES = {"find_images": "PP", "suppress": "PidPPP"} | {
    f"{kernel}_{dtype}": signature
    for kernel, signature in (("letterbox", _LETTERBOX), ("filter_raw", _FILTER), ("filter_final", _FILTER))
    for dtype in ("float32", "float16")
}
"""What each kernel takes, in the letters of struct and PyCUDA."""


def build_emulator(folder: Path) -> ctypes.CDLL:
    """Compiles kernels.cu for this CPU; undefined behaviour in it then ends the process."""
    library = folder / "emulation.so"
    command = ["g++", "-O1", "-std=c++14", "-ffp-contract=off", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror"]
    command += ["-fsanitize=undefined", "-fno-sanitize-recover=undefined", f'-DKERNELS="{kernels.SOURCE}"']
    source = Path(__file__).with_name("emulation.cpp")
    subprocess.run([*command, str(source), "-o", str(library)], check=True, timeout=100)
    return load_emulator(library)


def load_emulator(library: Path) -> ctypes.CDLL:
    """The functions of emulation.cpp, with the types of what they take."""
    emulator = ctypes.CDLL(str(library))
    for name, letters in SIGNATURES.items():
        function = getattr(emulator, name)
        function.argtypes = [*_GRID, *(_TYPES[letter] for letter in letters)]
        function.restype = ctypes.c_bool
    return emulator


class Guarded:
    """Memory between guard bytes, at an address that is `offset` bytes past a multiple of 256; filled with rubbish."""

    def __init__(self, size: int, offset: int = 0, rubbish: int = 0x5A) -> None:
        self._all = np.full(size + offset + 2 * GUARD_BYTES + 256, GUARD, np.uint8)
        begin = -(self._all.ctypes.data + GUARD_BYTES) % 256 + GUARD_BYTES + offset
        self.bytes: npt.NDArray[np.uint8] = self._all[begin : begin + size]
        self.bytes[:] = rubbish
        self._around = (self._all[:begin], self._all[begin + size :])
        self.address: int = self.bytes.ctypes.data

    @classmethod
    def holding(cls, values: npt.NDArray[Any], offset: int = 0) -> Guarded:
        """A copy of `values`."""
        memory = cls(values.nbytes, offset)
        memory.bytes[:] = np.frombuffer(values.tobytes(), np.uint8)
        return memory

    def view(self, dtype: Any, shape: Any) -> npt.NDArray[Any]:
        """The memory as an array."""
        values: npt.NDArray[Any] = self.bytes.view(dtype).reshape(shape)
        return values

    def surround_with(self, value: int) -> None:
        """Fills the guard bytes: what is computed may not depend on them."""
        for part in self._around:
            part[:] = value

    def is_intact(self, guard: int = GUARD) -> bool:
        """Whether nothing was written before or behind it."""
        return all(bool((part == guard).all()) for part in self._around)
