"""Calibration: the bytes of the run time, one buffer, a cache that is never stale, faults that are not swallowed."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from perception.backends.gpu.cuda import Gpu
from perception.backends.preprocess import PREPROCESS_VERSION, Preprocessor
from perception.camera.images import read_image
from perception.core.errors import GpuError, SettingsError
from perception.workshop.build.calibration_cache import CacheKey, CalibrationCache
from perception.workshop.build.calibrator import Feed, make_calibrator
from perception.workshop.quantize.batches import Batches
from tests.doubles.emulated_errors import LaunchError
from tests.doubles.emulated_gpu import Device
from tests.workshop.build.fake_builder import Workbench
from tests.workshop.conftest import Event, said

KEY = CacheKey("a" * 64, "b" * 64, PREPROCESS_VERSION, "entropy", (1, 3, 64, 64), "8.6.0")


def feed_of(gpu: Gpu, images: list[Path], folder: Path, events: list[Event], size: int = 1, **more: Any) -> Feed:
    return Feed(gpu, Batches(images, (size, 3, 64, 64)), CalibrationCache(folder, "small", KEY), events.append, **more)


def drain(calibrator: Any) -> list[int]:
    """The addresses of all batches."""
    addresses = []
    while (batch := calibrator.get_batch(["images"])) is not None:
        addresses += batch
    return addresses


@pytest.mark.parametrize("size", [1, 3, 8])
def test_the_device_gets_the_very_bytes_of_the_run_time(
    bench: Workbench, device: Device, tensorrt: ModuleType, images: list[Path], tmp_path: Path, events: list[Event],
    size: int,
) -> None:  # fmt: skip
    pictures = [read_image(path) for path in images]
    expected = [Preprocessor((64, 64))([picture])[0][0] for picture in pictures if picture is not None]
    with Gpu() as gpu:
        feed = feed_of(gpu, images, tmp_path, events, size)
        calibrator: Any = make_calibrator(tensorrt, "entropy", feed)
        got: list[Any] = []
        addresses = set()
        while (batch := calibrator.get_batch(["images"])) is not None:
            addresses.add(batch[0])
            got.extend(device.read(batch[0], (size, 3, 64, 64), np.float32))
        assert calibrator.get_batch(["images"]) is None, "the end stays the end"
        feed.close()
    assert len(addresses) == 1, "one buffer is used again"
    assert len(got) == -(-len(images) // size) * size
    for tensor, right in zip(got, [*expected, *[expected[-1]] * (len(got) - len(expected))]):
        assert tensor.tobytes() == right.tobytes()
    assert feed.batches.filled == len(got) - len(images)
    assert events[-1] == {"event": "progress", "what": "calibration", "done": 7, "of": 7}


@pytest.mark.parametrize("size", [1, 8])
def test_no_memory_is_taken_after_the_buffer(
    bench: Workbench, device: Device, tensorrt: ModuleType, images: list[Path], tmp_path: Path, size: int
) -> None:
    with Gpu() as gpu:
        before = device.calls["mem_alloc"]
        batches, free = Batches(images * 5, (size, 3, 64, 64)), list[int]()
        cache = CalibrationCache(tmp_path, "small", KEY)
        feed = Feed(gpu, batches, cache, lambda _: free.append(gpu.cuda.mem_get_info()[0]))
        drain(make_calibrator(tensorrt, "minmax", feed))
        assert device.calls["mem_alloc"] == before + 1
        assert len(device.live) == 1
        feed.close()
        assert not device.live
    assert len(free) == len(batches)
    assert len(set(free)) == 1


def test_what_a_callback_raises_is_kept_and_told_at_once(
    bench: Workbench, device: Device, tensorrt: ModuleType, images: list[Path], tmp_path: Path, events: list[Event]
) -> None:
    told: list[BaseException] = []
    with Gpu() as gpu:
        feed = feed_of(gpu, images, tmp_path, events, interrupt=told.append)
        calibrator: Any = make_calibrator(tensorrt, "entropy", feed)
        assert calibrator.get_batch(["images"]) is not None
        device.fail["memcpy_htod"] = LaunchError("an illegal memory access")
        assert calibrator.get_batch(["images"]) is None
        device.fail.clear()
        assert calibrator.get_batch(["images"]) is None, "nothing comes after a fault"
        calibrator.write_calibration_cache(memoryview(b"TRT-of one image"))
        feed.close()
    assert len(told) == 1
    assert feed.has_failed
    assert not feed.cache.path.exists(), "half a calibration is none"
    with pytest.raises(GpuError, match="illegal memory access"):
        feed.raise_fault()


def test_a_stop_within_a_callback_is_kept(
    bench: Workbench, tensorrt: ModuleType, images: list[Path], tmp_path: Path
) -> None:
    def stop(event: Event) -> None:
        raise KeyboardInterrupt

    with Gpu() as gpu:
        cache = CalibrationCache(tmp_path, "small", KEY)
        feed = Feed(gpu, Batches(images, (1, 3, 64, 64)), cache, stop)
        calibrator: Any = make_calibrator(tensorrt, "entropy", feed)
        assert calibrator.get_batch(["images"]) is None
        feed.close()
    with pytest.raises(KeyboardInterrupt):
        feed.raise_fault()
    feed.raise_fault()  # once


@pytest.mark.parametrize(
    "change",
    [
        {"onnx_sha256": "c" * 64}, {"manifest_sha256": "c" * 64}, {"preprocess_version": "0"},
        {"algorithm": "minmax"}, {"input_shape": (8, 3, 64, 64)}, {"tensorrt_version": "8.6.1"},
    ],
    ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_a_cache_of_other_inputs_is_not_read(tmp_path: Path, change: dict[str, Any]) -> None:
    cache = CalibrationCache(tmp_path, "small", KEY)
    cache.write(b"TRT-8600-EntropyCalibration2\nimages: 3c010a14\n")
    other = CalibrationCache(tmp_path, "small", dataclasses.replace(KEY, **change))
    assert other.path != cache.path
    assert other.read() is None
    other.path.write_bytes(cache.path.read_bytes())  # a file that was given another's name
    assert other.read() is None
    assert CalibrationCache(tmp_path, "small", KEY).read() == b"TRT-8600-EntropyCalibration2\nimages: 3c010a14\n"


def test_a_cache_that_was_cut_is_not_read(tmp_path: Path) -> None:
    cache = CalibrationCache(tmp_path / "caches", "small", KEY)
    assert cache.read() is None
    cache.write(b"TRT-x\n" + b"tensor: 3c010a14\n" * 9)
    cache.path.write_bytes(cache.path.read_bytes()[:-20])
    assert cache.read() is None


def test_a_cache_is_used_aloud_and_left_alone_where_asked(
    bench: Workbench, tensorrt: ModuleType, images: list[Path], tmp_path: Path, events: list[Event]
) -> None:
    with Gpu() as gpu:
        for use in (True, False):
            feed = feed_of(gpu, images, tmp_path, events, use_cache=use)
            feed.cache.write(b"TRT-x")
            calibrator: Any = make_calibrator(tensorrt, "entropy", feed)
            assert calibrator.read_calibration_cache() == (b"TRT-x" if use else None)
            assert feed.cache_was_read is use
            feed.close()
    assert said(events) == f"Calibration is read from {feed.cache.path}: model, images and settings are the same"


def test_both_algorithms_have_their_class(
    bench: Workbench, tensorrt: ModuleType, images: list[Path], tmp_path: Path, events: list[Event]
) -> None:
    with Gpu() as gpu:
        feed = feed_of(gpu, images, tmp_path, events)
        for word, name in (("entropy", "IInt8EntropyCalibrator2"), ("minmax", "IInt8MinMaxCalibrator")):
            assert isinstance(make_calibrator(tensorrt, word, feed), getattr(tensorrt, name))
        feed.close()


def test_tensorrt_11_has_no_calibrator(
    device: Device, tensorrt: ModuleType, images: list[Path], tmp_path: Path, events: list[Event]
) -> None:
    with Gpu() as gpu:
        feed = feed_of(gpu, images, tmp_path, events)
        with pytest.raises(SettingsError, match="no INT8 calibrator"):
            make_calibrator(tensorrt, "entropy", feed)
        feed.close()
