"""The unit file, as systemd's own tools judge it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from perception.system.home import ROOT
from tests.journeys.service.checkout import INSTALLER, make_checkout
from tests.needs import path_of

UNIT = ROOT / "config" / "vehicle-pilot.service"
MOST_EXPOSED = 2.0
"""Of 10. Below 2.5 systemd calls it OK."""


def settings_of(unit: str) -> dict[str, list[str]]:
    """The values of each key, in order."""
    found: dict[str, list[str]] = {}
    for line in unit.splitlines():
        if re.match(r"[A-Z]\w+=", line):
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


@pytest.fixture(params=["plain", "with a space and 100%"])
def rendered(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The unit as it would be installed for a checkout in a folder of that name."""
    folder = make_checkout(tmp_path / request.param)
    done = subprocess.run([INSTALLER, "--dry-run", "--dir", folder], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    path = tmp_path / "vehicle-pilot.service"
    path.write_text(done.stdout)
    return path


@pytest.mark.needs("systemd-analyze")
def test_systemd_finds_nothing_to_say_about_it(rendered: Path) -> None:
    done = subprocess.run([path_of("systemd-analyze"), "verify", "--man=no", rendered], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.needs("systemd-analyze")
def test_systemd_rates_its_exposure_as_low(rendered: Path) -> None:
    command = [path_of("systemd-analyze"), "security", "--offline=true", "--no-pager", str(rendered)]
    done = subprocess.run(command, capture_output=True, text=True)
    rating = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    assert rating, done.stderr
    assert float(rating[1]) <= MOST_EXPOSED


def test_the_rating_is_not_bought_with_what_breaks_cuda_cameras_or_meminfo() -> None:
    keys = settings_of(UNIT.read_text())
    assert not keys.keys() & {
        "MemoryDenyWriteExecute",
        "PrivateDevices",
        "PrivateUsers",
        "ProcSubset",
        "PrivateTmp",  # the socket of Argus lies in /tmp
        "PrivateNetwork",
        "RestartSteps",  # systemd 254; JetPack 6 has 249
    }


def test_it_comes_back_from_everything_but_settings_that_are_wrong() -> None:
    text = UNIT.read_text()
    keys = settings_of(text)
    assert keys["Type"] == ["notify"]
    assert keys["NotifyAccess"] == ["main"]
    assert keys["Restart"] == ["on-failure"]
    assert keys["RestartPreventExitStatus"] == ["2"]
    assert keys["StartLimitIntervalSec"] == ["0"]
    assert text.index("StartLimitIntervalSec") < text.index("[Service]")
    assert float(keys["WatchdogSec"][0]) >= 10  # many beats
    assert keys["LimitCORE"] == ["0"]  # a core would hold the password of the camera
    assert "--wait" in keys["ExecStart"][0].split()
    assert keys["User"] == ["vehicle-pilot"]
    assert "nvargus-daemon.service" in keys["After"][0] + keys["Wants"][0]


def test_it_is_rendered_for_another_folder_without_another_change(tmp_path: Path) -> None:
    folder = make_checkout(tmp_path / "plain")
    done = subprocess.run([INSTALLER, "--dry-run", "--dir", folder], capture_output=True, text=True)
    back = done.stdout.replace(str(folder), "/opt/vehicle-pilot")
    groups = re.compile("^SupplementaryGroups=.*$", re.MULTILINE)  # those that this machine has
    assert groups.sub("", back) == groups.sub("", UNIT.read_text())
