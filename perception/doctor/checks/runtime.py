"""Packages for inference: TensorRT, CUDA, nvcc, PyCUDA, torch. Each is tried in a child of the pilot's interpreter."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from perception.doctor.checks.jetpack import dla_cure
from perception.doctor.checks.machine import Machine, Probe
from perception.doctor.finding import Finding, no_answer, ok, problem, unknown, warning

ORIN_ARCH = "sm_87"
"""Compute capability 8.7, which a torch for Orin must have been built for."""

JETPACK_7 = (37, 0, 0)
FIRST_WITH_11 = (39, 2, 2)
"""TensorRT 11.4.1, migration guide from 10 to 11 on Jetson: JetPack 7.2.2 or later; JetPack 6 stays with 10."""
NO_DEVICE = 100
"""CUDA_ERROR_NO_DEVICE."""


def tensorrt(machine: Machine) -> Iterator[Finding]:
    """Check the TensorRT that `import tensorrt` gives: its place, if it fits the board, and copies that it hides."""
    probe = machine.probe("tensorrt")
    if not probe.ended:
        yield no_answer("import tensorrt", probe.why)
        return
    if probe.missing == "tensorrt":
        yield from _no_tensorrt(machine)
        return
    if probe.fault:
        text = f"`import tensorrt` fails in {machine.python}: {probe.fault}"
        yield problem("tensorrt-broken", text, _broken_cure(machine, probe))
        return
    version, file = probe.text("version"), probe.text("file")
    release, major = machine.l4t, _major(version)
    is_11 = major is not None and major >= 11
    back = f"{machine.python} -m pip uninstall -y tensorrt tensorrt-cu12 tensorrt-cu13   (JetPack's own stays)"
    if is_11 and release and release < JETPACK_7:
        found = f"TensorRT {version} ({file}) on JetPack 6, which goes up to TensorRT 10"
        yield problem("tensorrt-11-on-jetpack-6", found, back)
    elif is_11 and release and release < FIRST_WITH_11:
        found = f"TensorRT {version} ({file}): JetPack takes TensorRT 11 from 7.2.2 on"
        yield warning("tensorrt-11-early", found, back)
    else:
        libraries = ", ".join(probe.texts("libraries")[:1])
        yield ok(f"TensorRT {version}, {file}" + (f", with {libraries}" if libraries else ""))
    yield from _tensorrt_copies(machine, file)


def _no_tensorrt(machine: Machine) -> Iterator[Finding]:
    if not machine.is_jetson:
        yield ok("not installed: engines are built and served on the Jetson")
        return
    seen = [name for name in machine.packages if name.startswith(("python3-libnvinfer", "tensorrt"))]
    if seen:
        yield problem(
            "tensorrt-hidden",
            f"{machine.python} does not see TensorRT, though {sorted(seen)[0]} is installed",
            "Make the venv anew, with the system's packages: python3 -m venv --system-site-packages .venv",
        )
    else:
        yield problem(
            "tensorrt-missing",
            "no TensorRT is installed: no engine can serve",
            "sudo apt-get install nvidia-jetpack   (or python3-libnvinfer alone)",
        )


def _broken_cure(machine: Machine, probe: Probe) -> str:
    if "libnvdla_compiler" in probe.fault:
        return dla_cure(machine)
    return "pip uninstall tensorrt   (copies of pip), then sudo apt-get install --reinstall python3-libnvinfer"


def _tensorrt_copies(machine: Machine, file: str) -> Iterator[Finding]:
    copies = _copies(machine, "tensorrt")
    if len(copies) > 1:
        others = ", ".join(copy for copy in copies if copy != file) or copies[1]
        yield warning(
            "tensorrt-copies",
            f"{len(copies)} copies of TensorRT: {copies[0]} hides {others}",
            "Keep JetPack's own (in dist-packages): pip uninstall tensorrt, in the venv and with --user",
        )


def cuda(machine: Machine) -> Iterator[Finding]:
    """Check that the CUDA driver answers, and that the toolkit of /usr/local/cuda fits it."""
    probe = machine.probe("cuda")
    if not probe.ended:
        yield no_answer("cuInit", probe.why)
        return
    if probe.facts.get("absent") is True and not machine.is_jetson:
        yield ok("no CUDA driver: no NVIDIA GPU can serve here")
        return
    if probe.fault:
        yield problem("cuda-driver", f"the CUDA driver does not load: {probe.fault}", _driver_cure(machine))
        return
    status, version, devices = (probe.number(key) for key in ("status", "version", "devices"))
    if status is None or version is None:
        yield unknown("the CUDA driver gave no version")
        return
    if status == NO_DEVICE and not machine.is_jetson:
        yield ok("a CUDA driver without a GPU: none can serve here")
        return
    if status != 0 or not devices:
        yield problem("cuda-no-device", f"cuInit gives {status}, {devices or 0} devices", _driver_cure(machine))
        return
    driver = f"{version // 1000}.{version % 1000 // 10}"
    toolkit = _toolkit(machine)
    gpu = f"{probe.text('name')} ({probe.text('compute_capability')})"
    yield ok(f"{gpu}, driver for CUDA {driver}, " + (f"toolkit {toolkit}" if toolkit else "no toolkit"))


def _driver_cure(machine: Machine) -> str:
    if machine.is_jetson:
        return "See the line on groups; else sudo reboot, then sudo apt-get install --reinstall nvidia-l4t-cuda"
    return "nvidia-smi   (tells what is wrong with the driver)"


def _toolkit(machine: Machine) -> str:
    """Return the version of /usr/local/cuda, from its version.json; empty where there is none."""
    try:
        version = json.loads(machine.read("usr/local/cuda/version.json") or "")["cuda"]["version"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
    return version if isinstance(version, str) else ""


def nvcc(machine: Machine) -> Iterator[Finding]:
    """Check that nvcc is on the PATH: pip compiles PyCUDA with it."""
    folders = machine.environment.get("PATH", "").split(":")
    found = next((folder for folder in folders if folder and machine.exists(f"{folder}/nvcc")), None)
    if found:
        yield ok(f"{PurePosixPath(found) / 'nvcc'}")
    elif not machine.probe("pycuda").fault:
        yield ok("not on the PATH, and not needed: PyCUDA is installed")
    elif machine.exists("usr/local/cuda/bin/nvcc"):
        yield warning(
            "nvcc-not-on-path",
            "/usr/local/cuda/bin/nvcc is not on the PATH: PyCUDA cannot be installed",
            "export PATH=/usr/local/cuda/bin:$PATH",
        )
    else:
        cure = f"sudo apt-get install cuda-nvcc-{_cuda_number(machine)}   (or nvidia-jetpack)"
        yield warning("nvcc-missing", "no nvcc in the PATH or /usr/local/cuda/bin: PyCUDA cannot be installed", cure)


def _cuda_number(machine: Machine) -> str:
    """Return the version of CUDA as in its package names, such as 12-6: the installed one, else that of the release."""
    here = (re.fullmatch(r"cuda-(?:cudart|runtime|toolkit|libraries|compat)-(\d{1,3})-(\d{1,3})", name)
            for name in machine.packages)  # fmt: skip
    found = [(int(match[1]), int(match[2])) for match in here if match]
    if found:
        return "{}-{}".format(*max(found))
    if machine.l4t is None:
        return "NUMBER"
    return "13-0" if machine.l4t >= (38, 0, 0) else "12-6" if machine.l4t >= (36, 4, 0) else "12-2"


def pycuda(machine: Machine) -> Iterator[Finding]:
    """Check that PyCUDA loads and sees the GPU."""
    probe = machine.probe("pycuda")
    if not probe.ended:
        yield no_answer("import pycuda.driver", probe.why)
        return
    install = f"export PATH=/usr/local/cuda/bin:$PATH; {machine.python} -m pip install pycuda"
    if probe.missing == "pycuda":
        if machine.is_jetson:
            yield problem("pycuda-missing", "not installed: no engine can serve", install)
        else:
            yield ok("not installed: needed for engines alone")
    elif probe.fault:
        cure = f"{machine.python} -m pip install --force-reinstall --no-binary pycuda pycuda"
        yield problem("pycuda-broken", f"`import pycuda.driver` fails: {probe.fault}", cure)
    else:
        yield ok(f"PyCUDA {probe.text('version')} sees {', '.join(probe.texts('devices')) or 'no device'}")


def torch(machine: Machine) -> Iterator[Finding]:
    """Check torch, needed only for .pt weights; on a Jetson one from PyPI replaces NVIDIA's and has no CUDA."""
    probe = machine.probe("torch")
    if not probe.ended:
        yield no_answer("import torch", probe.why)
        return
    if probe.missing == "torch":
        yield ok("not installed: needed for .pt weights alone")
        return
    if probe.fault:
        yield warning("torch-broken", f"`import torch` fails: {probe.fault}", _torch_cure(machine))
        return
    name = f"torch {probe.text('version')}, {probe.text('file')}"
    if probe.facts.get("available") is True:
        archs = probe.texts("archs")
        if machine.is_jetson and archs and ORIN_ARCH not in archs and "Orin" in _model(machine):
            built = f"{name} is built for {', '.join(archs)}, not for {ORIN_ARCH}"
            yield warning("torch-arch", built, _torch_cure(machine))
        else:
            yield ok(f"{name}, CUDA {probe.text('cuda')}")
    elif machine.is_jetson:
        yield warning(
            "torch-no-cuda", f"{name} cannot use CUDA: .pt weights would run on the CPU", _torch_cure(machine)
        )
    else:
        yield ok(f"{name}, on the CPU")
    copies = _copies(machine, "torch")
    if len(copies) > 1:
        cure = f"{machine.python} -m pip uninstall torch   (removes the first one)"
        yield warning("torch-copies", f"{copies[0]} hides {', '.join(copies[1:])}", cure)


def _torch_cure(machine: Machine) -> str:
    if machine.is_jetson:
        return "Install NVIDIA's torch for this JetPack last, with pip install --no-deps; engines need no torch"
    return f"{machine.python} -m pip install -r requirements-torch.txt"


def _model(machine: Machine) -> str:
    return machine.read("proc/device-tree/model") or ""


def _copies(machine: Machine, module: str) -> list[str]:
    """Return the files of all copies of a package on the interpreter's path, the one in use first."""
    copies = machine.probe("python").facts.get("copies")
    return Probe(copies).texts(module) if isinstance(copies, dict) else []


def _major(version: str) -> int | None:
    match = re.match(r"(\d{1,4})\.", version)
    return int(match[1]) if match else None
