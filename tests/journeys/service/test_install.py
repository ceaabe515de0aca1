"""scripts/install_service.sh, staged below a folder, and as somebody who may not install meets it."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import yaml

from perception.camera.uri import FORMS, parse
from perception.core.errors import SourceError
from perception.settings.model import load
from tests import strangers
from tests.journeys.service.checkout import INSTALLER, make_checkout
from tests.needs import path_of

UNIT = "etc/systemd/system/vehicle-pilot.service"
SETTINGS = "etc/vehicle-pilot/pilot.yaml"
AWKWARD = "rtsp://ad\"min\\:p%40ss #1$HOME`id`{x}@h/1?a=%d&b='2'"

Done = subprocess.CompletedProcess[str]


class Installer:
    """Runs the installer with DESTDIR, so that nothing of this machine is touched."""

    def __init__(self, folder: Path, stage: Path) -> None:
        self.folder = folder
        self.stage = stage

    def run(self, *arguments: str, said: str = "", here: Path | None = None) -> Done:
        return subprocess.run(
            [INSTALLER, "--dir", self.folder, *arguments],
            env={**os.environ, "DESTDIR": str(self.stage)},
            cwd=here or self.stage,
            input=said,
            capture_output=True,
            text=True,
        )

    def files(self) -> dict[str, str]:
        found = (path for path in self.stage.rglob("*") if path.is_file())
        return {str(path.relative_to(self.stage)): path.read_text() for path in found}


@pytest.fixture
def installer(tmp_path: Path) -> Installer:
    (tmp_path / "stage").mkdir()
    return Installer(make_checkout(tmp_path / "pilot"), tmp_path / "stage")


def test_it_is_clean_to_shellcheck() -> None:
    shellcheck = Path(sys.executable).with_name("shellcheck")  # of the venv, as requirements-dev.txt has it
    done = subprocess.run([shellcheck, "--severity=style", INSTALLER], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_it_installs_a_unit_for_all_to_read_and_settings_for_the_service_alone(installer: Installer) -> None:
    done = installer.run()
    assert done.returncode == 0, done.stderr
    assert set(installer.files()) == {UNIT, SETTINGS}
    modes = [stat.S_IMODE((installer.stage / name).stat().st_mode) for name in (UNIT, SETTINGS)]
    assert modes == [0o644, 0o640]
    settings = load(installer.stage / SETTINGS)
    shipped = load(installer.folder / "config" / "pilot.yaml")
    assert settings.log_dir == Path("/var/log/vehicle-pilot")
    assert settings.model_copy(update={"log": shipped.log}) == shipped


def test_the_settings_of_the_checkouts_own_user_go_before_the_shipped_ones(installer: Installer) -> None:
    shipped = (installer.folder / "config" / "pilot.yaml").read_text()
    (installer.folder / "config" / "local.yaml").write_text(shipped.replace("conf: 0.25 ", "conf: 0.5 "))
    assert installer.run("--source", "csi://1").returncode == 0
    settings = load(installer.stage / SETTINGS)
    assert (settings.model.conf, settings.source.uri, settings.log_dir) == (
        0.5,
        "csi://1",
        Path("/var/log/vehicle-pilot"),
    )


@pytest.mark.parametrize(
    "source", ["foo://x", "FOO://u:S3cret@x", "http://u:S3cret@x/clip.mp4", "~/clip.mp4", "file://~/c"]
)
@pytest.mark.parametrize("how", [(), ("--dry-run",)])
def test_a_source_that_the_pilot_refuses_is_refused(installer: Installer, source: str, how: tuple[str, ...]) -> None:
    for done in (installer.run("--source", source, *how), installer.run("--source", "-", *how, said=f"{source}\n")):
        assert done.returncode == 2
        assert done.stderr.startswith("install_service.sh: --source")
        assert "S3cret" not in done.stderr
    assert installer.files() == {}


@pytest.mark.parametrize("source", ["CSI://0", "gst:videotestsrc ! appsink", "images:///a://b", "0", "/clips/a.mp4"])
def test_every_other_source_is_taken(installer: Installer, source: str) -> None:
    assert installer.run("--source", source).returncode == 0
    assert load(installer.stage / SETTINGS).source.uri == source


def test_the_installer_knows_the_schemes_of_the_pilot() -> None:
    line = next(line for line in INSTALLER.read_text().splitlines() if line.startswith("SCHEMES="))
    schemes = line.partition("'")[2].strip("'").split()
    with pytest.raises(SourceError) as told:
        parse("foo://x")
    known = {form.partition(":")[0] for form in FORMS if ":" in form}
    assert set(schemes) == known | {"rtsps"}
    assert all(f"{scheme}:" in told.value.cure for scheme in known)


def test_a_second_time_changes_nothing(installer: Installer) -> None:
    installer.run("--source", AWKWARD)
    before = installer.files()
    assert installer.run().returncode == 0
    assert installer.files() == before
    assert installer.run("--source", AWKWARD).returncode == 0
    assert installer.files() == before


@pytest.mark.parametrize("uri", [AWKWARD, "csi://0?width=1280", "gst:v4l2src ! appsink", "0", "päth/ü.mp4"])
@pytest.mark.parametrize("way", ["argument", "standard input"])
def test_a_source_is_taken_over_as_it_is_and_stands_in_no_file_that_all_can_read(
    installer: Installer, uri: str, way: str
) -> None:
    done = installer.run("--source", uri) if way == "argument" else installer.run("--source", "-", said=f"{uri}\n")
    assert done.returncode == 0, done.stderr
    assert load(installer.stage / SETTINGS).source.uri == uri
    assert uri not in installer.files()[UNIT] + done.stdout + done.stderr or uri == "0"


def test_another_source_leaves_every_other_setting_as_its_owner_wrote_it(installer: Installer) -> None:
    installer.run()
    path = installer.stage / SETTINGS
    path.write_text(path.read_text().replace("conf: 0.25 ", "conf: 0.5 ") + "# a note\n")
    assert installer.run("--source", "csi://1").returncode == 0
    settings = load(path)
    assert (settings.source.uri, settings.model.conf) == ("csi://1", 0.5)
    assert path.read_text().endswith("# a note\n")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_relative_clip_is_found_from_where_the_service_runs(installer: Installer, tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").touch()
    assert installer.run("--source", "clip.mp4", here=tmp_path).returncode == 0
    assert load(installer.stage / SETTINGS).source.uri == str(tmp_path / "clip.mp4")


def test_settings_in_another_style_are_left_alone_with_the_cure(installer: Installer) -> None:
    path = installer.stage / SETTINGS
    path.parent.mkdir(parents=True)
    path.write_text("source: {uri: csi://0}\n")
    done = installer.run("--source", "csi://1")
    assert done.returncode == 1
    assert "Set them there by hand" in done.stderr
    assert path.read_text() == "source: {uri: csi://0}\n"
    assert installer.run().returncode == 0  # without --source there is nothing to change


@pytest.mark.parametrize("style", [">-", "|", ">"])
def test_a_source_over_several_lines_is_left_alone_with_the_cure(installer: Installer, style: str) -> None:
    installer.run()
    path = installer.stage / SETTINGS
    lines = [
        f"  uri: {style}\n    rtsp://cam/1\n    ?channel=2\n" if line.startswith("  uri: ") else line
        for line in path.read_text().splitlines(keepends=True)
    ]
    path.write_text("".join(lines))
    before = installer.files()
    done = installer.run("--source", "csi://1")
    assert done.returncode == 1
    assert "Set them there by hand" in done.stderr
    assert "Traceback" not in done.stderr
    assert installer.files() == before


def test_settings_behind_a_link_are_changed_where_they_lie(installer: Installer) -> None:
    installer.run()
    path, elsewhere = installer.stage / SETTINGS, installer.stage / "elsewhere.yaml"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)
    assert installer.run("--source", "csi://1").returncode == 0
    assert path.is_symlink()
    assert load(elsewhere).source.uri == "csi://1"
    assert stat.S_IMODE(elsewhere.stat().st_mode) == 0o640


def test_a_unit_that_cannot_be_read_changes_nothing(installer: Installer) -> None:
    installer.run()
    before = installer.files()
    template = installer.folder / "config" / "vehicle-pilot.service"
    template.unlink()
    template.symlink_to("/proc/self/mem")  # opens, and fails to be read
    done = installer.run("--source", "csi://1")
    assert done.returncode == 1
    assert "The unit cannot be read." in done.stderr
    assert installer.files() == before


def test_a_dry_run_prints_the_unit_alone_and_writes_nothing(installer: Installer) -> None:
    done = installer.run("--dry-run", "--source", AWKWARD, "--user", "camera")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("# The vehicle pilot as a service")
    assert "\nUser=camera\n" in done.stdout
    assert "p%40ss" not in done.stdout
    assert installer.files() == {}
    installer.run("--user", "camera")
    assert installer.files()[UNIT] == done.stdout


def test_uninstall_removes_the_unit_keeps_what_is_yours_and_may_come_twice(installer: Installer) -> None:
    installer.run()
    (installer.stage / "var/log/vehicle-pilot").mkdir(parents=True)
    (installer.stage / "var/log/vehicle-pilot/frames.jsonl").write_text("kept")
    (installer.stage / "var/cache/vehicle-pilot/cuda").mkdir(parents=True)
    for said in ("Removed the service", "is not installed"):
        done = installer.run("--uninstall")
        assert done.returncode == 0
        assert said in done.stderr
        assert "Kept: /etc/vehicle-pilot/pilot.yaml /var/log/vehicle-pilot" in done.stderr
    assert set(installer.files()) == {SETTINGS, "var/log/vehicle-pilot/frames.jsonl"}
    assert not (installer.stage / "var/cache/vehicle-pilot").exists()


FAULTS = {
    ("--sorce", "x"): "--sorce is no option",
    ("--user",): "--user needs a value",
    ("--user", "root"): "the service does not run as root",
    ("--user", "Two Words"): "is no name of a user",
    ("--dir", "/nowhere"): "there is no such folder",
    ("--dir", "/etc"): "is not the folder of the vehicle pilot",
    ("--source", ""): "--source is empty",
    ("--source", "a\nb"): "--source holds a line break",
    ("--source", "-"): "standard input is empty",
}


@pytest.mark.parametrize("arguments", FAULTS)
def test_a_wrong_argument_gets_one_sentence_and_installs_nothing(
    installer: Installer, arguments: tuple[str, ...]
) -> None:
    done = installer.run(*arguments)
    assert done.returncode == 2
    assert FAULTS[arguments] in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert installer.files() == {}


def test_a_folder_that_no_unit_can_name_is_refused(tmp_path: Path) -> None:
    folder = make_checkout(tmp_path / 'a "quoted" one')
    done = subprocess.run([INSTALLER, "--dry-run", "--dir", folder], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert "cannot stand in a unit" in done.stderr


def test_a_checkout_without_its_environment_is_told_how_to_make_it(installer: Installer) -> None:
    shutil.rmtree(installer.folder / ".venv")
    done = installer.run()
    assert done.returncode == 1
    assert "has no virtual environment. Make it first" in done.stderr


def test_an_environment_without_its_packages_is_told_how_to_get_them(installer: Installer) -> None:
    python = installer.folder / ".venv" / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -S "$@"\n')
    done = installer.run("--source", "csi://1")
    assert done.returncode == 1
    assert "lacks the package yaml. Install what README.md says" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert installer.files() == {}


def nobody(*arguments: str | Path) -> Done:
    """Runs the installer as the user nobody, without DESTDIR."""
    command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", *arguments] if not os.geteuid() else None
    return subprocess.run(command or list(arguments), capture_output=True, text=True, cwd="/")


def test_only_root_installs(tmp_path: Path) -> None:
    folder = make_checkout(tmp_path / "pilot")
    for path in (tmp_path, *tmp_path.parents):
        if path == Path(tempfile.gettempdir()):
            break
        path.chmod(0o755)
    script = tmp_path / "install_service.sh"
    shutil.copy(INSTALLER, script)
    for action in ([], ["--uninstall"]):
        done = nobody(script, "--dir", folder, *action)
        assert done.returncode == 1
        assert done.stderr == "install_service.sh: Only root can install a service. Run it with sudo.\n"
    assert nobody(script, "--dir", folder, "--dry-run").returncode == 0


def test_a_machine_without_systemd_is_told_so(installer: Installer) -> None:
    if os.geteuid() or Path("/run/systemd/system").exists():
        command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
        hide = "mkdir -p /run/systemd && mount -t tmpfs none /run/systemd && "
    else:
        command, hide = ["sh", "-c"], ""
    line = f'{hide}exec "$0" "$@"'
    done = subprocess.run([*command, line, INSTALLER, "--dir", installer.folder], capture_output=True, text=True)
    assert done.returncode == 1
    assert "was not started by systemd" in done.stderr


def test_help_names_every_option() -> None:
    done = subprocess.run([INSTALLER, "--help"], capture_output=True, text=True)
    assert done.returncode == 0
    assert all(f"--{name}" in done.stdout for name in ("user", "dir", "source", "dry-run", "uninstall", "help"))


@pytest.mark.needs("python3")
@pytest.mark.skipif(os.geteuid() != 0, reason="no permission to give a checkout to another user")
@pytest.mark.parametrize("whose", ["the checkout", "a package", "a folder above", "for all to write"])
def test_nothing_of_a_checkout_that_is_not_roots_runs_as_root(installer: Installer, tmp_path: Path, whose: str) -> None:
    for path in (tmp_path, *tmp_path.parents):
        if path == Path(tempfile.gettempdir()):
            break
        path.chmod(0o755)
    ran_as = strangers.shared_folder(tmp_path / "ran") / "as"
    python = installer.folder / ".venv" / "bin" / "python"
    packages = installer.folder / ".venv" / "lib"
    shutil.copytree(Path(yaml.__file__).parent, packages / "yaml")
    # Not this interpreter, which may lie where nobody else may look.
    real = f"PYTHONPATH={packages} exec {path_of('python3')}"
    python.write_text(f'#!/bin/sh\nid -u >>{ran_as}\n{real} "$@"\n')
    template = installer.folder / "config" / "vehicle-pilot.service"
    template.write_text(template.read_text().replace("[Service]\n", "[Service]\nExecStartPre=+/bin/sh -c id\n"))
    package = packages / "yaml" / "__init__.py"
    if whose == "for all to write":
        package.chmod(0o666)
    else:
        mine = {"the checkout": installer.folder, "a package": package, "a folder above": tmp_path}[whose]
        os.chown(mine, strangers.UID, strangers.UID)
    done = installer.run("--source", "csi://1")
    assert done.returncode == 0, done.stderr
    assert set(ran_as.read_text().split()) == {"65534" if whose == "for all to write" else str(strangers.UID)}
    assert "ExecStartPre" not in installer.files()[UNIT]
    assert f"{installer.folder}/pilot.py" in installer.files()[UNIT]


@pytest.mark.skipif(os.geteuid() != 0, reason="what runs as root needs root")
def test_a_checkout_of_roots_runs_as_root_also_beside_what_the_service_wrote(installer: Installer) -> None:
    (installer.folder / "engines").mkdir()
    os.chown(installer.folder / "engines", strangers.UID, strangers.UID)
    assert installer.run("--source", "csi://1").returncode == 0
    template = installer.folder / "config" / "vehicle-pilot.service"
    assert template.read_text().count("[Service]") == installer.files()[UNIT].count("[Service]")
