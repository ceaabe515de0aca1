"""The tools that tests need beside Python's packages: how each is found, and what brings it.

A test declares them: `@pytest.mark.needs("ffprobe")`, or `pytestmark` for a module; FIXTURES declares them for each
test that uses such a fixture. Where one is missing the test is skipped with its name, and the last lines of the run say
what to install. Nothing else in tests/ looks for a tool.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType

import pytest

from perception.system.home import ROOT

Find = Callable[[], str | None]

SYSTEM_PYTHON = "/usr/bin/python3"
"""Debian's own, which alone sees Debian's Python packages."""
SYSTEM_PATH = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
"""With the programs of the venv, and those of daemons, which are not on everybody's PATH."""
RTSP = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"
ENCODERS = ("x264enc", "h264parse", "mp4mux")
"""The elements of GStreamer that a recording is made with, beside those of its base."""
SKIPPED = "needs "
"""How the reason of such a skip begins."""


@dataclass(frozen=True, slots=True)
class Tool:
    """find: gives its path (or anything true), None where it is missing. What brings it: apt, make, or a sentence."""

    find: Find
    apt: tuple[str, ...] = ()
    make: str = ""
    otherwise: str = ""


def _program(name: str) -> Find:
    return lambda: shutil.which(name, path=SYSTEM_PATH)


def _file(pattern: str) -> Find:
    return lambda: next(map(str, sorted(Path("/").glob(pattern))), None)


def _module(name: str) -> Find:
    return lambda: name if importlib.util.find_spec(name) else None


def _rtsp_server() -> str | None:
    return SYSTEM_PYTHON if _succeeds(SYSTEM_PYTHON, "-c", RTSP) and _has_elements("x264enc", "rtph264pay") else None


def _gstreamer() -> str | None:
    return shutil.which("gst-launch-1.0") if _has_elements(*ENCODERS) else None


def _has_elements(*names: str) -> bool:
    return all(_succeeds("gst-inspect-1.0", "--exists", name) for name in names)


def _succeeds(*command: str) -> bool:
    try:
        return subprocess.run(command, capture_output=True, timeout=60).returncode == 0
    except OSError:
        return False


def _localhost() -> str | None:
    try:
        return str(socket.getaddrinfo("localhost", None)[0][4][0])
    except OSError:
        return None


def _system_venv() -> str | None:
    python = ROOT / ".venv-system" / "bin" / "python"
    return str(python) if python.exists() else None


def _python38() -> str | None:
    pyenv = sorted(Path.home().glob(".pyenv/versions/3.8.*/bin/python3.8"))
    return str(pyenv[0]) if pyenv else shutil.which("python3.8")


def _bindings(folder: str) -> Find:
    return lambda: folder if (ROOT / folder / ".ready").exists() else None


GSTREAMER = ("gstreamer1.0-tools", "gstreamer1.0-plugins-good", "gstreamer1.0-plugins-bad", "gstreamer1.0-plugins-ugly")

TOOLS: Mapping[str, Tool] = MappingProxyType(
    {
        "chromium": Tool(_program("chromium"), ("chromium",)),
        "faketime": Tool(_file("usr/lib/*/faketime/libfaketimeMT.so.1"), ("faketime",)),
        "ffmpeg": Tool(_program("ffmpeg"), ("ffmpeg",)),
        "ffprobe": Tool(_program("ffprobe"), ("ffmpeg",)),
        "g++": Tool(_program("g++"), ("g++",)),
        "gst-launch-1.0": Tool(_gstreamer, GSTREAMER),
        "gst-inspect-1.0": Tool(_program("gst-inspect-1.0"), GSTREAMER),
        "journalctl": Tool(_program("journalctl"), ("systemd",)),
        "localhost": Tool(_localhost, otherwise="a line for localhost in /etc/hosts"),
        "mosquitto": Tool(_program("mosquitto"), ("mosquitto",)),
        "mosquitto_passwd": Tool(_program("mosquitto_passwd"), ("mosquitto",)),
        "mount": Tool(_program("mount"), ("mount",)),
        "umount": Tool(_program("umount"), ("mount",)),
        "openssl": Tool(_program("openssl"), ("openssl",)),
        "prometheus": Tool(_program("prometheus"), ("prometheus",)),
        "promtool": Tool(_program("promtool"), ("prometheus",)),
        "rtsp-server": Tool(
            _rtsp_server, ("python3-gi", "gir1.2-gst-rtsp-server-1.0", "gstreamer1.0-libav", *GSTREAMER)
        ),
        "systemd-analyze": Tool(_program("systemd-analyze"), ("systemd",)),
        "systemd-journal-remote": Tool(_file("lib/systemd/systemd-journal-remote"), ("systemd-journal-remote",)),
        "system-venv": Tool(
            _system_venv,
            ("python3-opencv", "python3-venv", "gstreamer1.0-plugins-bad", "gstreamer1.0-libav"),
            make=".venv-system/.ready",
        ),
        "tensorrt-10": Tool(_bindings(".venv-trt10"), make=".venv-trt10/.ready"),
        "tensorrt-11": Tool(_bindings(".venv-trt11"), make=".venv-trt11/.ready"),
        "torch": Tool(_module("ultralytics"), otherwise="the packages of requirements-torch.txt"),
        "data": Tool(lambda: os.environ.get("PILOT_DATA"), otherwise="PILOT_DATA=FOLDER, of clips and weights"),
        "python3": Tool(lambda: SYSTEM_PYTHON if Path(SYSTEM_PYTHON).exists() else None, ("python3",)),
        "python3.8": Tool(_python38, otherwise="a Python 3.8"),
    }
)

FIXTURES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "open_broker": ("mosquitto",),
        "browser": ("chromium",),
        "data": ("data",),
        "emulator": ("g++",),
        "journal": ("journalctl", "systemd-journal-remote"),
        "prometheus": ("prometheus",),
        "python_3_8": ("python3.8",),
        "rtsp": ("rtsp-server",),
    }
)
"""What a fixture needs, so that no test that uses it can forget to say so."""


@cache
def _found(name: str) -> str | None:
    return TOOLS[name].find()


def path_of(name: str) -> str:
    """Return the path of a tool that the test has declared."""
    found = _found(name)
    assert found, f"{name} is not here: mark the test with needs({name!r})"
    return found


def missing_of(item: pytest.Item) -> list[str]:
    """Return the tools that a test needs, by its marks and its fixtures, and that are not on this machine."""
    fixtures = getattr(item, "fixturenames", ())
    named = [name for mark in item.iter_markers("needs") for name in mark.args]
    named += [name for fixture in fixtures for name in FIXTURES.get(fixture, ())]
    unknown = [name for name in named if name not in TOOLS]
    if unknown:
        raise pytest.UsageError(f"{item.nodeid} needs {unknown[0]!r}, which tests/needs.py does not know")
    return [name for name in dict.fromkeys(named) if not _found(name)]


def advice(reasons: Iterable[str]) -> list[str]:
    """Return the lines that say how the tests that were skipped for want of a tool would run, none where none was.

    reasons: of all skips.
    """
    lacking = [reason.removeprefix(SKIPPED).split(", ") for reason in reasons if reason.startswith(SKIPPED)]
    tools = [TOOLS[name] for name in sorted({name for names in lacking for name in names})]
    packages = sorted({package for tool in tools for package in tool.apt})
    lines = [f"Skipped for want of a tool: {len(lacking)}. With these they run, too:"] if lacking else []
    if packages:
        lines.append(f"sudo apt-get install --no-install-recommends {' '.join(packages)}")
    if targets := sorted({tool.make for tool in tools if tool.make}):
        lines.append(f"make {' '.join(targets)}")
    if others := sorted({tool.otherwise for tool in tools if tool.otherwise}):
        lines.append(f"And: {'; '.join(others)}.")
    return lines
