"""The interpreter and its packages: the right one, none missing, none hiding a better one, versions that fit."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

from perception.doctor.checks.lockfile import normal, pinned
from perception.doctor.checks.machine import Machine, Probe, read_file
from perception.doctor.finding import Finding, no_answer, ok, problem, unknown, warning
from perception.system.process import NO_ANSWER

NEEDED = ("numpy", "cv2", "onnxruntime", "loguru", "pydantic", "yaml", "typer", "rich")
"""The modules that pilot.py imports, as requirements.txt has them. onnxruntime serves on the CPU alone."""
ASKED_FOR: Mapping[str, str] = MappingProxyType(
    {
        "starlette": "web.bind",
        "uvicorn": "web.bind",
        "prometheus_client": "web.bind",
        "paho": "mqtt.host",
        "msgspec": "scripts/latency_report.py",
    }
)
"""Modules imported only when a setting or a command asks for them, with its name."""
DIFFERENCES = 4
"""Packages that a finding names at most."""
OPENCV_WHEEL = re.compile(r"(?i)opencv[-_](contrib[-_])?python([-_]headless)?")


def interpreter(machine: Machine) -> Iterator[Finding]:
    """Report the Python that was examined; the service runs the venv beside pilot.py."""
    probe = machine.probe("python")
    if probe.why.startswith(NO_ANSWER):
        yield no_answer(machine.python, probe.why)
        return
    if probe.fault:
        cure = "Name the pilot's Python: python3 scripts/doctor.py --python .venv/bin/python"
        yield problem("python-broken", f"{machine.python} does not run: {probe.fault}", cure)
        return
    version = probe.text("version")
    numbers = tuple(int(part) for part in re.findall(r"\d{1,4}", version)[:2])
    if numbers < (3, 10):
        yield problem("python-old", f"{machine.python} is Python {version}", "Use Python 3.10 to 3.13 (JetPack 6 or 7)")
        return
    venv = machine.project / ".venv" / "bin" / "python"
    if os.path.lexists(venv) and not machine.is_same_python(venv):
        yield warning(
            "python-not-the-venv",
            f"looked at {machine.python} (Python {version}), though {venv} is there",
            f"{venv} scripts/doctor.py",
        )
        return
    if machine.is_jetson and probe.facts.get("in_venv") is True and probe.facts.get("sees_system") is not True:
        yield problem(
            "python-venv-closed",
            f"{machine.python} is a venv that does not see JetPack's OpenCV and TensorRT",
            "python3 -m venv --system-site-packages --clear .venv, then install requirements-jetson.lock",
        )
        return
    paths = [name for name in ("PYTHONPATH", "LD_LIBRARY_PATH") if machine.environment.get(name)]
    note = f"; {' and '.join(paths)} set in this shell, which a service does not see" if paths else ""
    yield ok(f"Python {version}, {machine.python}{note}")


def packages(machine: Machine) -> Iterator[Finding]:
    """Check that the pilot's packages are there, in the versions of the lock file."""
    probe = machine.probe("python")
    copies = probe.facts.get("copies")
    if not isinstance(copies, dict):
        yield unknown(f"{machine.python} did not tell its packages: {probe.fault or 'no list'}")
        return
    missing = [name for name in NEEDED if not copies.get(name)]
    file = "requirements-jetson.lock" if machine.is_jetson else "requirements.lock"
    install = f"{machine.python} -m pip install --require-hashes -r {file}"
    if missing:
        cure = (
            f"sudo apt-get install python3-opencv && {install}" if machine.is_jetson and "cv2" in missing else install
        )
        yield problem("packages-missing", f"{machine.python} lacks {', '.join(missing)}", cure)
        return
    asked_for = [f"{name} ({by})" for name, by in ASKED_FOR.items() if not copies.get(name)]
    if asked_for:
        yield warning("packages-optional", f"{machine.python} lacks {', '.join(asked_for)}", install)
    other = _not_as_locked(machine, machine.project / file)
    if other is None:
        yield unknown(f"{file} cannot be read: versions are not compared", f"git checkout {file}")
    elif other:
        more = f" and {len(other) - DIFFERENCES} more" if len(other) > DIFFERENCES else ""
        found = f"other versions than {file} has: {', '.join(other[:DIFFERENCES])}{more}"
        yield warning("packages-unlocked", found, install)
    elif not asked_for:
        yield ok(f"all {len(NEEDED) + len(ASKED_FOR)} of the pilot, in the versions of {file}")


def _not_as_locked(machine: Machine, lock: Path) -> list[str] | None:
    """Return what differs from the lock file, a text each; None where that cannot be read."""
    text = read_file(lock)
    if text is None:
        return None
    versions = pinned(text, machine.probe("python").text("version"))
    first: dict[str, str] = {}
    for name, version in _distributions(machine):  # in the order of the path: the first one hides the rest
        first.setdefault(normal(name), version)
    differing = sorted(name for name in versions.keys() & first.keys() if versions[name] != first[name])
    return [f"{name} {first[name]} (locked: {versions[name]})" for name in differing]


def opencv(machine: Machine) -> Iterator[Finding]:
    """Check the OpenCV that `import cv2` gives: GStreamer (CSI cameras need it), and the copies that it hides."""
    probe = machine.probe("cv2")
    if not probe.ended:
        yield no_answer("import cv2", probe.why)
        return
    if probe.missing == "cv2":
        yield unknown("not installed", "See the line on packages")
        return
    if probe.fault:
        yield _broken_opencv(machine, probe)
        return
    name = f"OpenCV {probe.text('version')}, {probe.text('file')}"
    wanted = machine.is_jetson or machine.settings().text("scheme") == "gst"
    if probe.facts.get("gstreamer") is True:
        yield ok(f"{name}, with GStreamer")
    elif wanted:
        yield problem(
            "opencv-no-gstreamer", f"{name}, has no GStreamer: csi:// and gst: cannot open", _own_opencv(machine)
        )
    else:
        yield ok(f"{name}, without GStreamer (only csi:// and gst: need it)")
    yield from _opencv_copies(machine)


def _broken_opencv(machine: Machine, probe: Probe) -> Finding:
    text = f"`import cv2` fails: {probe.fault}"
    numpy = machine.probe("numpy")
    if re.search(r"(?i)numpy|multiarray|_ARRAY_API", probe.fault):
        found = f"{text} (numpy is {numpy.text('version') or 'unknown'}; JetPack's and Debian's OpenCV need numpy 1)"
        return problem("opencv-numpy-2", found, f"{machine.python} -m pip install 'numpy<2'")
    if "static TLS" in probe.fault:
        library = re.search(r"(/?[\w./+-]+\.so[\w.]*)", probe.fault)
        return problem("opencv-static-tls", text, f"export LD_PRELOAD={library[1] if library else 'the library named'}")
    if "libGL" in probe.fault:
        return problem("opencv-libgl", text, "sudo apt-get install libgl1")
    return problem("opencv-broken", text, _own_opencv(machine))


def _own_opencv(machine: Machine) -> str:
    wheels = [name for name, _ in _distributions(machine) if OPENCV_WHEEL.fullmatch(name)]
    if wheels:
        return f"{machine.python} -m pip uninstall -y {' '.join(wheels)} && sudo apt-get install python3-opencv"
    return "sudo apt-get install --reinstall python3-opencv   (JetPack: libopencv-python)"


def _opencv_copies(machine: Machine) -> Iterator[Finding]:
    copies = machine.probe("python").facts.get("copies")
    files = Probe(copies).texts("cv2") if isinstance(copies, dict) else []
    wheels = [name for name, _ in _distributions(machine) if OPENCV_WHEEL.fullmatch(name)]
    if len(wheels) > 1:
        cure = f"{machine.python} -m pip uninstall -y {' '.join(wheels)}, then install one of them"
        yield problem("opencv-wheels", f"{' and '.join(wheels)} overwrite one another's files", cure)
    elif len(files) > 1:
        cure = _own_opencv(machine) if machine.is_jetson else f"{machine.python} -m pip list | grep -i opencv"
        yield warning("opencv-copies", f"{files[0]} hides {', '.join(files[1:])}", cure)


def numpy(machine: Machine) -> Iterator[Finding]:
    """Check that numpy suits TensorRT 8.5 and an OpenCV built for numpy 1."""
    probe = machine.probe("numpy")
    if not probe.ended:
        yield no_answer("import numpy", probe.why)
        return
    if probe.missing == "numpy":
        yield unknown("not installed", "See the line on packages")
        return
    if probe.fault:
        yield problem(
            "numpy-broken", f"`import numpy` fails: {probe.fault}", f"{machine.python} -m pip install 'numpy<2'"
        )
        return
    version, tensorrt = probe.text("version"), machine.probe("tensorrt").text("version")
    numbers = tuple(int(part) for part in re.findall(r"\d{1,6}", version)[:2])
    name = f"numpy {version}, {probe.text('file')}"
    if tensorrt.startswith("8.5.") and numbers >= (1, 24):
        cure = f"{machine.python} -m pip install 'numpy<1.24'"
        yield warning("numpy-tensorrt-8.5", f"{name}: TensorRT {tensorrt} uses numpy.bool, which 1.24 removed", cure)
    elif machine.is_jetson and numbers >= (2,) and _is_system(machine.probe("cv2").text("file")):
        cure = f"{machine.python} -m pip install 'numpy<2'"
        yield warning("numpy-2", f"{name}: numpy 2 beside an OpenCV of the system, built for numpy 1", cure)
    else:
        yield ok(name)


def _is_system(file: str) -> bool:
    return "dist-packages" in Path(file).parts


def _distributions(machine: Machine) -> list[tuple[str, str]]:
    """Return (name, version) of the installed distributions that the probe listed."""
    rows = machine.probe("python").facts.get("distributions")
    pairs = [row[:2] for row in rows if isinstance(row, list) and len(row) > 1] if isinstance(rows, list) else []
    return [(str(name), str(version)) for name, version in pairs]
