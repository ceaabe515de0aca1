"""Examines one package from inside the interpreter that would run the pilot: python -m perception.doctor.probe NAME.

The doctor starts this as a child, because what it imports may crash, hang or print. Standard output gets one JSON
object and nothing else; an import that fails gives {"error": text}. Packages are imported by name, for the doctor
itself must work without any of them.
"""

from __future__ import annotations

import ctypes
import importlib
import importlib.metadata
import importlib.util
import json
import os
import re
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib.machinery import PathFinder
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # this file must also run on Python 3.8, and report how old that is
    Facts = dict[str, Any]

MODULES = (
    *("numpy", "cv2", "onnxruntime", "loguru", "pydantic", "yaml", "typer", "rich"),
    *("starlette", "uvicorn", "prometheus_client", "msgspec", "paho"),
    *("tensorrt", "pycuda", "torch", "ultralytics", "jtop"),
)
PR_SET_PDEATHSIG = 1
"""linux/prctl.h: the signal that this process gets when its parent dies."""
COMPUTE_CAPABILITY_MAJOR = 75
"""CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR of cuda.h; the minor one follows."""


def look_at_python() -> Facts:
    """Return the interpreter, and every copy of the pilot's packages on its path. Imports none of them."""
    copies = {name: _copies(name) for name in MODULES}
    return {
        "version": ".".join(map(str, sys.version_info[:3])),
        "executable": sys.executable,
        "prefix": sys.prefix,
        "in_venv": sys.prefix != sys.base_prefix,
        "sees_system": any(entry.endswith("dist-packages") for entry in sys.path),
        "copies": copies,
        "distributions": _distributions(),
    }


def _copies(name: str) -> list[str]:
    """Return the file of each copy of a package, in the order of the path: the first one hides the rest."""
    found = []
    for entry in dict.fromkeys(sys.path):
        spec = PathFinder.find_spec(name, [entry])
        if spec and spec.origin and spec.origin not in found:
            found.append(spec.origin)
    return found


def _distributions() -> list[list[str]]:
    """Return name, version and place of each, in the order of the path. One that is half removed has no name."""
    found = importlib.metadata.distributions()
    return [[one.metadata["Name"], one.version, str(one.locate_file(""))] for one in found if one.metadata["Name"]]


def look_at_numpy() -> Facts:
    """Return the numpy that `import numpy` gives."""
    return _version_and_file(importlib.import_module("numpy"))


def look_at_cv2() -> Facts:
    """Return OpenCV, and what its build information says of GStreamer."""
    cv2 = importlib.import_module("cv2")
    line = re.search(r"GStreamer:\s*(\S+)", cv2.getBuildInformation())
    return {**_version_and_file(cv2), "gstreamer": bool(line and line.group(1) == "YES")}


def look_at_tensorrt() -> Facts:
    """Return TensorRT, the libnvinfer that it loaded, and its version, which may differ from that of the bindings."""
    tensorrt = importlib.import_module("tensorrt")
    maps = Path("/proc/self/maps").read_text(errors="replace")
    libraries = sorted(set(re.findall(r"(/\S*/libnvinfer\.so\S*)", maps)))
    number = ctypes.CDLL(libraries[0]).getInferLibVersion() if libraries else None
    return {**_version_and_file(tensorrt), "libraries": libraries, "library_number": number}


def look_at_pycuda() -> Facts:
    """Return PyCUDA and the devices that it sees. Makes no context."""
    pycuda, driver = importlib.import_module("pycuda"), importlib.import_module("pycuda.driver")
    driver.init()
    devices = [driver.Device(number).name() for number in range(driver.Device.count())]
    return {"version": str(getattr(pycuda, "VERSION_TEXT", "")), "file": str(pycuda.__file__), "devices": devices}


def look_at_torch() -> Facts:
    """Return torch, the CUDA that it was built for, and if it can use it. Makes no context."""
    torch = importlib.import_module("torch")
    available = bool(torch.cuda.is_available())
    archs = list(torch.cuda.get_arch_list()) if available else []
    return {**_version_and_file(torch), "cuda": torch.version.cuda, "available": available, "archs": archs}


def look_at_cuda(number: int = 0) -> Facts:
    """Return the facts of the CUDA driver through ctypes: its version (1000 * major + 10 * minor), one device.

    Calls cuInit, and makes no context.
    """
    try:
        library = ctypes.CDLL("libcuda.so.1")
    except OSError as fault:
        return {"error": str(fault), "absent": True}
    status = library.cuInit(0)
    version, count = ctypes.c_int(), ctypes.c_int()
    library.cuDriverGetVersion(ctypes.byref(version))
    facts: Facts = {"status": status, "version": version.value, "devices": 0}
    if status == 0 and library.cuDeviceGetCount(ctypes.byref(count)) == 0:
        facts["devices"] = count.value
    if number < count.value:
        name, major, minor = ctypes.create_string_buffer(256), ctypes.c_int(), ctypes.c_int()
        library.cuDeviceGetName(name, 256, number)
        library.cuDeviceGetAttribute(ctypes.byref(major), COMPUTE_CAPABILITY_MAJOR, number)
        library.cuDeviceGetAttribute(ctypes.byref(minor), COMPUTE_CAPABILITY_MAJOR + 1, number)
        facts.update(name=name.value.decode(errors="replace"), compute_capability=f"{major.value}.{minor.value}")
    return facts


def look_at_settings() -> Facts:
    """Return the settings, read by the pilot's own loader; of the source only its kind and device."""
    config = importlib.import_module("perception.settings.model")
    errors = importlib.import_module("perception.core.errors")
    try:
        settings = config.load(Path(sys.argv[2]))
    except errors.PilotError as fault:
        return {"faults": str(fault)}
    uri = str(settings.source.uri).strip()
    camera = re.fullmatch(r"(?:v4l2://)?(?:/dev/video)?(\d+)(?:\?.*)?", uri)
    return {
        "scheme": "v4l2" if camera else uri.partition(":")[0].lower() if ":" in uri else "file",
        "device": f"/dev/video{camera.group(1)}" if camera else None,
        "weights": str(settings.model.weights),
        "engine_dir": str(settings.engine_dir.absolute()),
        "log_dir": str(settings.log_dir.absolute()),
        "log_max_mib": settings.log.max_mib,
        "allow_cpu": settings.allow_cpu,
        "require_engine": settings.engine.require,
    }


def _version_and_file(module: Any) -> Facts:
    return {"version": str(getattr(module, "__version__", "")), "file": str(getattr(module, "__file__", ""))}


LOOKS: dict[str, Callable[[], Facts]] = {
    "python": look_at_python,
    "numpy": look_at_numpy,
    "cv2": look_at_cv2,
    "tensorrt": look_at_tensorrt,
    "pycuda": look_at_pycuda,
    "torch": look_at_torch,
    "cuda": look_at_cuda,
    "settings": look_at_settings,
}


def main() -> None:
    """Print the facts about the package that the first argument names."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # a probe that hangs must not outlive the doctor
    answer = os.dup(1)
    os.dup2(2, 1)  # output of a library must not mix with the facts
    os.nice(10)  # a pilot may be running
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")  # out of memory: kill this child, not the pilot
    try:
        facts = LOOKS[sys.argv[1]]()
    except ModuleNotFoundError as missing:
        facts = {"error": f"{type(missing).__name__}: {missing}", "missing": missing.name}
    except Exception as fault:  # any fault of a foreign package is a result
        facts = {"error": f"{type(fault).__name__}: {fault}"}
    os.write(answer, json.dumps(facts, default=str).encode())
    os._exit(0)  # the end of a half-loaded CUDA library may hang


if __name__ == "__main__":
    main()
