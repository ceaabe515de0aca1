"""A stage for tests: does what its request says, most of it badly. Runs in a child of perception/workshop/stage.py."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from perception.core import errors
from perception.workshop.progress import Tell
from perception.workshop.stage import serve

NVMAP = "NvMapMemAllocInternalTagged: 1075072515 error 12"
NVML = (
    'NVML_SUCCESS == r INTERNAL ASSERT FAILED at "/opt/pytorch/c10/cuda/CUDACachingAllocator.cpp":1131, please report'
)
TACTIC = "[W] Tactic Device request: 1000MB Available: 680MB. Device memory is insufficient to use tactic."


def main(request: dict[str, Any], emit: Tell) -> Mapping[str, Any]:
    """Does `request["do"]` and answers with the request itself, where it comes to that."""
    workspace = request.get("workspace_mib", 0)
    if workspace >= request.get("fails_from_mib", 0):
        DEEDS[request["do"]](request, emit)
    return request


def _nothing(request: dict[str, Any], emit: Tell) -> None:
    emit({"event": "stage", "name": "doing nothing"})
    print("a line on stdout")
    os.write(1, b"one of a library on stdout\n")
    sys.stderr.write("one on stderr\n")
    emit({"event": "progress", "what": "nothing", "done": 3, "of": 3})


def _facts(request: dict[str, Any], emit: Tell) -> None:
    request["oom_score_adj"] = int(Path("/proc/self/oom_score_adj").read_text())
    request["session"] = os.getsid(0) == os.getpid()
    request["path"] = sys.path
    request["env"] = os.environ.get("STAGE_TEST")


def _tell(request: dict[str, Any], emit: Tell) -> None:
    raise getattr(errors, request["kind"])(request["what"], "Do this.")


def _bug(request: dict[str, Any], emit: Tell) -> None:
    raise TypeError("a bug of ours")


def _full_disk(request: dict[str, Any], emit: Tell) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "x.calib")


def _sleep(request: dict[str, Any], emit: Tell) -> None:
    """Tells its own pid and that of a grandchild, and waits. `deaf`: SIGTERM does not end it."""
    if request.get("deaf"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    grandchild = subprocess.Popen(["sleep", "100"])
    emit({"event": "say", "text": f"{os.getpid()} {grandchild.pid}"})
    time.sleep(100)


def _leave_a_child(request: dict[str, Any], emit: Tell) -> None:
    emit({"event": "say", "text": str(subprocess.Popen(["sleep", "100"]).pid)})


def _grow(request: dict[str, Any], emit: Tell) -> None:
    request["grown"] = len(b"x" * (request["mib"] << 20))


def _eat(request: dict[str, Any], emit: Tell) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (1 << 29, 1 << 29))
    request["eaten"] = len(bytearray(1 << 29))


def _eat_at_a_top_level(request: dict[str, Any], emit: Tell) -> None:
    try:
        _eat(request, emit)
    except MemoryError as fault:  # as a library that makes an exception of its own of it
        raise RuntimeError(f"std::bad_alloc: {fault}") from None


def _killed(request: dict[str, Any], emit: Tell) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _nvmap(request: dict[str, Any], emit: Tell) -> None:
    os.write(2, f"{NVMAP}\n".encode())
    raise RuntimeError("CUDA error: unspecified launch failure")


def _nvml(request: dict[str, Any], emit: Tell) -> None:
    raise RuntimeError(NVML)


def _none(request: dict[str, Any], emit: Tell) -> None:
    os.write(2, f"{TACTIC}\n".encode() * 3)
    plan: bytes | None = None
    len(plan)  # type: ignore[arg-type]


def _none_in_words(request: dict[str, Any], emit: Tell) -> None:
    raise errors.BuildError(f"TensorRT built no engine: {TACTIC}", "Look this line up in docs/int8.md.")


def _insufficient_but_a_bug(request: dict[str, Any], emit: Tell) -> None:
    os.write(2, f"{TACTIC}\n".encode() * 3)
    raise KeyError("batch")


def _static_tls(request: dict[str, Any], emit: Tell) -> None:
    raise ImportError("libGLdispatch.so.0: cannot allocate memory in static TLS block")


def _crash_at_the_end(request: dict[str, Any], emit: Tell) -> None:
    import atexit

    atexit.register(os.abort)


def _crash(request: dict[str, Any], emit: Tell) -> None:
    os.write(2, b"[E] Assertion failed in a library\n")
    os.kill(os.getpid(), signal.SIGSEGV)


def _flood(request: dict[str, Any], emit: Tell) -> None:
    for number in range(5000):
        os.write(2, f"line {number}\n".encode())
    os.write(2, b"x" * 300_000)
    raise TypeError("after much ado")


DEEDS: Mapping[str, Callable[[dict[str, Any], Tell], None]] = MappingProxyType(
    {
        name.removeprefix("_"): deed
        for name, deed in list(globals().items())
        if name.startswith("_") and getattr(deed, "__module__", "") == __name__
    }
)

if __name__ == "__main__":
    serve(main)
