"""A lack of memory is no bug, and a bug is no lack of memory."""

from __future__ import annotations

import re

import cv2
import numpy as np
import pytest

from perception.system.reasons import lack_of_memory


def test_what_numpy_and_opencv_raise_for_want_of_memory_is_told_from_other_errors() -> None:
    with pytest.raises(MemoryError) as numpy_error:
        np.zeros(1 << 60, np.uint8)
    assert lack_of_memory(numpy_error.value).startswith("Unable to allocate 1.00 EiB")
    with pytest.raises(cv2.error) as opencv_error:
        cv2.resize(np.zeros((4, 4, 3), np.uint8), (2**19, 2**19))
    assert re.match(r"Failed to allocate \d+ bytes", lack_of_memory(opencv_error.value))
    with pytest.raises(cv2.error) as other_error:
        cv2.cvtColor(np.zeros((4, 4), np.uint8), cv2.COLOR_BGR2GRAY)
    assert not lack_of_memory(other_error.value)


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (RuntimeError("can't start new thread"), "can't start new thread"),
        (MemoryError(), "an allocation failed"),
        (RuntimeError("a bug"), ""),
        (ValueError("x"), ""),
    ],
)
def test_other_lacks_are_told_and_bugs_are_none(fault: Exception, told: str) -> None:
    assert lack_of_memory(fault) == told
