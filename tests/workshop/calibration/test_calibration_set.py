"""Reading a calibration set: whole and unchanged, or a sentence on what is wrong."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from perception.core.errors import SettingsError
from perception.workshop.calibration.calibration_set import CalibrationSet, minimum, read_set
from perception.workshop.calibration.manifest import NAME, parse
from tests.workshop.calibration.sets import write_pictures, write_set


def test_a_set_is_read_by_its_yaml_its_folder_and_the_folder_of_its_images(tmp_path: Path) -> None:
    root = tmp_path / "calibration"
    write_set(root)
    described = tmp_path / "config" / "calibration.yaml"
    described.parent.mkdir()
    described.write_text("train: ../calibration/images\nval: x\nmanifest: ../calibration/manifest.json\nnames: [car]\n")
    for data in (described, root, root / "images"):
        found = read_set(data)
        assert [path.name for path in found.images] == ["000.png", "001.png", "002.png"]
        assert [path.parent.name for path in found.held_out] == ["held_out"] * 2
        assert found.manifest_sha256 == hashlib.sha256((root / NAME).read_bytes()).hexdigest()
        assert all(path.is_file() for path in (*found.images, *found.held_out))


def test_changed_missing_and_added_images_are_named(tmp_path: Path) -> None:
    write_set(tmp_path)
    (tmp_path / "images" / "000.png").write_bytes(b"another one")
    (tmp_path / "held_out" / "001.png").unlink()
    write_pictures(tmp_path / "images", ["stranger.jpg"])
    with pytest.raises(SettingsError) as told:
        read_set(tmp_path)
    assert "1 missing: held_out/001.png; 1 added: images/stranger.jpg; 1 changed: images/000.png" in told.value.what
    assert "scripts/build_calibration_set.py" in told.value.cure


def test_of_many_changed_images_some_are_named(tmp_path: Path) -> None:
    write_set(tmp_path, images=5)
    for path in (tmp_path / "images").iterdir():
        path.write_bytes(b"")
    with pytest.raises(SettingsError, match=r"5 changed: images/000\.png, images/001\.png, images/002\.png, \.\.\.\)"):
        read_set(tmp_path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "Expecting value"),
        ("[]", "list indices"),
        ('{"schema": 2}', "its schema is 2, not 1"),
        ('{"schema": 1}', "'images' is missing"),
        ('{"schema": 1, "images": [{}]}', "missing 5 required"),
    ],
)
def test_a_damaged_manifest_is_refused_with_the_reason(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / NAME).write_text(text)
    with pytest.raises(SettingsError, match="is no manifest of a calibration set") as told:
        read_set(tmp_path)
    assert reason in told.value.what


@pytest.mark.parametrize(
    ("key", "value"), [("file", "../secret.png"), ("file", "/etc/passwd"), ("sha256", "0" * 63), ("sha256", None)]
)
def test_an_entry_stays_inside_the_set_and_has_a_hash(tmp_path: Path, key: str, value: object) -> None:
    values = json.loads(write_set(tmp_path).text)
    values["images"][0][key] = value
    with pytest.raises(SettingsError, match="is no manifest"):
        parse(tmp_path / NAME, json.dumps(values).encode())


def test_a_manifest_survives_the_round_trip(tmp_path: Path) -> None:
    manifest = write_set(tmp_path)
    assert parse(tmp_path / NAME, manifest.text.encode()) == manifest


def test_a_set_that_is_not_there_is_told_with_the_command(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"There is no calibration set: .*calibration\.yaml does not exist") as told:
        read_set(tmp_path / "calibration.yaml")
    assert told.value.cure == "Build one: python3 scripts/build_calibration_set.py VIDEO..."
    (tmp_path / "a.yaml").write_text("train: x\nmanifest: gone/manifest.json\n")
    with pytest.raises(SettingsError, match=r"gone/manifest\.json, which .* names, does not exist"):
        read_set(tmp_path / "a.yaml")


# Sets made elsewhere


def _names(found: CalibrationSet) -> list[str]:
    return [path.name for path in found.images]


def test_of_a_data_set_made_elsewhere_train_is_read_or_else_val(tmp_path: Path) -> None:
    write_pictures(tmp_path / "images" / "train" / "deeper", ["b.jpg", "a.png"])
    write_pictures(tmp_path / "images" / "val", ["v.png", ".hidden.png"])
    data = tmp_path / "data.yaml"
    data.write_text("path: .\ntrain: images/train\nval: images/val\nnames: {0: car}\n")
    assert _names(read_set(data)) == ["a.png", "b.jpg"]
    assert read_set(data).held_out == ()
    data.write_text(f"path: {tmp_path}\ntrain:\nval: images/val\n")
    assert _names(read_set(data)) == ["v.png"]


def test_a_split_may_be_a_list_of_folders_and_text_files(tmp_path: Path) -> None:
    write_pictures(tmp_path / "one", ["a.png"])
    write_pictures(tmp_path / "two", ["b.png", "c.png"])
    (tmp_path / "list.txt").write_text("./two/c.png\n\n")
    (tmp_path / "data.yaml").write_text("train: [one, list.txt]\n")
    assert _names(read_set(tmp_path / "data.yaml")) == ["a.png", "c.png"]


def test_the_hash_of_a_folder_tells_names_contents_and_nothing_else(tmp_path: Path) -> None:
    write_pictures(tmp_path / "one", ["a.png", "b.png"])
    write_pictures(tmp_path / "same", ["a.png", "b.png"])
    write_pictures(tmp_path / "renamed", ["a.png", "c.png"])
    write_pictures(tmp_path / "changed", ["a.png", "b.png"], first=1)
    hashes = {name: read_set(tmp_path / name).manifest_sha256 for name in ("one", "same", "renamed", "changed")}
    assert hashes["one"] == hashes["same"]
    assert len(set(hashes.values())) == 3


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("names: [car]\n", "names no images"),
        ("", "describes no data set"),
        ("train: [\n", "cannot be read as YAML"),
        ("train: 3\n", "train is 3, not a path"),
        ("train: gone\n", "gone, which .* names, does not exist"),
        ("train: empty\n", "holds no images"),
        ("path: 7\ntrain: empty\n", "path is 7, not a path"),
        ("train: list.txt\n", "Not one of 1 images that .*list.txt names is there: nowhere.png"),
    ],
)
def test_a_data_set_without_images_is_refused_with_the_reason(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "list.txt").write_text("nowhere.png\n")
    (tmp_path / "data.yaml").write_text(text)
    with pytest.raises(SettingsError, match=reason):
        read_set(tmp_path / "data.yaml")


def test_what_is_neither_a_data_set_nor_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"0")
    with pytest.raises(SettingsError, match="neither a data set"):
        read_set(tmp_path / "clip.mp4")


# How many


def test_a_small_set_is_warned_of_and_a_tiny_one_refused(logged: list[str]) -> None:
    minimum(300, force=False)
    assert logged == []
    minimum(299, force=False)
    minimum(1, force=True)
    assert [line.partition(":")[0] for line in logged] == [
        "WARNING A set of 299 images is small",
        "WARNING A set of 1 images is small",
    ]
    with pytest.raises(SettingsError, match="99 images is too small") as told:
        minimum(99, force=False)
    assert "--force" in told.value.cure
