"""Feeds TensorRT's INT8 calibration: pictures through the run time's own preprocess, one device buffer, a keyed cache.

TensorRT asks a calibrator for batch after batch, and gets the address of device memory. It runs them through the
network in float and keeps what it learnt of the tensors' ranges as a calibration cache.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType, ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from perception.backends.gpu.cuda import Gpu
from perception.core.errors import SettingsError
from perception.workshop.build.calibration_cache import CalibrationCache
from perception.workshop.progress import Tell, say, step
from perception.workshop.quantize.batches import Batches

if TYPE_CHECKING:
    import tensorrt as trt

CLASSES: Mapping[str, str] = MappingProxyType({"entropy": "IInt8EntropyCalibrator2", "minmax": "IInt8MinMaxCalibrator"})
"""TensorRT's class by the word of the command line; all of them went with TensorRT 11."""
Answer = TypeVar("Answer")


class Feed:
    """Answers TensorRT's questions, the same for every class of calibrator.

    cache: where the ranges are kept; use_cache: True if an existing one is read. interrupt: called at once with what a
    callback raised, which is kept as well, and raised by `raise_fault` after the build; a process that may end at any
    time spares the rest of the build so.
    """

    def __init__(
        self, gpu: Gpu, batches: Batches, cache: CalibrationCache, tell: Tell, *,
        use_cache: bool = True, interrupt: Callable[[BaseException], None] | None = None,
    ) -> None:  # fmt: skip
        self.batches = batches
        self.cache = cache
        self.cache_was_read = False
        self._gpu = gpu
        self._tell = tell
        self._use_cache, self._interrupt = use_cache, interrupt
        self._fault: BaseException | None = None
        self._cached: bytes | None = None  # TensorRT reads it in place
        self._buffer = gpu.device_memory(int(np.prod(batches.shape)) * np.dtype(np.float32).itemsize)

    @property
    def has_failed(self) -> bool:
        """True if a callback raised something."""
        return self._fault is not None

    def keep(self, fault: BaseException) -> None:
        """Keep what a callback raised; the first counts."""
        self._fault = self._fault or fault
        if self._interrupt is not None:
            self._interrupt(fault)

    def raise_fault(self) -> None:
        """Raise what a callback raised, and TensorRT swallowed."""
        fault, self._fault = self._fault, None
        if fault is not None:
            raise fault

    def next_address(self) -> list[int] | None:
        """Return the device buffer with the next batch in it; None at the end."""
        tensor = None if self.has_failed else self.batches.next()
        if tensor is None:
            return None
        try:
            self._gpu.cuda.memcpy_htod(self._buffer, tensor)
        except self._gpu.cuda.Error as error:
            raise self._gpu.fault(error) from error
        step(self._tell, "calibration", self.batches.done, len(self.batches.images))
        return [int(self._buffer)]

    def read_cache(self) -> bytes | None:
        """Return the cache, where there is one of the same key and it may be used."""
        self._cached = self.cache.read() if self._use_cache else None
        self.cache_was_read = self._cached is not None
        if self.cache_was_read:
            say(self._tell, f"Calibration is read from {self.cache.path}: model, images and settings are the same")
        return self._cached

    def write_cache(self, content: bytes) -> None:
        """Keep what TensorRT found, unless a fault cut it short."""
        if not self.has_failed:
            self.cache.write(content)

    def facts(self) -> dict[str, Any]:
        """Return what is known of the calibration."""
        return {
            "images": len(self.batches.images),
            "batch": self.batches.shape[0],
            "filled": self.batches.filled,
            "cache": str(self.cache.path),
            "cache_was_read": self.cache_was_read,
        }

    def close(self) -> None:
        """Free the device buffer."""
        self.__dict__.pop("_buffer", None)


def make_calibrator(module: ModuleType, algorithm: str, feed: Feed) -> trt.IInt8Calibrator:
    """Return a calibrator of TensorRT's class for `algorithm` (see CLASSES).

    SettingsError where this TensorRT has none: 11 and later.
    """
    base: Any = getattr(module, CLASSES[algorithm], None)
    if base is None:
        raise SettingsError(
            f"TensorRT {module.__version__} has no INT8 calibrator", "Quantize the model instead: --method qdq"
        )

    class Calibrator(base):  # type: ignore[misc]
        def __init__(self) -> None:
            base.__init__(self)  # without this TensorRT crashes

        def get_batch_size(self) -> int:
            return feed.batches.shape[0]

        def get_batch(self, names: Sequence[str]) -> list[int] | None:
            return _kept(feed, feed.next_address)

        def read_calibration_cache(self) -> bytes | None:
            return _kept(feed, feed.read_cache)

        def write_calibration_cache(self, cache: Any) -> None:
            _kept(feed, lambda: feed.write_cache(bytes(cache)))

    made: trt.IInt8Calibrator = Calibrator()
    return made


def _kept(feed: Feed, answer: Callable[[], Answer]) -> Answer | None:
    """Return the answer, None where it fails: TensorRT calls this, and would swallow what it raises."""
    try:
        return answer()
    except BaseException as fault:
        feed.keep(fault)
        return None
