"""The tables in the docs are complete: of findings, each with its meaning and what to do, and of exit codes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from perception.app import cli
from perception.core.errors import (
    AccuracyError,
    BackendError,
    BuildError,
    BusyError,
    ExportMemoryError,
    GpuError,
    PilotError,
    SettingsError,
    SourceError,
)
from perception.doctor.checks.systemd import EXIT_CODES
from perception.system.home import ROOT
from tests.doctor.codes import codes_in_source

PAGE = ROOT / "docs" / "operations.md"
SECTION = "\n## What the doctor finds\n"
README, UNIT = ROOT / "README.md", ROOT / "config" / "vehicle-pilot.service"
RUN = {PilotError: "bug", SettingsError: "settings", SourceError: "source", BackendError: "backend", GpuError: "GPU"}
EXPORT = {
    SettingsError: "arguments",
    BusyError: "another export",
    ExportMemoryError: "memory",
    AccuracyError: "accuracy",
    BuildError: "buil",
}


def test_every_finding_has_one_row_and_every_row_a_finding() -> None:
    section = PAGE.read_text().split(SECTION)[1].split("\n## ")[0]
    rows = re.findall(r"^\| `([^`]+)` \| (.+?) \| (.+?) \|$", section, re.MULTILINE)

    assert sorted(code for code, _, _ in rows) == sorted(codes_in_source())


@pytest.mark.parametrize("page", [README, PAGE])
def test_the_table_of_exit_codes_is_that_of_the_errors(page: Path) -> None:
    section = page.read_text().split("\n### Exit codes\n")[1].split("\n#")[0]
    rows = dict(re.findall(r"^\| (\d+) \| (.+?) \|", section, re.MULTILINE))

    assert {int(code) for code in rows} == {0, *(kind.exit_code for kind in RUN)}
    assert all(word in rows[str(kind.exit_code)] for kind, word in RUN.items())


def test_the_doctor_and_the_help_tell_the_same_exit_codes() -> None:
    told = " ".join(cli.HELP.split("Exit codes: ")[1].split())
    assert re.findall(r"\b\d+\b", told) == ["0", "2", "3", "4", "5", "1"]
    for kind, word in RUN.items():
        assert word in EXIT_CODES[str(kind.exit_code)]
        assert re.search(rf"\b{kind.exit_code}\b[^,;]*{word}", told)


@pytest.mark.parametrize("page", [README, ROOT / "scripts" / "export_int8_engine.py"])
def test_the_exit_codes_of_an_export_are_those_of_the_errors(page: Path) -> None:
    told = " ".join(re.split(r"Exit\s+codes: 0 installed", page.read_text())[1].split(".")[0].split())
    assert re.findall(r"\b\d+\b", told) == [str(kind.exit_code) for kind in EXPORT]
    assert all(re.search(rf"\b{kind.exit_code}\b[^,]*{word}", told) for kind, word in EXPORT.items())


def test_the_unit_leaves_a_pilot_with_wrong_settings_stopped() -> None:
    assert f"\nRestartPreventExitStatus={SettingsError.exit_code}\n" in UNIT.read_text()
