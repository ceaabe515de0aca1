"""Copies of pictures by one thread or by two."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Iterator

import numpy as np
import pytest

from perception.backends.gpu.copying import LARGE_BYTES, Copier
from perception.core.frame import Image


@pytest.fixture
def copier() -> Iterator[Copier]:
    made = Copier()
    yield made
    made.close()
    assert not _threads()


def _threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "copier"]


def _noise(height: int, width: int, seed: int = 0) -> Image:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize("hw", [(1, 1), (2, 3), (1, 1 << 18), (3, 1 << 17), (720, 1280), (1081, 1919)])
def test_the_copy_is_the_picture(copier: Copier, hw: tuple[int, int]) -> None:
    for seed in range(3):
        image, target = _noise(*hw, seed), np.zeros((*hw, 3), np.uint8)
        copier.copy(target, image)
        np.testing.assert_array_equal(target, image)


def test_of_some_rows_the_others_stay_as_they_are(copier: Copier) -> None:
    image, target = _noise(1080, 1920), np.zeros((1080, 1920, 3), np.uint8)
    rows = slice(1, 1079, 3)
    copier.copy(target[rows], image[rows])
    expected = np.zeros_like(image)
    expected[rows] = image[rows]
    np.testing.assert_array_equal(target, expected)
    assert _threads()


def test_a_second_thread_starts_with_the_first_large_picture(copier: Copier) -> None:
    small, large = np.zeros((100, 100, 3), np.uint8), np.zeros((LARGE_BYTES // 300 + 1, 100, 3), np.uint8)
    copier.copy(small.copy(), small)
    assert not _threads()
    for _ in range(2):
        copier.copy(large.copy(), large)
        assert len(_threads()) == 1
    copier.close()
    copier.close()
    assert not _threads()


def test_no_picture_is_held_after_its_copy(copier: Copier) -> None:
    image = np.zeros((720, 1280, 3), np.uint8)
    copier.copy(np.empty_like(image), image)
    held = weakref.ref(image)
    del image
    copier.close()
    gc.collect()
    assert held() is None


def test_a_fault_of_the_second_thread_is_raised(copier: Copier, monkeypatch: pytest.MonkeyPatch) -> None:
    copyto = np.copyto

    def fail_elsewhere(target: Image, image: Image) -> None:
        if threading.current_thread().name == "copier":
            raise MemoryError("no memory")
        copyto(target, image)

    image, target = _noise(720, 1280), np.zeros((720, 1280, 3), np.uint8)
    monkeypatch.setattr(np, "copyto", fail_elsewhere)
    with pytest.raises(MemoryError, match="no memory"):
        copier.copy(target, image)
    monkeypatch.undo()
    copier.copy(target, image)
    np.testing.assert_array_equal(target, image)
