"""Lent frames: whose they are, when they come back, and who frees them."""

from __future__ import annotations

import gc
import threading
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Queue
from typing import Any

import cv2
import numpy as np
import pytest

from perception.backends.gpu.cuda import Gpu, HostMemory
from perception.backends.gpu.frame_pool import POOL_FRAMES, POOL_SIZES, FramePool
from perception.core.frame import Image
from tests.doubles.emulated_errors import LogicError
from tests.doubles.emulated_gpu import Device

HW = (6, 8)
HOLDERS: dict[str, Callable[[Image], Any]] = {
    "the frame": lambda frame: frame,
    "a view": lambda frame: frame[1:],
    "a view of a view": lambda frame: frame[1:, 2:][:, 1],
    "a flat view": lambda frame: frame.reshape(-1),
    "a transposed view": lambda frame: frame.transpose(2, 0, 1)[::-1],
    "a view of another type": lambda frame: frame.view(np.int8)[0],
    "its buffer": lambda frame: frame.data[1:],
    "an array over its buffer": lambda frame: np.asarray(frame.data)[0],
}


@pytest.fixture
def pool(device: Device) -> Iterator[FramePool]:
    with Gpu() as gpu:
        pool = FramePool(gpu.host_memory)
        yield pool
        pool.close()


def lend_all(pool: FramePool, hw: tuple[int, int] = HW) -> list[Image]:
    frames = []
    while (frame := pool.lend(hw)) is not None:
        frames.append(frame)
    return frames


def test_it_lends_so_many_frames_and_then_none(pool: FramePool) -> None:
    assert pool.lend(HW) is None, "nothing was prepared"
    pool.prepare(HW)
    frames = lend_all(pool)
    assert len(frames) == POOL_FRAMES >= 3
    assert all(frame.shape == (*HW, 3) and frame.dtype == np.uint8 for frame in frames)
    assert all(frame.flags.c_contiguous and frame.flags.writeable for frame in frames)
    for number, frame in enumerate(frames):
        frame[:] = number
    assert [int(frame.min()) for frame in frames] == [int(frame.max()) for frame in frames] == list(range(len(frames)))
    assert pool.lend((5, 8)) is None, "another size"


def test_the_device_finds_a_frame_and_nothing_else(pool: FramePool, device: Device) -> None:
    pool.prepare(HW)
    frame = pool.lend(HW)
    assert frame is not None
    frame[:] = np.arange(frame.size).reshape(frame.shape)
    address = pool.address(frame)
    assert address is not None
    np.testing.assert_array_equal(device.read(address, frame.shape, np.uint8), frame)
    for other in (frame[:], frame[1:], frame.copy(), np.zeros((*HW, 3), np.uint8)):
        assert pool.address(other) is None


@pytest.mark.parametrize("holds", HOLDERS.values(), ids=HOLDERS.keys())
def test_a_frame_is_not_lent_again_while_anything_holds_it(pool: FramePool, holds: Callable[[Image], Any]) -> None:
    pool.prepare(HW)
    frames = lend_all(pool)
    address, holder = pool.address(frames[0]), holds(frames[0])
    del frames[0]
    assert pool.lend(HW) is None
    del holder
    again = pool.lend(HW)
    assert again is not None
    assert pool.address(again) == address


def test_a_frame_that_another_thread_drops_is_free_again(pool: FramePool) -> None:
    pool.prepare(HW)
    queue: Queue[Image | None] = Queue()
    done: Queue[int] = Queue()

    def consume() -> None:
        while (frame := queue.get()) is not None:
            done.put(int(frame[0].max()))
            del frame

    consumer = threading.Thread(target=consume)
    consumer.start()
    try:
        for number in range(500):
            while (frame := pool.lend(HW)) is None:
                done.get(timeout=10)  # the consumer is behind
            frame[:] = number % 256
            queue.put(frame)
            del frame
    finally:
        queue.put(None)
        consumer.join(10)
    assert len(lend_all(pool)) == POOL_FRAMES


def test_threads_never_share_a_frame(pool: FramePool) -> None:
    pool.prepare(HW)
    clashes: list[int] = []

    def work(mark: int) -> None:
        for _ in range(2000):
            frame = pool.lend(HW)
            if frame is not None:
                frame[:] = mark
                view = frame[1:][..., 0]
                del frame
                if (view != mark).any():
                    clashes.append(mark)

    threads = [threading.Thread(target=work, args=(mark,)) for mark in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not clashes
    assert len(lend_all(pool)) == POOL_FRAMES


@pytest.fixture
def one_size(device: Device) -> Iterator[FramePool]:
    """A pool that lends one size at a time."""
    with Gpu() as gpu:
        pool = FramePool(gpu.host_memory, sizes=1)
        yield pool
        pool.close()


def test_a_size_is_wanted_from_the_first_borrower_to_its_preparation(pool: FramePool, device: Device) -> None:
    assert not pool.wanted
    for _ in range(3):
        assert pool.lend(HW) is None
    assert pool.lend((4, 4)) is None
    assert pool.wanted == {HW, (4, 4)}
    assert not device.calls["pagelocked_zeros"], "the borrower's thread allocates nothing"
    pool.prepare(HW)
    assert pool.wanted == {(4, 4)}
    assert pool.lend(HW) is not None
    assert pool.wanted == {(4, 4)}


def test_sizes_are_lent_side_by_side_and_the_one_not_asked_for_the_longest_gives_way(
    pool: FramePool, device: Device
) -> None:
    sizes = [(4, width) for width in range(4, 4 + POOL_SIZES)]
    for hw in sizes:
        pool.prepare(hw)
    assert all(pool.lend(hw) is not None for hw in (*sizes[1:], sizes[0]))
    assert device.calls["pagelocked_zeros"] == POOL_SIZES * POOL_FRAMES
    pool.prepare(HW)
    assert pool.lend(sizes[1]) is None
    assert all(pool.lend(hw) is not None for hw in (HW, sizes[0], *sizes[2:]))


def test_another_size_in_its_place_leaves_what_is_lent_where_it_is(one_size: FramePool) -> None:
    one_size.prepare(HW)
    old = one_size.lend(HW)
    assert old is not None
    one_size.prepare((4, 4))
    assert one_size.lend(HW) is None
    new = one_size.lend((4, 4))
    assert new is not None
    new[:] = 1
    old[:] = 2
    assert new.max() == 1
    assert one_size.address(old) is not None, "a frame of the size before is still where it was"


def test_a_size_without_room_is_told_once_and_never_lent(pool: FramePool, device: Device, logged: list[str]) -> None:
    device.fail["pagelocked_zeros"] = LogicError("out of memory")
    for _ in range(3):
        assert pool.lend(HW) is None
        pool.prepare(HW)
    device.fail.clear()
    assert pool.lend(HW) is None
    assert not pool.wanted
    assert [line for line in logged if line.startswith("WARNING")] == [
        "WARNING Pictures of 8x6 are copied, there are no page-locked frames: "
        "CUDA could not give 144 bytes of page-locked memory: out of memory"
    ]
    pool.prepare((4, 4))
    assert pool.lend((4, 4)) is not None, "another size may have room"


def test_the_same_size_again_allocates_nothing(pool: FramePool, device: Device) -> None:
    pool.prepare(HW)
    before = device.calls["pagelocked_zeros"]
    pool.prepare(HW)
    assert device.calls["pagelocked_zeros"] == before


def test_memory_of_a_size_that_went_is_freed_by_the_main_thread_alone(one_size: FramePool, device: Device) -> None:
    one_size.prepare(HW)
    held: list[Image | None] = [one_size.lend(HW)]
    one_size.prepare((4, 4))
    one_size.free_retired()
    assert len(device.live) == 2 * POOL_FRAMES, "one of the old size is still lent"
    thread = threading.Thread(target=held.clear)
    thread.start()
    thread.join(10)
    assert len(device.live) == 2 * POOL_FRAMES, "the thread that dropped it may not free"
    one_size.free_retired()
    assert len(device.live) == 2 * POOL_FRAMES, "whoever gave it back may still be at it"
    one_size.free_retired()
    gc.collect()
    assert len(device.live) == POOL_FRAMES
    assert set(device.freed_by) == {threading.get_ident()}


def test_a_thread_in_the_middle_of_lending_gets_nothing_to_free(one_size: FramePool, device: Device) -> None:
    """The main thread changes the size at the worst moment: when another one is about to take a frame."""
    one_size.prepare(HW)
    lending = one_size._lendings[HW]
    looking, changed = threading.Event(), threading.Event()

    class Slow(deque[HostMemory]):
        def popleft(self) -> HostMemory:
            looking.set()
            changed.wait(0.2)
            return super().popleft()

    lending.free = Slow(lending.free)
    del lending
    reader = threading.Thread(target=one_size.lend, args=(HW,))  # which drops the frame at once
    reader.start()
    assert looking.wait(10)
    one_size.prepare((4, 4))
    changed.set()
    reader.join(10)
    for _ in range(2):
        one_size.free_retired()
    gc.collect()
    assert len(device.live) == POOL_FRAMES
    assert set(device.freed_by) == {threading.get_ident()}


def test_a_frame_outlives_the_pool(device: Device) -> None:
    with Gpu() as gpu:
        pool = FramePool(gpu.host_memory)
        pool.prepare(HW)
        frame = pool.lend(HW)
        pool.close()
    assert frame is not None
    assert pool.lend(HW) is None
    assert pool.address(frame) is None
    frame[:] = 7
    assert len(device.live) == 1
    del frame
    gc.collect()
    assert not device.live


def test_opencv_writes_into_a_lent_frame(pool: FramePool, tmp_path: Path) -> None:
    height, width = 48, 64
    pool.prepare((height, width))
    frame = pool.lend((height, width))
    assert frame is not None
    assert cv2.resize(np.full((96, 128, 3), 9, np.uint8), (width, height), dst=frame) is frame
    assert (frame == 9).all()
    clip = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(clip), cv2.VideoWriter.fourcc(*"MJPG"), 10, (width, height))
    for level in (50, 200):
        writer.write(np.full((height, width, 3), level, np.uint8))
    writer.release()
    capture = cv2.VideoCapture(str(clip))
    try:
        for level in (50, 200):
            assert capture.grab()
            found, same = capture.retrieve(frame)
            assert found
            assert same is frame
            np.testing.assert_allclose(frame, level, atol=4)
    finally:
        capture.release()
