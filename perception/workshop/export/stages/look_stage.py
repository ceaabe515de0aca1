"""The stage that looks for TensorRT and a GPU to build with, in a process that may crash at it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from perception.workshop.progress import Tell


@dataclass(frozen=True, slots=True)
class Builder:
    """TensorRT and the GPU to build with. tensorrt: its version, gpu: its name; None where there is none, and `why`.

    has_calibrator: True if it finds the ranges of INT8 by itself (before TensorRT 11).
    """

    tensorrt: str | None
    has_calibrator: bool
    gpu: str | None
    why: str

    @property
    def can_build(self) -> bool:
        """True if an engine can be built here."""
        return self.tensorrt is not None and self.gpu is not None

    def __str__(self) -> str:
        return f"TensorRT {self.tensorrt}, {self.gpu}" if self.can_build else f"nothing to build with: {self.why}"


def run(request: Mapping[str, Any], tell: Tell) -> dict[str, Any]:
    """Return the fields of a Builder. request: device, the number of the GPU."""
    version, has_calibrator, why = _tensorrt()
    gpu, no_gpu = _gpu(request["device"])
    reasons = "; ".join(reason for reason in (why, no_gpu) if reason)
    return {"tensorrt": version, "has_calibrator": has_calibrator, "gpu": gpu, "why": reasons}


def _tensorrt() -> tuple[str | None, bool, str]:
    from perception.backends.tensorrt.runtime import import_tensorrt, library_version
    from perception.core.errors import BackendError

    try:
        module = import_tensorrt()
        if not hasattr(module, "Builder"):
            return None, False, "this TensorRT runs engines and cannot build them"
        return library_version(module), hasattr(module, "IInt8EntropyCalibrator2"), ""
    except BackendError as fault:
        return None, False, fault.what


def _gpu(number: int) -> tuple[str | None, str]:
    from perception.doctor.probe import look_at_cuda

    facts = look_at_cuda(number)
    name = facts.get("name")
    if isinstance(name, str) and name:
        return name, ""
    if facts.get("absent"):
        return None, "there is no CUDA driver"
    if devices := facts.get("devices"):
        return None, f"there is no GPU {number}, the last one is {devices - 1} (--device)"
    return None, "the CUDA driver finds no GPU"


if __name__ == "__main__":
    from perception.workshop.stage import serve

    serve(run)
