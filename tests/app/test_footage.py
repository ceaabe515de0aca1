"""Footage is never destroyed: what lies where a run is to write, and above all the source itself."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from perception.app.footage import protect
from perception.core.errors import SettingsError
from perception.reporting.output_file import free_name, reserve
from perception.settings.model import Settings, load

NAMES = {"record.path": "--record", "record.truth": "--truth", "record.overwrite": "--overwrite"}


def flags(**given: Any) -> Mapping[str, tuple[str, Any]]:
    return {f"record.{key}": (NAMES[f"record.{key}"], value) for key, value in given.items()}


def judge(source: str, **given: Any) -> None:
    """As the command line does, with these flags."""
    settings = load(None, {"source.uri": ("--source", source), **flags(**given)})
    protect(settings, flags(**given))


def by_settings(source: str, path: Path, overwrite: bool = False) -> None:
    settings = Settings.model_validate({"source": {"uri": source}, "record": {"path": path, "overwrite": overwrite}})
    protect(settings, {})


@pytest.mark.parametrize("key", ["path", "truth"])
def test_a_flag_that_names_an_existing_file_is_refused_unless_it_may_be_replaced(tmp_path: Path, key: str) -> None:
    there = tmp_path / "x.mp4"
    there.write_text("of yesterday")
    with pytest.raises(SettingsError, match=f"{NAMES[f'record.{key}']} .*x.mp4 is there already") as told:
        judge("demo://drive", **{key: str(there)})
    assert "--overwrite" in told.value.cure
    judge("demo://drive", **{key: str(there), "overwrite": True})
    judge("demo://drive", **{key: str(tmp_path / "new.mp4")})
    judge("demo://drive", **{key: str(tmp_path)})
    judge("demo://drive", **{key: "/dev/null"})


def test_what_the_settings_say_of_replacing_does_not_count_for_a_flag(tmp_path: Path) -> None:
    (tmp_path / "x.mp4").touch()
    path = tmp_path / "x.yaml"
    path.write_text("record: {overwrite: true}\nsource: {uri: demo://drive}\n")
    given = flags(path=str(tmp_path / "x.mp4"))
    with pytest.raises(SettingsError, match="is there already"):
        protect(load(path, given), given)


def test_a_setting_that_names_an_existing_file_is_no_fault(tmp_path: Path) -> None:
    (tmp_path / "x.mp4").touch()
    by_settings("csi://0", tmp_path / "x.mp4")


@pytest.mark.parametrize("how", ["itself", "link", "hard link", "link to the source", "uri", "dotted"])
def test_the_source_itself_is_refused_always(tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    clip, other = tmp_path / "clip.mp4", tmp_path / "other.mp4"
    clip.write_text("footage")
    source, target = str(clip), other
    if how == "link":
        other.symlink_to(clip)
    elif how == "hard link":
        os.link(clip, other)
    elif how == "link to the source":
        other.symlink_to(clip)
        source, target = str(other), clip
    elif how == "uri":
        source, target = f"file://{clip}?realtime=1", clip
    elif how == "dotted":
        target = Path("..", tmp_path.name, "clip.mp4")
    else:
        target = clip
    for overwrite in (False, True):
        with pytest.raises(SettingsError, match="is the source itself"):
            judge(source, path=str(target), overwrite=overwrite)
        with pytest.raises(SettingsError, match="is the source itself"):
            by_settings(source, target, overwrite)


def test_one_image_as_the_source_is_safe_from_the_truth(tmp_path: Path) -> None:
    image = tmp_path / "a.png"
    image.touch()
    with pytest.raises(SettingsError, match="is the source itself"):
        judge(str(image), truth=str(image), overwrite=True)


def test_a_folder_of_recordings_does_not_delete_its_own_source(tmp_path: Path) -> None:
    segment, clip = tmp_path / "20260101T120000Z-2.mp4", tmp_path / "clip.mp4"
    for path in (segment, clip):
        path.touch()
    with pytest.raises(SettingsError, match=r"holds the source 20260101T120000Z-2\.mp4"):
        judge(str(segment), path=str(tmp_path))
    link = tmp_path.parent / f"{tmp_path.name}-link.mp4"
    link.symlink_to(segment)
    with pytest.raises(SettingsError, match="holds the source"):
        judge(str(link), path=str(tmp_path))
    judge(str(clip), path=str(tmp_path))


def test_a_name_that_cannot_be_is_left_to_its_writer(tmp_path: Path) -> None:
    for name in ("n" * 300 + ".mp4", "a\0b.mp4"):
        judge(str(tmp_path / "clip.mp4"), path=str(tmp_path / name))


def test_video_and_truth_are_two_files(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="are both"):
        judge("demo://drive", path=str(tmp_path / "x.mp4"), truth=str(tmp_path / "x.mp4"))


def test_the_next_name_that_is_free_is_taken(tmp_path: Path, logged: list[str]) -> None:
    path = tmp_path / "x.tar.mp4"
    assert free_name("record.path", path, False) == path
    for name in ("x.tar.mp4", "x.tar-2.mp4"):
        (tmp_path / name).touch()
    (tmp_path / "x.tar-3.mp4").symlink_to("nowhere")
    assert free_name("record.path", path, True) == path
    assert logged == []
    assert free_name("record.path", path, False) == tmp_path / "x.tar-4.mp4"
    assert f"{path} is there already and is kept; this run writes {tmp_path}/x.tar-4.mp4" in logged[0]
    assert reserve("record.path", path, False) == tmp_path / "x.tar-4.mp4"
    assert (tmp_path / "x.tar-4.mp4").exists()
    assert reserve("record.path", Path("/dev/null"), False) == Path("/dev/null")
