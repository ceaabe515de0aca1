"""Another user of this machine, who may write a folder that root works in, too."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.needs import path_of

UID = 1234

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="no permission to act as another user")


def shared_folder(path: Path) -> Path:
    """A folder that everybody may write, as /tmp; every folder above it lets everybody through."""
    path.mkdir(parents=True, exist_ok=True)
    for folder in path.parents:
        if not folder.stat().st_mode & 0o001 and folder.stat().st_uid == os.geteuid():
            folder.chmod(folder.stat().st_mode | 0o011)
    path.chmod(0o1777)
    return path


def as_stranger(code: str, *arguments: str | Path) -> None:
    """Runs Python code as the other user; it sees the arguments in sys.argv[1:]."""
    command = ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups", path_of("python3"), "-c"]
    subprocess.run([*command, f"import os, sys\n{code}", *map(str, arguments)], check=True, cwd="/", timeout=60)


def link(name: Path, target: Path) -> None:
    """The stranger puts a link there."""
    as_stranger("os.symlink(sys.argv[2], sys.argv[1])", name, target)


def folder(path: Path) -> None:
    """The stranger puts a folder there."""
    as_stranger("os.mkdir(sys.argv[1], 0o777)", path)


def file(path: Path, content: str = "") -> None:
    """The stranger puts a file there that everybody may read and write."""
    as_stranger("os.umask(0); open(sys.argv[1], 'w').write(sys.argv[2]); os.chmod(sys.argv[1], 0o666)", path, content)


def state_of(path: Path) -> list[tuple[str, int, int, bytes]]:
    """Everything in a folder with mode, owner and content, to see whether anything has changed."""
    found = [path, *sorted(path.rglob("*"))]
    return [
        (str(one), one.lstat().st_mode, one.lstat().st_uid, one.read_bytes() if one.is_file() else b"") for one in found
    ]
