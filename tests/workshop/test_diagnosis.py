"""The last lines of a child and its end give a lack of memory away, and the known faults of TensorRT."""

from __future__ import annotations

import pytest

from perception.workshop.diagnosis import diagnose
from perception.workshop.stage_child import Ended
from tests.workshop.faulty_stage import NVMAP, NVML, TACTIC

STAGE = "perception.workshop.build.build_stage"


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        ((NVMAP, "Segmentation fault"), -11),
        ((f"RuntimeError: {NVML}",), 1),
        (("torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB",), 1),
        (("RuntimeError: CUDA error: out of memory",), 1),
        (("pycuda._driver.MemoryError: cuMemAlloc failed: out of memory",), 1),
        (("[E] 1: [defaultAllocator.cpp::allocate::19] Error Code 1: Cuda Runtime (out of memory)",), 1),
        (("[E] Error Code 2: OutOfMemory (no further information)", "RuntimeError: no plan"), 1),
        (("[E] Requested amount of GPU memory (8589934592 bytes) could not be allocated.", "RuntimeError: x"), 1),
        (("terminate called after throwing an instance of 'std::bad_alloc'", "  what():  std::bad_alloc"), -6),
        (("MemoryError",), 1),
        (("numpy._core._exceptions._ArrayMemoryError: Unable to allocate 2.00 GiB for an array",), 1),
        (("OSError: [Errno 12] Cannot allocate memory",), 1),
        (("RuntimeError: DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes",), 1),
        (("onnxruntime::RuntimeException: Failed to allocate memory for requested buffer of size 12",), 1),
        ((TACTIC, "[E] 10: Could not find any implementation for node /model.0/conv/Conv.", "RuntimeError: None"), 1),
        (("[W] Skipping tactic 4 due to oom error on requested size of 9", "TypeError: NoneType is no buffer"), 1),
        ((), -9),
        (("Killed",), 137),
    ],
    ids=str,
)  # fmt: skip
def test_the_lines_of_a_child_give_the_lack_of_memory_away(lines: tuple[str, ...], code: int) -> None:
    trouble = diagnose(Ended(STAGE, code, lines=lines))

    assert trouble is not None
    assert trouble.kind == "memory"
    assert trouble.what.startswith("The build stage ")
    assert trouble.cure
    assert trouble.sign in (*(line.strip() for line in lines), "SIGKILL")


@pytest.mark.parametrize(
    "ended",
    [
        Ended(STAGE, 1, lines=(TACTIC, "[E] parser error", "KeyError: 'images'")),
        Ended(STAGE, 1, lines=("ImportError: libGLdispatch.so.0: cannot allocate memory in static TLS block",)),
        Ended(STAGE, 1, lines=("[W] calibration scales are insufficient", "RuntimeError: None")),
        Ended(STAGE, -9, timed_out=True),
        Ended(STAGE, -11),
        Ended(STAGE, 3, lines=(NVMAP,), error={"what": "x.onnx is no model", "kind": "SettingsError"}),
    ],
)
def test_other_ends_are_not_taken_for_it(ended: Ended) -> None:
    assert diagnose(ended) is None


CHECK_LINKS = "[E] 2: [checkSanity.cpp::checkLinks::218] Error Code 2: Internal Error (region should have been removed)"
RESOURCE = "Error Code 6: Unable to load library: libnvinfer_builder_resource_sm86.so.10.16.1: cannot open"


@pytest.mark.parametrize(
    ("ended", "words", "cure"),
    [
        (Ended(STAGE, 1, lines=(CHECK_LINKS, "RuntimeError: None")), "a known fault of 10.3", "--method qdq"),
        (Ended(STAGE, 3, error={"what": CHECK_LINKS, "kind": "BuildError"}), "a known fault of 10.3", "--method qdq"),
        (Ended(STAGE, -11, lines=("calibrates with TensorRT 10.3.0",)), "TensorRT 10.3 calibrated", "--method qdq"),
        (
            Ended(STAGE, 139, lines=("calibrates with TensorRT 10.3.0", "x")),
            "TensorRT 10.3 calibrated",
            "10.7 or newer",
        ),
        (Ended(STAGE, 1, lines=(RESOURCE, "RuntimeError: None")), "kernels for the architecture", "sm_86 serves Orin"),
    ],
)
def test_a_known_fault_of_tensorrt_is_no_lack_of_memory_and_has_its_cure(ended: Ended, words: str, cure: str) -> None:
    trouble = diagnose(ended)
    assert trouble is not None
    assert trouble.kind == "fault"
    assert words in trouble.what
    assert cure in trouble.cure


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        (("calibrates with TensorRT 10.7.0",), -11),
        (("calibrates with TensorRT 10.3.0", "ValueError: x"), 1),
        (("calibrates with TensorRT 10.30.0",), -11),
    ],
)
def test_other_crashes_are_not_taken_for_the_fault_of_10_3(lines: tuple[str, ...], code: int) -> None:
    assert diagnose(Ended(STAGE, code, lines=lines)) is None


def test_a_crash_with_a_sign_of_memory_is_one_of_memory_also_on_10_3() -> None:
    trouble = diagnose(Ended(STAGE, -11, lines=("calibrates with TensorRT 10.3.0", NVMAP)))
    assert trouble is not None
    assert trouble.kind == "memory"


def test_the_counter_of_the_kernel_tells_who_killed() -> None:
    by_kernel = diagnose(Ended(STAGE, -9, oom_kills=1))
    by_somebody = diagnose(Ended(STAGE, -9, oom_kills=0))

    assert by_kernel is not None
    assert by_somebody is not None
    assert by_kernel.what == "The build stage was killed by the kernel for want of memory"
    assert by_somebody.what == "The build stage was killed (SIGKILL), as the kernel does where memory runs out"


def test_a_lack_of_memory_that_the_child_told_itself_keeps_its_words() -> None:
    told = {
        "what": "A calibration batch does not fit",
        "cure": "Use --calibration-batch 1.",
        "kind": "ExportMemoryError",
    }

    trouble = diagnose(Ended(STAGE, 3, error=told))

    assert trouble is not None
    assert (trouble.what, trouble.cure) == (told["what"], told["cure"])
