"""The probes in real children, on packages made for the test: they print, crash, hang, hide one another."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from perception.doctor.checks.machine import Probe, this_machine
from perception.system.home import ROOT
from perception.system.process import CommandRunner
from tests.needs import path_of

QUICK_S = 60.0


class Packages:
    """Folders of packages on the path of a child."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path: list[str] = []

    def add(self, place: str, module: str, code: str) -> Path:
        """A package `module` with that code, in the folder `place`; earlier places come first on the path."""
        file = self.folder / place / module / "__init__.py"
        file.parent.mkdir(parents=True)
        file.write_text(code)
        if str(self.folder / place) not in self.path:
            self.path.append(str(self.folder / place))
        return file

    def probe(self, name: str, limit_s: float = QUICK_S, config: Path = ROOT / "config" / "pilot.yaml") -> Probe:
        """Return the facts of the probe with these packages on the path."""
        children = CommandRunner(ROOT, {**os.environ, "PYTHONPATH": ":".join(self.path)})
        machine = this_machine(ROOT, config, sys.executable, lambda words, _: children.run(words, limit_s))
        return machine.probe(name)


@pytest.fixture
def packages(tmp_path: Path) -> Packages:
    return Packages(tmp_path)


def test_a_package_that_prints_on_import_does_not_spoil_the_answer(packages: Packages) -> None:
    file = packages.add(
        "a", "torch", "print('banner'); import os; os.write(1, b'noise'); __version__ = '2.5.0'\n" + TORCH
    )

    probe = packages.probe("torch")

    assert (probe.text("version"), probe.text("file")) == ("2.5.0", str(file))
    assert probe.facts["available"] is False


TORCH = """
class cuda:
    is_available = staticmethod(lambda: False)
class version:
    cuda = None
"""


def test_a_package_that_crashes_is_named_with_its_signal(packages: Packages) -> None:
    packages.add("a", "tensorrt", "import ctypes; ctypes.string_at(0)")

    assert packages.probe("tensorrt").fault == "it died of SIGSEGV"


def test_a_package_that_hangs_is_given_up(packages: Packages) -> None:
    packages.add("a", "tensorrt", "import time; time.sleep(600)")

    assert packages.probe("tensorrt", 2.0).fault == "no answer within 2 s"


def test_a_package_that_raises_is_named_with_the_exception(packages: Packages) -> None:
    packages.add("a", "pycuda", "raise OSError('libcurand.so.10: cannot open shared object file')")

    assert packages.probe("pycuda").fault == "OSError: libcurand.so.10: cannot open shared object file"


def test_a_package_that_lacks_another_is_not_missing_itself(packages: Packages) -> None:
    packages.add("a", "pycuda", "import no_such_helper")

    probe = packages.probe("pycuda")

    assert probe.missing == "no_such_helper"
    assert "no_such_helper" in probe.fault


def test_two_opencvs_are_told_in_the_order_in_which_one_hides_the_other(packages: Packages) -> None:
    info = "getBuildInformation = lambda: '  Video I/O:\\n    GStreamer:                   {} (1.20.3)\\n'"
    first = packages.add("pip", "cv2", "__version__ = '4.11.0'\n" + info.format("NO"))
    second = packages.add("dist", "cv2", "__version__ = '4.8.0'\n" + info.format("YES"))

    copies = packages.probe("python").facts["copies"]["cv2"]
    cv2 = packages.probe("cv2")

    assert copies[:2] == [str(first), str(second)]
    assert (cv2.text("version"), cv2.facts["gstreamer"]) == ("4.11.0", False)


def test_opencv_of_this_environment(packages: Packages) -> None:
    probe = packages.probe("cv2")

    assert not probe.fault
    assert isinstance(probe.facts["gstreamer"], bool)


def test_settings_come_through_the_pilots_own_loader(packages: Packages, tmp_path: Path) -> None:
    config = tmp_path / "own.yaml"
    config.write_text("source:\n  uri: 2\nlog:\n  max_mib: 9\n")

    probe = packages.probe("settings", config=config)

    assert (probe.text("scheme"), probe.text("device"), probe.number("log_max_mib")) == ("v4l2", "/dev/video2", 9)


def test_a_scheme_in_capitals_is_the_same_scheme(packages: Packages, tmp_path: Path) -> None:
    config = tmp_path / "own.yaml"
    config.write_text("source:\n  uri: CSI://0\n")

    assert packages.probe("settings", config=config).text("scheme") == "csi"


@pytest.mark.parametrize(
    "text",
    [
        "source:\n  uri: rtsp://me:hunter2@192.0.2.7/x?token=hunter2\n",
        "source:\n  url: rtsp://me:hunter2@192.0.2.7/x\n",
    ],
    ids=["valid", "invalid"],
)
def test_a_password_in_the_settings_is_told_nowhere(text: str, packages: Packages, tmp_path: Path) -> None:
    config = tmp_path / "own.yaml"
    config.write_text(text)

    probe = packages.probe("settings", config=config)

    assert probe.facts
    assert "hunter2" not in repr(probe)


def test_faults_of_the_settings_are_facts(packages: Packages, tmp_path: Path) -> None:
    config = tmp_path / "own.yaml"
    config.write_text("model:\n  conf: 7\n")

    assert "conf" in packages.probe("settings", config=config).text("faults")


LIBCUDA = """
#include <string.h>
extern "C" int cuInit(unsigned) { return 0; }
extern "C" int cuDriverGetVersion(int* version) { *version = 12060; return 0; }
extern "C" int cuDeviceGetCount(int* count) { *count = 2; return 0; }
extern "C" int cuDeviceGetName(char* name, int, int device) { strcpy(name, device ? "Second" : "First"); return 0; }
extern "C" int cuDeviceGetAttribute(int* value, int attribute, int device) {
    *value = attribute == 75 ? 8 + device : 7;
    return 0;
}
"""


@pytest.mark.needs("g++")
@pytest.mark.parametrize(
    ("number", "device"),
    [
        (0, {"name": "First", "compute_capability": "8.7"}),
        (1, {"name": "Second", "compute_capability": "9.7"}),
        (2, {}),
    ],
)
def test_the_driver_is_asked_for_the_device_that_is_named(tmp_path: Path, number: int, device: dict[str, str]) -> None:
    source = tmp_path / "libcuda.cpp"
    source.write_text(LIBCUDA)
    command = [path_of("g++"), "-shared", "-fPIC", "-o", str(tmp_path / "libcuda.so.1"), str(source)]
    subprocess.run(command, check=True, timeout=60)
    code = f"import json; from perception.doctor.probe import look_at_cuda; print(json.dumps(look_at_cuda({number})))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "LD_LIBRARY_PATH": str(tmp_path), "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert json.loads(done.stdout) == {"status": 0, "version": 12060, "devices": 2} | device
