"""The identity of an engine: does it belong to this machine and this model? Told before it is deserialized."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from perception.backends.tensorrt.engine_file import EngineFile
from perception.backends.tensorrt.sidecar import Sidecar, shown
from perception.core.errors import BackendError
from perception.system.trusted_file import REBUILD

Version = tuple[int, int, int]

# Plans built VERSION_COMPATIBLE run on later releases of the same major version, and across these (built by, run by);
# no other pair is supported. TensorRT 11.4.1, support matrix, "Engine Portability"; the flag came with 8.6.
COMPATIBLE_MAJORS = frozenset({(8, 10), (10, 11)})
FIRST_COMPATIBLE: Version = (8, 6, 0)
MOST_NAME_CHARACTERS = 200
INPUT_DTYPES = ("float32", "float16")
# What ultralytics writes as `quantize` (ultralytics/cfg/__init__.py, QUANTIZE_ALIASES); None is fp32.
QUANTIZE = {8: "int8", 16: "fp16", 32: "fp32", None: "fp32"}


class ForeignEngineError(BackendError):
    """An engine of another TensorRT or another GPU: on this machine it is as good as none."""


@dataclass(frozen=True, slots=True)
class Machine:
    """The machine of an engine. tensorrt_version: of the library that is loaded (getInferLibVersion), which
    the Python bindings need not equal. compute_capability: "8.7". cuda_version: None where unknown.
    """

    tensorrt_version: str
    gpu_name: str
    compute_capability: str
    cuda_version: str | None = None


def version_of_number(number: int) -> str:
    """ "10.3.0" for 100300, "8.6.1" for 8601: what getInferLibVersion gives.

    Up to TensorRT 9 it is 1000 major + 100 minor + patch, from 10 on 10000 major + 100 minor + patch
    (NvInferVersion.h, NV_TENSORRT_VERSION).
    """
    scale = 1000 if number < 10_000 else 10_000
    return f"{number // scale}.{number % scale // 100}.{number % 100}"


def check_identity(engine: EngineFile, machine: Machine) -> tuple[str, ...]:
    """Return the checks that could not be made, a sentence each: one without a sidecar, else none, or one about CUDA.

    Raises BackendError, naming both sides, for an engine of another TensorRT or another GPU.
    """
    sidecar = engine.sidecar
    built_by = sidecar.tensorrt_version if sidecar else engine.plan_version
    if built_by:
        _check_tensorrt(engine, built_by, machine)
    if sidecar is None:
        return (_unchecked(engine),)
    _check_gpu(engine, sidecar, machine)
    return _cuda_warning(engine, sidecar, machine)


def _unchecked(engine: EngineFile) -> str:
    missing = ["which GPU it was built for", "which weights it was built from", "whether the file was changed"]
    if precision_of(engine) == "unknown":
        missing.append("its precision")
    if engine.plan_version is None:
        missing.append("which TensorRT built it")
    listed = f"{', '.join(missing[:-1])} and {missing[-1]}"
    return f"{engine.path} has no sidecar: {listed} could not be checked"


def _check_tensorrt(engine: EngineFile, built_by: str, machine: Machine) -> None:
    built, here = _parsed(built_by), _parsed(machine.tensorrt_version)
    if built == here:
        return
    said = f"{engine.path} was built by TensorRT {built_by}, this device has {machine.tensorrt_version}"
    if engine.sidecar and engine.sidecar.builder.get("version_compatible") is True:
        if _runs_later(built, here):
            return
        said += ", and a version-compatible engine does not reach that far"
    raise ForeignEngineError(said, f"Rebuild it: {REBUILD}")


def _runs_later(built: Version, here: Version) -> bool:
    majors = (built[0], here[0])
    return FIRST_COMPATIBLE <= built < here and (built[0] == here[0] or majors in COMPATIBLE_MAJORS)


def _parsed(version: str) -> Version:
    """major, minor, patch; the build number is left out."""
    found = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", version)
    if not found:
        raise BackendError(f"TensorRT {shown(version)} is no version that can be compared", "Reinstall TensorRT.")
    return int(found[1]), int(found[2]), int(found[3] or 0)


def _check_gpu(engine: EngineFile, sidecar: Sidecar, machine: Machine) -> None:
    """The model of the GPU counts as well as its compute capability: of a plan for another model TensorRT 10.16 says
    that it "is likely to affect performance or even cause errors or deadlock".
    """
    same_capability = sidecar.compute_capability == machine.compute_capability
    if same_capability and _plain(sidecar.gpu_name) == _plain(machine.gpu_name):
        return
    # HardwareCompatibilityLevel of TensorRT: AMPERE_PLUS is for 8.0 and later, built there and run there.
    level = str(sidecar.builder.get("hardware_compatibility", "")).lower()
    capabilities = (_capability(sidecar.compute_capability), _capability(machine.compute_capability))
    if level == "same_compute_capability" and same_capability:
        return
    if level == "ampere_plus" and min(capabilities) >= (8, 0):
        return
    raise ForeignEngineError(
        f"{engine.path} was built for the GPU {sidecar.gpu_name} (compute capability {sidecar.compute_capability}), "
        f"this device has {machine.gpu_name} ({machine.compute_capability})",
        f"Rebuild it: {REBUILD}",
    )


def _plain(gpu_name: str) -> str:
    """The name as it is compared: some drivers put the maker before it, and some do not."""
    return " ".join(gpu_name.split()).casefold().removeprefix("nvidia ")


def _capability(text: str) -> tuple[int, int]:
    major, _, minor = text.partition(".")
    return (int(major), int(minor)) if major.isdecimal() and minor.isdecimal() else (0, 0)


def _cuda_warning(engine: EngineFile, sidecar: Sidecar, machine: Machine) -> tuple[str, ...]:
    built, here = sidecar.cuda_version, machine.cuda_version
    if not built or not here or built.split(".")[0] == here.split(".")[0]:
        return ()
    return (f"{engine.path} was built with CUDA {built}, this device has {here}: rebuild it if it fails ({REBUILD})",)


def check_input(engine: EngineFile, shape: Sequence[int], dtype: str) -> None:
    """Checks the input tensor that TensorRT tells of: `shape` (n, 3, H, W), -1 for a dynamic size; numpy's `dtype`.

    Raises BackendError for one that takes no images, or not those that the sidecar or the header names.
    """
    sizes = tuple(shape)
    if len(sizes) != 4 or sizes[1] not in (3, -1) or any(size != -1 and size < 1 for size in sizes):
        raise BackendError(
            f"{engine.path} takes an input of {_times(sizes)}, not images (n x 3 x height x width)",
            "Give the engine of a detection model.",
        )
    if dtype not in INPUT_DTYPES:
        raise BackendError(
            f"{engine.path} takes an input of {dtype}, not one of {', '.join(INPUT_DTYPES)}", f"Rebuild it: {REBUILD}"
        )
    for source, expected in _expected_shapes(engine):
        if any(size != said and -1 not in (size, said) for size, said in zip(sizes, expected)):
            raise BackendError(
                f"{engine.path} takes an input of {_times(sizes)}, its {source} says {_times(expected)}",
                f"Rebuild it: {REBUILD}",
            )


def _expected_shapes(engine: EngineFile) -> list[tuple[str, tuple[int, ...]]]:
    found = [("sidecar", engine.sidecar.input_shape)] if engine.sidecar else []
    size = engine.metadata.get("imgsz")
    height, width = (size, size) if not isinstance(size, list) or len(size) != 2 else size
    batch, channels = engine.metadata.get("batch"), engine.metadata.get("channels")
    # A header is a stranger's: what in it is no size says nothing.
    header = tuple(_size_or_any(value) for value in (batch, channels, height, width))
    return [*found, ("header", header)]


def _size_or_any(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else -1


def _times(shape: Sequence[int]) -> str:
    return " x ".join("any" if size == -1 else str(size) for size in shape) or "no sizes"


def class_names(engine: EngineFile, settings_names: Sequence[str]) -> dict[int, str]:
    """The classes by id: of the sidecar, else of the header, else of the settings key model.names.

    Raises BackendError where none of them names any.
    """
    if engine.sidecar and engine.sidecar.class_names:
        return dict(engine.sidecar.class_names)
    if found := _header_names(engine.metadata.get("names")):
        return found
    if settings_names:
        return dict(enumerate(settings_names))
    raise BackendError(
        f"{engine.path} does not name its classes", "List them, in the model's order, in the settings key model.names."
    )


def _header_names(names: object) -> dict[int, str]:
    """The names of a header: JSON made texts of the ids. Empty where they cannot be used, all or none."""
    pairs: list[tuple[Any, Any]] = []
    if isinstance(names, dict):
        pairs = list(names.items())
    elif isinstance(names, list):
        pairs = [(str(number), name) for number, name in enumerate(names)]
    found = {
        int(key): name
        for key, name in pairs
        if re.fullmatch(r"[0-9]{1,6}", key)
        and isinstance(name, str)
        and 0 < len(name) <= MOST_NAME_CHARACTERS
        and name.isprintable()
    }
    return dict(sorted(found.items())) if len(found) == len(pairs) else {}


def precision_of(engine: EngineFile) -> str:
    """ "int8", "fp16" or "fp32", as the sidecar or the arguments in the header say; else "unknown"."""
    if engine.sidecar:
        return engine.sidecar.precision
    args = engine.metadata.get("args")
    if not isinstance(args, Mapping):
        return "unknown"
    if args.get("int8") is True:
        return "int8"
    if args.get("half") is True:
        return "fp16"
    if "quantize" in args:
        quantize = args["quantize"]
        return QUANTIZE.get(quantize, "unknown") if quantize is None or type(quantize) is int else "unknown"
    return "fp32" if "int8" in args or "half" in args else "unknown"
