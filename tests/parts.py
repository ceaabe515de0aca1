"""A suite that runs in several parts, on several machines: what one part did not do, another does.

--list-passed=FILE writes which tests passed; --leave-out=FILE leaves those out that FILE lists. The last lines of each
part say what would run the tests that were skipped for want of a tool.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import needs


def add_options(parser: pytest.Parser) -> None:
    """Add both flags."""
    parser.addoption("--list-passed", metavar="FILE", type=Path, help="write the tests that passed to this file")
    parser.addoption("--leave-out", metavar="FILE", type=Path, help="leave out the tests that this file lists")


def reason_of(report: pytest.TestReport) -> str:
    """Return why a test was skipped."""
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return text.removeprefix("Skipped: ")


class Parts:
    """The plugin behind the flags; in each process of a run, of which the first alone writes and tells."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._passed: list[str] = []
        self._skipped: list[str] = []

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Leaves out what --leave-out lists."""
        path: Path | None = config.getoption("--leave-out")
        if path is None:
            return
        listed = set(path.read_text(encoding="utf-8").splitlines())
        config.hook.pytest_deselected(items=[item for item in items if item.nodeid in listed])
        items[:] = [item for item in items if item.nodeid not in listed]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Notes what passed and what was skipped."""
        if report.when == "call" and report.passed:
            self._passed.append(report.nodeid)
        elif report.skipped and not hasattr(report, "wasxfail"):
            self._skipped.append(reason_of(report))

    @pytest.hookimpl(trylast=True)
    def pytest_unconfigure(self) -> None:
        """Writes --list-passed, and says what is missing."""
        reporter = self._config.pluginmanager.get_plugin("terminalreporter")
        if reporter is None or hasattr(self._config, "workerinput"):
            return
        path: Path | None = self._config.getoption("--list-passed")
        if path is not None:
            path.write_text("".join(f"{name}\n" for name in sorted(self._passed)), encoding="utf-8")
        for line in needs.advice(self._skipped):
            reporter.write_line(line)
