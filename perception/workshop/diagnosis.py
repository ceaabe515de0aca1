"""Tells why a stage failed: a lack of memory in each of its disguises, or a known fault of TensorRT."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

from perception.core.errors import ExportMemoryError
from perception.workshop.stage_child import Ended

KILLED = (-9, 137)
"""SIGKILL, as the parent sees it, and as a shell or a container tells it."""
STATIC_TLS = "static TLS block"
"""`cannot allocate memory in static TLS block` is a fault of the order in which libraries are loaded."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """The reason that stopped a stage. kind: "memory", or "fault" for a known one of TensorRT's, which no smaller
    workspace mends. what, cure: in plain words, a sentence each. sign: what gave it away.
    """

    kind: str
    what: str
    cure: str
    sign: str


class _Symptom(NamedTuple):
    """The sign of a trouble in a line. when: what must stand in the child's last line for it to count; codes: how the
    child must have ended for that, None for anyhow.
    """

    sign: re.Pattern[str]
    what: str
    cure: str
    when: re.Pattern[str] | None = None
    kind: str = "memory"
    codes: tuple[int, ...] | None = None


FREE = "Stop what is not needed (the pilot, the desktop) or reboot, then try again."
REBOOT = "Reboot and export first of all: sudo reboot"
NO_CALIBRATOR = "Use --method qdq, which needs no calibrator, or TensorRT 10.7 or newer."
CRASHED = (-11, 139)
"""SIGSEGV, as the parent sees it, and as a shell or a container tells it."""
CALIBRATES = "calibrates with TensorRT {}"
"""The line of a child before TensorRT calibrates, which it may not survive."""
SYMPTOMS = (
    _Symptom(
        re.compile(r"checkLinks|region should have been removed"),
        "TensorRT could not calibrate this network, a known fault of 10.3 (NVIDIA/TensorRT#4797)",
        NO_CALIBRATOR,
        kind="fault",
    ),
    _Symptom(
        re.compile(r"(?i)builder[_ ]resource\S*.*(?:not found|cannot open|no such file)|unable to load library: "
                   r"\S*builder_resource"),
        "TensorRT's builder lacks its kernels for the architecture of this GPU, which come in a package of their own",
        "Install it; its name ends as the library's does (sm_86 serves Orin's sm_87, sm_110 is Thor): "
        "apt-cache search nvinfer builder resource; or nvidia-jetpack with all of them.",
        kind="fault",
    ),
    _Symptom(
        re.compile(r"NvMapMemAlloc|NvMap.*error 12\b"),
        "the GPU was refused a block of memory (NvMap, error 12), as happens where free memory lies in pieces, and on "
        "Jetson Linux 36.4.7",
        f"{REBOOT}; on 36.4.7 upgrade to JetPack 6.2.2.",
    ),
    _Symptom(
        re.compile(r"NVML_SUCCESS == r"),
        "torch ran out of GPU memory, which on a Jetson it reports as a failed assertion of NVML",
        f"{FREE} An ONNX file made on another machine (--model x.onnx) needs no torch here.",
    ),
    _Symptom(
        re.compile(
            r"(?i)out ?of ?memory|OUT_OF_MEMORY|cudaErrorMemoryAllocation|cudaMalloc failed|bad_alloc|^MemoryError|"
            r"\bcannot allocate memory|failed to allocate memory|not enough memory|can't allocate memory|"
            r"unable to allocate|could not be allocated|can't start new thread"
        ),
        "memory could not be had",
        FREE,
    ),
    _Symptom(
        # As a warning it is no failure: one way to run a layer is passed over. So it counts where no engine came of it.
        re.compile(r"(?i)\binsufficient\b.*(memory|workspace)|memory is insufficient|\boom error\b"),
        "TensorRT did not get the scratch memory that it asked for, and built no engine",
        FREE,
        re.compile(r"(?i)none|null|no engine|engine|implementation|insufficient|build"),
    ),
    _Symptom(
        re.compile(CALIBRATES.format(r"10\.3\b")),
        "it crashed while TensorRT 10.3 calibrated, a known fault of that version (NVIDIA/TensorRT#4797)",
        NO_CALIBRATOR,
        kind="fault",
        codes=CRASHED,
    ),
)  # fmt: skip
"""In the order in which they are looked for: a crash is of memory where there is a sign of that."""


def diagnose(ended: Ended) -> Trouble | None:
    """Return what stopped a child that failed, if it was a lack of memory or a known fault; else None.

    Where the child itself told what happened, that alone is looked at: what libraries print before may be harmless.
    """
    if ended.error is not None:
        return _told(ended)
    if ended.timed_out:
        return None
    for symptom in SYMPTOMS:
        signs = [line.strip() for line in ended.lines if symptom.sign.search(line) and STATIC_TLS not in line]
        if symptom.codes is not None and ended.code not in symptom.codes:
            continue
        if signs and (symptom.when is None or symptom.when.search(ended.last_line)):
            what = f"The {ended.name} stage {ended.how}: {symptom.what}"
            return Trouble(symptom.kind, what, symptom.cure, signs[-1])
    return _killed(ended) if ended.code in KILLED else None


def _told(ended: Ended) -> Trouble | None:
    error = ended.error or {}
    what, cure = str(error.get("what", "")), str(error.get("cure", ""))
    if error.get("kind") == ExportMemoryError.__name__:
        return Trouble("memory", what, cure, what)
    for symptom in SYMPTOMS:
        if symptom.codes is None and symptom.sign.search(what) and STATIC_TLS not in what:
            return Trouble(symptom.kind, f"{what}: {symptom.what}", symptom.cure, what)
    return None


def _killed(ended: Ended) -> Trouble:
    if ended.oom_kills:
        who, sign = "killed by the kernel for want of memory", "oom_kill of /proc/vmstat rose"
    else:
        who, sign = "killed (SIGKILL), as the kernel does where memory runs out", "SIGKILL"
    return Trouble("memory", f"The {ended.name} stage was {who}", f"{FREE} (journalctl -k -g oom tells more)", sign)
