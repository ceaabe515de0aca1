"""Outputs of a run that cannot be written: faults that pass by themselves and faults that a person must mend."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from perception.core.errors import BusyError, SettingsError
from perception.system.writable import check_folder_writable, check_writable

Check = Callable[[str, Path], None]


@pytest.mark.parametrize("check", [check_writable, check_folder_writable])
def test_a_folder_that_is_missing_may_be_mounted_later(check: Check, tmp_path: Path) -> None:
    with pytest.raises(BusyError, match=r"--x .*: the folder .*disk does not exist\. Create it, or mount its disk\."):
        check("--x", tmp_path / "disk" / "out")
    (tmp_path / "disk").mkdir()
    check("--x", tmp_path / "disk" / "out")


@pytest.mark.parametrize("check", [check_writable, check_folder_writable])
@pytest.mark.parametrize(("name", "said"), [("file/out", "is no folder"), ("n" * 300, "cannot be")])
def test_what_only_a_person_mends_is_a_fault_of_the_settings(
    check: Check, name: str, said: str, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match=said):
        check("--x", tmp_path / name)


def test_a_name_too_long_for_a_folder_is_told(tmp_path: Path) -> None:
    for check in (check_writable, check_folder_writable):
        with pytest.raises(SettingsError, match="cannot be written by this user"):
            check("--x", tmp_path / ("n" * 300) / "out")
