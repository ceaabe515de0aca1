"""Tells a lack of memory in each of its disguises, and tries an export again with less scratch memory."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, NamedTuple, TypeVar

from perception.core.errors import ExportMemoryError
from perception.system.process import signal_name

T = TypeVar("T")

LEAST_WORKSPACE_MIB = 256
"""With less scratch memory TensorRT finds no way to run some layers."""
KILLED = (-9, 137)
"""SIGKILL, as the parent sees it, and as a shell or a container tells it."""
STATIC_TLS = "static TLS block"
"""`cannot allocate memory in static TLS block` is a fault of the order in which libraries are loaded."""
FATAL = "Fatal Python error"
"""How the report of a crash in native code begins, which tells where it was and not why."""
TRACEBACK_END = re.compile(r"[A-Za-z_][\w.]*(Error|Exception|Interrupt|Exit)\b")


@dataclass(frozen=True, slots=True)
class Ended:
    """How the child of a stage ended.

    stage: its module. code: exit status, -N for signal N. seconds: how long it ran. timed_out: it was ended because its
    time was up. lines: what it printed last, oldest first. error: the fault that it told in words: what, cure,
    exit_code, kind. oom_kills: how many processes the kernel has killed meanwhile for want of memory, None where that
    cannot be told.
    """

    stage: str
    code: int
    seconds: float = 0.0
    timed_out: bool = False
    lines: tuple[str, ...] = ()
    error: Mapping[str, Any] | None = None
    oom_kills: int | None = None

    @property
    def name(self) -> str:
        """In one word: `build` for perception.workshop.build.build_stage."""
        return self.stage.rpartition(".")[2].removesuffix("_stage")

    @property
    def how(self) -> str:
        """In words, how it ended."""
        return f"died of {signal_name(-self.code)}" if self.code < 0 else f"ended with exit code {self.code}"

    @property
    def last_line(self) -> str:
        """The line that says most: the end of the last traceback, else the last one that was printed."""
        told = [line.strip() for line in takewhile(lambda line: not line.startswith(FATAL), self.lines) if line.strip()]
        ends = [line for line in told if TRACEBACK_END.match(line)]
        return next(reversed(ends), next(reversed(told), ""))


@dataclass(frozen=True, slots=True)
class Trouble:
    """What stopped a stage. kind: "memory", or "fault" for a known one of TensorRT's, which no smaller workspace mends.
    what, cure: in plain words, a sentence each. sign: what gave it away.
    """

    kind: str
    what: str
    cure: str
    sign: str


class _Disguise(NamedTuple):
    """How a trouble shows in a line. when: what must stand in the child's last line for it to count; codes: how the
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
"""What a child prints before TensorRT calibrates, which it may not survive."""
FAULTS = (
    _Disguise(
        re.compile(r"checkLinks|region should have been removed"),
        "TensorRT could not calibrate this network, a known fault of 10.3 (NVIDIA/TensorRT#4797)",
        NO_CALIBRATOR,
        kind="fault",
    ),
    _Disguise(
        re.compile(r"(?i)builder[_ ]resource\S*.*(?:not found|cannot open|no such file)|unable to load library: "
                   r"\S*builder_resource"),
        "TensorRT's builder lacks its kernels for the architecture of this GPU, which come in a package of their own",
        "Install it; its name ends as the library's does (sm_86 serves Orin's sm_87, sm_110 is Thor): "
        "apt-cache search nvinfer builder resource; or nvidia-jetpack with all of them.",
        kind="fault",
    ),
)  # fmt: skip
DISGUISES = (
    _Disguise(
        re.compile(r"NvMapMemAlloc|NvMap.*error 12\b"),
        "the GPU was refused a block of memory (NvMap, error 12), as happens where free memory lies in pieces, and on "
        "Jetson Linux 36.4.7",
        f"{REBOOT}; on 36.4.7 upgrade to JetPack 6.2.2.",
    ),
    _Disguise(
        re.compile(r"NVML_SUCCESS == r"),
        "torch ran out of GPU memory, which on a Jetson it reports as a failed assertion of NVML",
        f"{FREE} An ONNX file made on another machine (--model x.onnx) needs no torch here.",
    ),
    _Disguise(
        re.compile(
            r"(?i)out ?of ?memory|OUT_OF_MEMORY|cudaErrorMemoryAllocation|cudaMalloc failed|bad_alloc|^MemoryError|"
            r"\bcannot allocate memory|failed to allocate memory|not enough memory|can't allocate memory|"
            r"unable to allocate|could not be allocated|can't start new thread"
        ),
        "memory could not be had",
        FREE,
    ),
    _Disguise(
        # As a warning it is no failure: one way to run a layer is passed over. So it counts where no engine came of it.
        re.compile(r"(?i)\binsufficient\b.*(memory|workspace)|memory is insufficient|\boom error\b"),
        "TensorRT did not get the scratch memory that it asked for, and built no engine",
        FREE,
        re.compile(r"(?i)none|null|no engine|engine|implementation|insufficient|build"),
    ),
    _Disguise(
        re.compile(CALIBRATES.format(r"10\.3\b")),
        "it crashed while TensorRT 10.3 calibrated, a known fault of that version (NVIDIA/TensorRT#4797)",
        NO_CALIBRATOR,
        kind="fault",
        codes=CRASHED,
    ),
)
"""In the order in which they are looked for: a crash is of memory where there is a sign of that."""


def diagnose(ended: Ended) -> Trouble | None:
    """What stopped a child that failed, where it was a lack of memory or a known fault; else None.

    Where the child itself told what happened, that alone is looked at: what libraries print before may be harmless.
    """
    if ended.error is not None:
        return _told(ended)
    if ended.timed_out:
        return None
    for disguise in (*FAULTS, *DISGUISES):
        signs = [line.strip() for line in ended.lines if disguise.sign.search(line) and STATIC_TLS not in line]
        if disguise.codes is not None and ended.code not in disguise.codes:
            continue
        if signs and (disguise.when is None or disguise.when.search(ended.last_line)):
            what = f"The {ended.name} stage {ended.how}: {disguise.what}"
            return Trouble(disguise.kind, what, disguise.cure, signs[-1])
    return _killed(ended) if ended.code in KILLED else None


def _told(ended: Ended) -> Trouble | None:
    error = ended.error or {}
    what, cure = str(error.get("what", "")), str(error.get("cure", ""))
    if error.get("kind") == ExportMemoryError.__name__:
        return Trouble("memory", what, cure, what)
    for disguise in (*FAULTS, *DISGUISES):
        if disguise.codes is None and disguise.sign.search(what) and STATIC_TLS not in what:
            return Trouble(disguise.kind, f"{what}: {disguise.what}", disguise.cure, what)
    return None


def _killed(ended: Ended) -> Trouble:
    if ended.oom_kills:
        who, sign = "killed by the kernel for want of memory", "oom_kill of /proc/vmstat rose"
    else:
        who, sign = "killed (SIGKILL), as the kernel does where memory runs out", "SIGKILL"
    return Trouble("memory", f"The {ended.name} stage was {who}", f"{FREE} (journalctl -k -g oom tells more)", sign)


def rungs(workspace_mib: int) -> tuple[int, ...]:
    """The workspaces to try, in MiB: each half of the one before, the last LEAST_WORKSPACE_MIB, or the one asked for.

    Raises ValueError for less than 1.
    """
    if workspace_mib < 1:
        raise ValueError(f"a workspace of {workspace_mib} MiB")
    found = [workspace_mib]
    while found[-1] > LEAST_WORKSPACE_MIB:
        found.append(max(LEAST_WORKSPACE_MIB, found[-1] // 2))
    return tuple(found)


def climb(attempt: Callable[[int], T], workspace_mib: int, say: Callable[[str], None], offer: str = "") -> T:
    """What `attempt` gives for `workspace_mib`, or for less of it: where memory runs out, half is tried.

    attempt: takes the workspace in MiB and raises ExportMemoryError where memory did not do (as stage.run_stage does);
    any other fault passes. say: takes a sentence for each step down. offer: the command of what needs less memory, an
    FP16 engine; it is named, not run. Raises ExportMemoryError when the last step failed, too.
    """
    steps = rungs(workspace_mib)
    for step, smaller in zip(steps, (*steps[1:], None)):
        try:
            return attempt(step)
        except ExportMemoryError as fault:
            if smaller is None:
                raise _given_up(fault, step, offer) from fault
            say(f"{fault.what}. Trying again with a workspace of {smaller} MiB instead of {step}")
    raise AssertionError("the last step returns or raises")


def _given_up(fault: ExportMemoryError, workspace_mib: int, offer: str) -> ExportMemoryError:
    what = f"{fault.what}, also with a workspace of {workspace_mib} MiB"
    if not offer:
        return ExportMemoryError(what, fault.cure)
    return ExportMemoryError(what, f"{fault.cure} An FP16 engine needs less, and no calibration: {offer}".strip())
