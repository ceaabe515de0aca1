"""Engines that others may write are refused: owner, mode, access list and folder."""

from __future__ import annotations

import grp
import os
import pwd
import shlex
import stat
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from perception.backends.tensorrt.engine_file import open_engine
from perception.core.errors import BackendError
from perception.system import trusted_file
from perception.system.plain_file import open_plain
from perception.system.trusted_file import check_trusted, is_own_group
from tests.doubles.engine_files import install, plan

NOBODY = pwd.getpwnam("nobody").pw_uid
UNKNOWN_ID = 54_321


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    """A trusted engine, in a folder of its own."""
    folder = tmp_path / "my engines"
    folder.mkdir(mode=0o755)
    path = folder / "yolo11n.engine"
    path.write_bytes(plan())
    path.chmod(0o644)
    return path


def refused(path: Path) -> BackendError:
    with pytest.raises(BackendError) as caught:
        open_engine(path)
    return caught.value


def own(path: Path, uid: int = -1, gid: int = -1) -> None:
    if os.geteuid():
        pytest.skip("no root: files cannot be given to others")
    os.chown(path, uid, gid)


def apply_cure(fault: BackendError) -> None:
    """Runs the command at the end of a cure, as a user would."""
    command = shlex.split(fault.cure.partition(": ")[2].removeprefix("sudo "))
    assert command[0] in ("chmod", "chown")
    subprocess.run(command, check=True)


@pytest.mark.parametrize("mode", [0o644, 0o600, 0o755, 0o444])
def test_an_engine_that_its_owner_alone_may_write_is_taken(engine: Path, mode: int) -> None:
    engine.chmod(mode)
    assert open_engine(engine).plan == plan()


@pytest.mark.parametrize("mode", [0o666, 0o646, 0o602, 0o777])
def test_one_that_others_may_write_is_refused_and_the_cure_works(engine: Path, mode: int) -> None:
    engine.chmod(mode)
    fault = refused(engine)
    assert fault.what == f"{engine} may be written by others (mode {mode:04o}), and an engine is native code"
    assert fault.cure == f"If you trust it: chmod go-w '{engine}'"
    apply_cure(fault)
    assert open_engine(engine).plan == plan()


def test_one_that_another_group_may_write_is_refused(engine: Path) -> None:
    engine.chmod(0o664)
    own(engine, gid=1)
    fault = refused(engine)
    assert fault.what == f"{engine} may be written by the group daemon (mode 0664), and an engine is native code"
    apply_cure(fault)
    assert open_engine(engine).plan == plan()


def test_one_that_a_group_without_a_name_may_write_is_refused(engine: Path) -> None:
    engine.chmod(0o664)
    own(engine, gid=UNKNOWN_ID)
    assert f"may be written by the group {UNKNOWN_ID} (mode 0664)" in refused(engine).what


def test_one_that_the_owners_own_group_may_write_is_taken(engine: Path) -> None:
    own(engine, 0, 0)
    engine.chmod(0o664)
    assert open_engine(engine).plan == plan()


def test_an_access_list_counts_as_a_group_of_others(engine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Version 2; the owner, one other user, the group, the mask, the rest: tag, permissions, id.
    entries = [(0x01, 6, -1), (0x02, 6, NOBODY), (0x04, 4, -1), (0x10, 6, -1), (0x20, 4, -1)]
    packed = struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *entry) for entry in entries)
    try:
        os.setxattr(engine, "system.posix_acl_access", packed)
    except OSError:  # this file system has no access lists
        engine.chmod(0o664)
        monkeypatch.setattr(os, "getxattr", lambda file, name: packed)
    assert stat.S_IMODE(engine.stat().st_mode) == 0o664
    fault = refused(engine)
    assert fault.what.startswith(f"{engine} may be written by users on its access list (mode 0664)")
    apply_cure(fault)
    assert open_engine(engine).plan == plan()


def test_one_of_another_user_is_refused_and_the_cure_works(engine: Path) -> None:
    own(engine, NOBODY)
    fault = refused(engine)
    me = pwd.getpwuid(os.geteuid()).pw_name
    assert fault.what.startswith(f"{engine} belongs to nobody, and an engine is native code: it must belong to root, ")
    assert fault.cure == f"If you trust it: sudo chown {me} '{engine}'"
    apply_cure(fault)
    assert open_engine(engine).plan == plan()


def test_one_of_a_user_without_a_name_is_refused_by_number(engine: Path) -> None:
    own(engine, UNKNOWN_ID)
    assert f"belongs to {UNKNOWN_ID}, and" in refused(engine).what


def test_one_of_the_owner_of_the_pilot_is_taken(engine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own(engine, UNKNOWN_ID, UNKNOWN_ID)
    code = engine.parent / "trusted_file.py"
    code.touch()
    monkeypatch.setattr(trusted_file, "__file__", str(code))
    assert "belongs to" in refused(engine).what
    os.chown(code, UNKNOWN_ID, UNKNOWN_ID)
    engine.chmod(0o664)
    assert open_engine(engine).plan == plan()


def test_a_folder_that_others_may_write_counts_as_the_file(engine: Path) -> None:
    engine.parent.chmod(0o777)
    fault = refused(engine)
    assert fault.what == (
        f"{engine} may be replaced by others, who may write its folder {engine.parent} (mode 0777), "
        "and an engine is native code"
    )
    assert fault.cure == f"If you trust it: chmod go-w '{engine.parent}'"
    apply_cure(fault)
    assert open_engine(engine).plan == plan()


def test_a_sticky_folder_lets_nobody_replace_it(engine: Path) -> None:
    engine.parent.chmod(0o1777)
    assert open_engine(engine).plan == plan()


@pytest.mark.parametrize("which", ["link", "target"])
def test_of_a_link_both_folders_count(engine: Path, tmp_path: Path, which: str) -> None:
    links = tmp_path / "links"
    links.mkdir()
    link = links / "m.engine"
    link.symlink_to(engine)
    assert open_engine(link).plan == plan()
    folder = links if which == "link" else engine.parent
    folder.chmod(0o777)
    assert f"who may write its folder {folder} (mode 0777)" in refused(link).what


def test_of_a_link_the_mode_of_its_target_counts(engine: Path, tmp_path: Path) -> None:
    link = tmp_path / "m.engine"
    link.symlink_to(engine)
    engine.chmod(0o666)
    assert refused(link).what.startswith(f"{link} may be written by others")


def test_the_mode_is_that_of_the_file_that_was_opened(engine: Path) -> None:
    engine.chmod(0o666)
    with open_plain(engine) as file:
        engine.unlink()
        engine.write_bytes(plan())
        engine.chmod(0o644)
        with pytest.raises(BackendError, match="may be written by others"):
            check_trusted(engine, file.fileno())


def test_a_relative_path_is_checked_in_its_folder(engine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(engine.parent)
    assert open_engine(Path(engine.name)).plan == plan()
    engine.parent.chmod(0o777)
    assert "may be replaced by others" in refused(Path(engine.name)).what


def test_the_mode_is_told_before_the_sidecar(engine: Path) -> None:
    install(engine, plan())
    engine.write_bytes(plan(300))
    engine.chmod(0o666)
    assert "may be written by others" in refused(engine).what


@pytest.mark.parametrize(
    ("user", "group", "expected"),
    [("daemon", "daemon", True), ("daemon", "bin", False), ("nobody", "nogroup", False), ("root", "root", True)],
)
def test_the_own_group_of_a_user_has_its_name(user: str, group: str, expected: bool) -> None:
    assert is_own_group(pwd.getpwnam(user).pw_uid, grp.getgrnam(group).gr_gid) is expected


def test_a_group_with_other_members_is_not_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    daemon = pwd.getpwnam("daemon")
    for members, expected in (["daemon"], True), (["mallory"], False):
        group = grp.struct_group(("daemon", "x", daemon.pw_gid, members))
        monkeypatch.setattr(grp, "getgrgid", lambda gid, group=group: group)
        assert is_own_group(daemon.pw_uid, daemon.pw_gid) is expected


def test_numbers_without_names_are_compared() -> None:
    assert is_own_group(UNKNOWN_ID, UNKNOWN_ID)
    assert not is_own_group(UNKNOWN_ID, UNKNOWN_ID + 1)
    assert not is_own_group(UNKNOWN_ID, 0)
    assert not is_own_group(0, UNKNOWN_ID)


AS_ANOTHER_USER = f"""
import os, sys, pathlib
from perception.backends.tensorrt.engine_file import open_engine
from perception.core.errors import BackendError
os.setgroups([]), os.setgid({UNKNOWN_ID}), os.setuid({UNKNOWN_ID})
try: open_engine(pathlib.Path(sys.argv[1]))
except BackendError as fault: print(fault)
"""


def test_what_another_user_meets_comes_with_the_cure(engine: Path) -> None:
    own(engine, 0)

    def said(path: Path) -> str:
        command = [sys.executable, "-c", AS_ANOTHER_USER, str(path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        return done.stdout.strip() or done.stderr

    with tempfile.TemporaryDirectory() as top:  # pytest's own folders are closed to others
        Path(top).chmod(0o755)
        folder = Path(top, "engines")
        folder.mkdir(mode=0o755)
        path = folder / engine.name
        path.write_bytes(engine.read_bytes())
        assert said(path) == ""
        path.chmod(0o600)
        assert said(path) == f"{path} cannot be read: Permission denied. Allow it: chmod a+r {path}"
        folder.chmod(0o700)
        cure = f"Let this user into its folder: chmod a+x {folder}"
        assert said(path) == f"{path} cannot be read: Permission denied. {cure}"
        folder.chmod(0o777)
        path.chmod(0o644)
        assert said(path).endswith(f"If you trust it: sudo chmod go-w {folder}")
