"""What all tests share: the folder of real clips and weights, silence of loguru, and the rule on skipping in CI."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from loguru import logger

# In CI everything is installed, so a skip for any other reason is a hole in the suite and fails there.
ALLOWED_SKIPS = ("no GPU", "no camera", "no Python 3.8")


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real clips, weights and labelled images that PILOT_DATA names."""
    folder = os.environ.get("PILOT_DATA")
    if not folder:
        pytest.skip("PILOT_DATA is not set: no real clips and weights")
    return Path(folder).resolve()


@pytest.fixture
def logged() -> Iterator[list[str]]:
    """Every message logged during the test, as `LEVEL message`."""
    lines: list[str] = []
    logger.remove()
    sink = logger.add(lambda text: lines.append(text.rstrip("\n")), format="{level} {message}", level="DEBUG")
    yield lines
    logger.remove(sink)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turns a skip for an unlisted reason into a failure where CI is set."""
    report = yield
    if os.environ.get("CI") and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if not reason.removeprefix("Skipped: ").startswith(ALLOWED_SKIPS):
            report.outcome = "failed"
            report.longrepr = f"skipped in CI for a reason that is not allowed there: {reason}"
    return report
