"""Explains exceptions of other libraries: the cause on one line, the cure of usual ones, a lack of memory."""

from __future__ import annotations

import re

MOST_CHARACTERS = 320
OPENCV_NO_MEMORY = -4
"""OpenCV's cv::Error::StsNoMem."""
_BEGINNING = 90
_CURES = (
    (r"(?i)unsupported model IR version|IR version: ?\d+", "Export it with an older onnx, or update onnxruntime."),
    (
        r"(?i)opset \d+ is under development|only \*?guarantees\*? support for models stamped|opset version",
        "Export it with opset 17: yolo export format=onnx opset=17; or update onnxruntime.",
    ),
    (
        r"(?i)external.?(data|initializer)|cannot get file size: No such file",  # the latter: ONNX Runtime up to 1.23
        "Its weights lie in a second file: copy that (*.data) beside it, under its own name.",
    ),
    (
        r"_TRT\b|domain '?TRT|trt\.plugins|EfficientNMS|BatchedNMS",
        "It holds plugins of TensorRT: export it without NMS inside (nms=False).",
    ),
    (
        r"(?i)is not a registered function/op|No Op registered|Fatal error: [\w.:]+",
        "It holds an operator that ONNX does not have: export it without plugins.",
    ),
)


def cause_of(error: BaseException | str) -> str:
    """Return an error's words on one line; of long ones the beginning and the end, which has the cause."""
    text = " ".join(str(error).split()) or type(error).__name__
    text = "".join(character for character in text if character.isprintable())
    if len(text) <= MOST_CHARACTERS:
        return text
    return f"{text[:_BEGINNING].rstrip()} ... {text[_BEGINNING - MOST_CHARACTERS :].lstrip()}"


def cure_of(error: BaseException, otherwise: str = "") -> str:
    """Return the cure of a usual fault, else `otherwise`."""
    text = str(error)
    return next((cure for pattern, cure in _CURES if re.search(pattern, text)), otherwise)


def lack_of_memory(fault: BaseException) -> str:
    """Return the message of an out-of-memory or out-of-threads error; "" for any other exception."""
    if isinstance(fault, MemoryError):  # numpy's own is one, too
        return str(fault) or "an allocation failed"
    if isinstance(fault, RuntimeError) and str(fault) == "can't start new thread":
        return str(fault)
    if type(fault).__module__ == "cv2" and getattr(fault, "code", None) == OPENCV_NO_MEMORY:
        return str(getattr(fault, "err", fault))
    return ""
