"""Whatever stands in a settings file or after a flag: settings, or a short SettingsError without the password."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perception.app.cli import KEYS
from perception.core.errors import SettingsError
from perception.settings.model import Settings, load
from perception.system.home import ROOT
from tests.fuzz.mutations import mutated

SHIPPED = [path.read_bytes() for path in sorted((ROOT / "config").glob("*.yaml"))]
SMALL = [
    b"source: {uri: rtsp://admin:hunter2@cam/1, wait: true}\nmodel: {conf: 0.5}\n",
    b"source:\n  uri: gst:rtspsrc user-pw=hunter2 ! appsink\nclasses: [car, bus]\n",
    b"a: &a [*a, hunter2=1]\nsource: *a\n",
]
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("settings") / "x.yaml"


def loaded(path: Path, flags: dict[str, tuple[str, Any]]) -> str:
    """What a user is told, "" for settings that are valid."""
    try:
        assert isinstance(load(path, flags), Settings)
    except SettingsError as fault:
        text = str(fault)
        assert 1 <= len(text.splitlines()) <= 12
        return text
    return ""


@given(data=mutated(SHIPPED + SMALL))
def test_any_file_gives_settings_or_a_settings_error(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    loaded(path, {})


@given(flags=st.dictionaries(st.sampled_from(sorted(KEYS.values())), VALUES, max_size=4))
def test_any_value_of_a_flag_gives_settings_or_a_settings_error(path: Path, flags: dict[str, Any]) -> None:
    path.write_bytes(SMALL[0])
    loaded(path, {key: (f"--{key}", value) for key, value in flags.items()})


@given(value=VALUES, key=st.sampled_from(["source", "uri", "model", "log", "classes"]))
def test_a_password_stays_hidden_whatever_stands_around_it(path: Path, key: str, value: Any) -> None:
    path.write_text(f"{key}: rtsp://admin:hunter2@cam/1\n", encoding="utf-8")
    assert "hunter2" not in loaded(path, {"model.conf": ("--conf", value)})
