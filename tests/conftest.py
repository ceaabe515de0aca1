"""Fixtures of all tests: the folder of real clips and weights, silence of loguru, and the rules on skipping."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import hypothesis
import pytest
from loguru import logger

from tests import needs, parts

if TYPE_CHECKING:
    from tests.doubles.emulated_gpu import Device

# In CI everything else is installed, so a skip for any other reason is a hole in the suite and fails there.
ALLOWED_SKIPS = ("no GPU", "no camera", f"{needs.SKIPPED}python3.8")

# HYPOTHESIS_PROFILE=fuzz .venv/bin/python -m pytest tests/fuzz
hypothesis.settings.register_profile("ci", deadline=None)
hypothesis.settings.register_profile("fuzz", deadline=None, max_examples=10_000)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parts.add_options(parser)


def pytest_configure(config: pytest.Config) -> None:
    """Restores what every process that a test starts inherits.

    A run in the background ignores signals: `nohup` ignores SIGHUP, a shell that starts a job with `&` SIGINT: no pilot
    would reload, no Ctrl-C end anything.
    """
    if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # Threads of torch that spin take the cores from the other processes of a run.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    config.pluginmanager.register(parts.Parts(config))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skips a test, before its fixtures, where a tool that it needs is missing."""
    if missing := needs.missing_of(item):
        pytest.skip(needs.SKIPPED + ", ".join(missing))


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real clips, weights and labelled images that PILOT_DATA names."""
    return Path(needs.path_of("data")).resolve()


@pytest.fixture
def logged() -> Iterator[list[str]]:
    """Every message logged during the test, as `LEVEL message`."""
    lines: list[str] = []
    logger.remove()
    sink = logger.add(lambda text: lines.append(text.rstrip("\n")), format="{level} {message}", level="DEBUG")
    yield lines
    logger.remove(sink)


@pytest.fixture(scope="session")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """kernels.cu, compiled for this CPU."""
    from tests.doubles.emulation import build_emulator

    return build_emulator(tmp_path_factory.mktemp("emulation"))


@pytest.fixture
def device(emulator: ctypes.CDLL, monkeypatch: pytest.MonkeyPatch) -> Iterator[Device]:
    """The emulated GPU in the place of PyCUDA; a test must leave nothing open on it."""
    from tests.doubles.emulated_gpu import Device
    from tests.doubles.emulated_libcuda import plug_in

    device = Device(emulator)
    plug_in(device, monkeypatch.setattr, lambda name, module: monkeypatch.setitem(sys.modules, name, module))
    yield device
    device.assert_clean()


@pytest.fixture
def tensorrt(device: Device, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The fake TensorRT on the emulated GPU."""
    from tests.doubles.fake_tensorrt import tensorrt_module

    module = tensorrt_module(device)
    monkeypatch.setitem(sys.modules, "tensorrt", module)
    return module


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turns a skip for an unlisted reason into a failure where CI is set."""
    report = yield
    if os.environ.get("CI") and report.skipped and not hasattr(report, "wasxfail"):
        reason = parts.reason_of(report)
        if not reason.startswith(ALLOWED_SKIPS):
            report.outcome = "failed"
            report.longrepr = f"skipped in CI for a reason that is not allowed there: {reason}"
    return report
