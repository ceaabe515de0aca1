"""Tells a lack of memory from a bug, whichever library met it."""

from __future__ import annotations

OPENCV_NO_MEMORY = -4
"""OpenCV's cv::Error::StsNoMem."""


def lack_of_memory(fault: BaseException) -> str:
    """What could not be had, where the exception says that memory or a thread could not; "" for any other exception."""
    if isinstance(fault, MemoryError):  # numpy's own is one, too
        return str(fault) or "an allocation failed"
    if isinstance(fault, RuntimeError) and str(fault) == "can't start new thread":
        return str(fault)
    if type(fault).__module__ == "cv2" and getattr(fault, "code", None) == OPENCV_NO_MEMORY:
        return str(getattr(fault, "err", fault))
    return ""
