"""Builds kernels.cu for the device, keeps what was built, and says where a picture lies in its input.

A built file is `kernels-<architecture>-<key>.cubin` in the folder of engines; the key is made of the sources,
architecture and CUDA version, and the file begins with the SHA-256 of what follows, so that a cut one is not used.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from loguru import logger

from perception.backends.gpu.cuda import Gpu
from perception.backends.preprocess import Letterbox
from perception.core.errors import BackendError
from perception.system.trusted_file import check_trusted, open_plain, write_whole

SOURCE = Path(__file__).with_name("kernels.cu")
HEADERS = ("letterbox.cuh", "filter.cuh", "suppression.cuh")
"""Files beside kernels.cu that it includes."""
BUILD_LIMIT_S = 120
"""Well below the time that the service has to start (TimeoutStartSec)."""
DIGEST_BYTES = 32
WEIGHT_SCALE = 2048
"""OpenCV's INTER_RESIZE_COEF_SCALE."""
SHARED_BYTES = 48 * 1024
"""Shared memory that every CUDA device grants a block of threads by default."""
BLOCK_THREADS = 256
ALL_ROWS = (slice(None),)

Taps = npt.NDArray[np.int32]


class KernelsUnavailable(Exception):
    """The kernels cannot be had; the text is the reason."""


def load_module(gpu: Gpu, folder: Path) -> Any:
    """The CUDA module of kernels.cu, from `folder` or built now. Raises KernelsUnavailable."""
    source = b"".join(path.read_bytes() for path in (SOURCE, *map(SOURCE.with_name, HEADERS)))
    architecture = f"sm_{gpu.compute_capability.replace('.', '')}"
    key = hashlib.sha256(b"|".join([source, architecture.encode(), gpu.cuda_version.encode()])).hexdigest()[:16]
    path = folder / f"kernels-{architecture}-{key}.cubin"
    if kept := _kept(path):
        try:
            return gpu.cuda.module_from_buffer(kept)
        except gpu.cuda.Error as error:
            logger.warning(f"{path} does not load and is built again: {error}")
    built = _build(architecture)
    try:
        module = gpu.cuda.module_from_buffer(built)
    except gpu.cuda.Error as error:
        raise KernelsUnavailable(f"the device refuses what nvcc built for {architecture}: {error}") from None
    _keep(path, built)
    return module


def _kept(path: Path) -> bytes | None:
    """Return the kernels that an earlier start built, None without any that can be trusted."""
    try:
        with open_plain(path) as file:
            check_trusted(path, file.fileno())
            content = file.read()
    except FileNotFoundError:
        return None
    except BackendError as fault:
        logger.warning(f"The kernels are built again: {fault.what}")
        return None
    except OSError as error:
        logger.warning(f"The kernels are built again: {path} cannot be read: {error.strerror}")
        return None
    image = content[DIGEST_BYTES:]
    return image if hashlib.sha256(image).digest() == content[:DIGEST_BYTES] else None


def _keep(path: Path, image: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, hashlib.sha256(image).digest() + image)
    except OSError as error:
        logger.warning(f"The kernels could not be kept in {path.parent}: {error.strerror}; each start builds them")


def _build(architecture: str) -> bytes:
    nvcc = find_nvcc()
    if nvcc is None:
        raise KernelsUnavailable("nvcc was not found (export PATH=/usr/local/cuda/bin:$PATH)")
    logger.info(f"Building the CUDA kernels for {architecture}, once")
    try:
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder) / "kernels.cubin"
            command = [nvcc, "-cubin", f"-arch={architecture}", "-std=c++14", "-o", str(target), str(SOURCE)]
            done = subprocess.run(  # noqa: S603
                command, capture_output=True, text=True, errors="replace", timeout=BUILD_LIMIT_S, check=False
            )
            if done.returncode:
                last = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["no message"]
                raise KernelsUnavailable(f"{nvcc} could not build them: {last[0]}")
            return target.read_bytes()
    except (OSError, subprocess.TimeoutExpired) as error:
        raise KernelsUnavailable(f"{nvcc} could not build them: {error}") from None


def find_nvcc() -> str | None:
    """nvcc's path: as PATH has it, or where CUDA installs it. None where there is none."""
    places = [os.environ.get("PATH"), os.environ.get("CUDA_HOME", "/usr/local/cuda") + "/bin"]
    return shutil.which("nvcc", path=os.pathsep.join(filter(None, places)))


def taps(length: int, scaled: int, step: int) -> Taps:
    """For each of `scaled` places along a side of `length` pixels: (first, second, their weights in 1/2048).

    first, second: neighbouring pixels times `step`. The coefficients of OpenCV's INTER_LINEAR for 8 bits (resize.cpp):
    computed in double, held as float, clamped at the borders, rounded to 1/2048. Shape (scaled, 4) int32.
    """
    place = ((np.arange(scaled) + 0.5) * (length / scaled) - 0.5).astype(np.float32)
    first = np.floor(place).astype(np.int32)
    part = place - first.astype(np.float32)
    part[(first < 0) | (first >= length - 1)] = 0
    first = np.clip(first, 0, length - 1)
    second = np.minimum(first + 1, length - 1)
    weights = np.stack([np.float32(1) - part, part])
    first_weight, second_weight = np.rint(weights * np.float32(WEIGHT_SCALE)).astype(np.int32)
    second = np.where(second_weight == 0, first, second)  # what has no weight need not be read
    return np.ascontiguousarray(np.stack([first * step, second * step, first_weight, second_weight], axis=1))


@dataclass(frozen=True, slots=True)
class Placement:
    """One size of image in one input: where it lies, and its taps in device memory.

    block_width: columns of the scaled picture that one block makes; staged: bytes of shared memory for one row of it.
    needed: the rows of the image that are read at all.
    """

    box: Letterbox
    columns: Any
    rows: Any
    block_width: int
    staged: int
    needed: tuple[slice, ...]

    @property
    def place(self) -> tuple[float, float, float, float]:
        """Offset (left, top) in input pixels, and input pixels per image pixel along each axis."""
        box = self.box
        return box.left, box.top, box.scaled_hw[1] / box.image_hw[1], box.scaled_hw[0] / box.image_hw[0]


def staged_bytes(columns: Taps, block_width: int) -> int:
    """Shared memory in bytes for one row of the widest block: its pixels, begun at any byte of 16, in chunks of 16."""
    starts = np.arange(0, len(columns), block_width)
    ends = np.minimum(starts + block_width, len(columns)) - 1
    widest = int((columns[ends, 1] + 3 - columns[starts, 0]).max())
    return (widest + 15 + 15) // 16 * 16


def needed_rows(rows: Taps) -> tuple[slice, ...]:
    """The rows of an image that the letterbox reads, where they are few and evenly spaced; else all of them."""
    steps = np.diff(rows[:, 0])
    if len(steps) < 1 or steps[0] < 3 or (steps != steps[0]).any():
        return ALL_ROWS
    sides = (0, 1) if rows[:, 3].any() else (0,)
    return tuple(slice(int(rows[0, side]), int(rows[-1, side]) + 1, int(steps[0])) for side in sides)


def place(gpu: Gpu, box: Letterbox) -> Placement:
    """Uploads the taps of a placement."""
    columns = taps(box.image_hw[1], box.scaled_hw[1], step=3)
    rows = taps(box.image_hw[0], box.scaled_hw[0], step=1)
    width = box.scaled_hw[1]
    while 2 * staged_bytes(columns, width) > SHARED_BYTES:
        width = (width + 1) // 2
    return Placement(box, gpu.upload(columns), gpu.upload(rows), width, staged_bytes(columns, width), needed_rows(rows))
