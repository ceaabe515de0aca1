"""A real file system of a few pages, for tests of what happens when a disk is full or read-only."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.needs import path_of


class SmallDisk:
    """A tmpfs mounted at `path`, a folder of the test's own."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def fill(self) -> Path:
        """Takes every byte that is left; unlinking the file that is returned gives them back."""
        filler = self.path / "filler"
        with filler.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                return filler

    def make_read_only(self, read_only: bool = True) -> None:
        """Remounts it; also root cannot write to it then."""
        _run(path_of("mount"), "-o", f"remount,{'ro' if read_only else 'rw'}", str(self.path))


@contextmanager
def small_disk(path: Path, kib: int = 64) -> Iterator[SmallDisk]:
    """Mounts a tmpfs of `kib` KiB at the new folder `path`; skips the test where that is not allowed."""
    path.mkdir()
    try:
        _run(path_of("mount"), "-t", "tmpfs", "-o", f"size={kib}k", "none", str(path))
    except subprocess.CalledProcessError:
        pytest.skip("no permission to mount a small disk")
    try:
        yield SmallDisk(path)
    finally:
        _run(path_of("umount"), "-l", str(path))  # lazily: a failed test may have left a file open


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=20)
