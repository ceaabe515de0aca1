"""Numbers from counters: every random choice of the drive is a pure function of the seed and a few integers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

_MASK = (1 << 64) - 1
T = TypeVar("T")


def _mix(value: int) -> int:
    """Finalise one 64-bit word (the splitmix64 constants)."""
    value = (value + 0x9E3779B97F4A7C15) & _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


class Dice:
    """A keyed source of numbers: the same keys give the same number, whatever was asked before."""

    def __init__(self, *keys: int) -> None:
        state = 0
        for key in keys:
            state = _mix(state ^ (key & _MASK))
        self._state = state

    def sub(self, *keys: int) -> Dice:
        """An independent source below this one."""
        return Dice(self._state, *keys)

    def unit(self, key: int) -> float:
        """A number in [0, 1)."""
        return (_mix(self._state ^ _mix(key & _MASK)) >> 11) / float(1 << 53)

    def between(self, key: int, low: float, high: float) -> float:
        """A number in [low, high)."""
        return low + (high - low) * self.unit(key)

    def pick(self, key: int, options: Sequence[T]) -> T:
        """One of the options, each as likely."""
        return options[int(self.unit(key) * len(options))]

    def weighted(self, key: int, options: Sequence[tuple[T, float]]) -> T:
        """One of (option, weight)."""
        rest = self.unit(key) * sum(weight for _, weight in options)
        for option, weight in options:
            rest -= weight
            if rest < 0:
                return option
        return options[-1][0]

    def generator(self, key: int) -> np.random.Generator:
        """A numpy generator for whole arrays, for what is computed once."""
        return np.random.Generator(np.random.PCG64(_mix(self._state ^ _mix(key & _MASK))))


def smooth_noise(
    generator: np.random.Generator, shape: tuple[int, int], cells: tuple[int, int], octaves: int = 4
) -> npt.NDArray[np.float32]:
    """Tileable-in-x fractal noise of the given (rows, columns), about [-1, 1], from `cells` lattice cells at first."""
    out = np.zeros(shape, np.float32)
    gain = 1.0
    for octave in range(octaves):
        rows, columns = cells[0] << octave, cells[1] << octave
        lattice = generator.random((rows + 2, columns), dtype=np.float32) * 2 - 1
        out += gain * _stretch(lattice, shape, rows)
        gain *= 0.5
    return out


def _stretch(lattice: npt.NDArray[np.float32], shape: tuple[int, int], rows: int) -> npt.NDArray[np.float32]:
    """Interpolate a lattice smoothly over the shape; columns wrap."""
    y = np.linspace(0, rows, shape[0], endpoint=False, dtype=np.float32)
    x = np.linspace(0, lattice.shape[1], shape[1], endpoint=False, dtype=np.float32)
    y0, x0 = y.astype(np.int32), x.astype(np.int32)
    fy, fx = y - y0, x - x0
    fy, fx = (fy * fy * (3 - 2 * fy))[:, None], (fx * fx * (3 - 2 * fx))[None, :]
    x1 = (x0 + 1) % lattice.shape[1]
    across = lattice[:, x0] * (1 - fx) + lattice[:, x1] * fx
    out: npt.NDArray[np.float32] = (across[y0] * (1 - fy) + across[y0 + 1] * fy).astype(np.float32)
    return out
