"""Fixtures of this room."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.camera.readers import make_reader

__all__ = ["OnPath", "make_reader", "on_path"]

OnPath = Callable[..., None]


@pytest.fixture
def on_path(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> OnPath:
    """Makes these programs, named by their paths, the only ones that are found by name."""

    def allow(*programs: str) -> None:
        folder = tmp_path_factory.mktemp("bin")
        for program in programs:
            (folder / Path(program).name).symlink_to(program)
        monkeypatch.setenv("PATH", str(folder))

    return allow
