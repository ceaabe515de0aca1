"""Data sets of ultralytics' format: where their paths lead, as ultralytics resolves them, and files that are traps."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

from perception.core.errors import SettingsError
from perception.system.home import ROOT
from perception.workshop.accuracy.check import find_pictures
from perception.workshop.calibration.calibration_set import read_set
from perception.workshop.data_set import read_data_set
from tests.workshop.accuracy.folders import write_set
from tests.workshop.calibration.sets import write_pictures

CAR = "0 0.5 0.5 0.5 0.5"


def stems(data: Path, split: str = "val") -> list[str]:
    return [path.stem for path in read_data_set(data).images(split)]


def described(folder: Path, text: str) -> Path:
    data = folder / "data.yaml"
    data.parent.mkdir(parents=True, exist_ok=True)
    data.write_text(text)
    return data


def test_a_path_with_two_dots_that_leads_nowhere_is_taken_from_the_files_folder(tmp_path: Path) -> None:
    """As Roboflow exports them: `../valid/images` in a file beside valid/."""
    data = described(tmp_path / "set", "val: ../valid/images\nnames: [car]\n")
    write_pictures(tmp_path / "set" / "valid" / "images", ["inside.png"])
    assert stems(data) == ["inside"]
    write_pictures(tmp_path / "valid" / "images", ["outside.png"])
    assert stems(data) == ["outside"], "where it leads somewhere it is what it says"


def test_labels_lie_beside_what_two_dots_lead_to(tmp_path: Path) -> None:
    write_set(tmp_path, {"a": [CAR]})
    data = described(tmp_path / "config", "val: ../images/val\nnames: [car]\n")
    pictures = find_pictures(data)
    assert pictures.labelled is not None
    assert [len(one) for one in pictures.labelled.labels([(9, 9)])] == [1]


def test_lines_of_a_list_start_here_and_those_with_a_dot_beside_the_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logged: list[str]
) -> None:
    here, beside = tmp_path / "here", tmp_path / "set"
    write_pictures(here, ["a.png", "b.png"])
    write_pictures(beside, ["a.png", "c.png", "d.png"])
    monkeypatch.chdir(here)
    data = described(beside, "val: list.txt\nnames: [car]\n")
    lines = ["./a.png", "b.png", "c.png", f"{beside}/d.png", "", "notes.txt", "gone.png", "  ./d.png  "]
    (beside / "list.txt").write_text("\n".join(lines))
    assert sorted(map(str, read_data_set(data).images("val"))) == sorted(
        ["b.png", *(str(beside / name) for name in ("a.png", "c.png", "d.png"))]
    )
    assert logged == [f"WARNING 2 of 7 images that {beside}/list.txt names are not there: notes.txt, gone.png"]


def test_a_path_starts_here_or_beside_the_file_wherever_a_split_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_pictures(tmp_path / "coco" / "val", ["here.png"])
    write_pictures(tmp_path / "set" / "coco" / "val", ["beside.png"])
    write_pictures(tmp_path / "datasets" / "coco9" / "val", ["kept.png"])
    assert stems(described(tmp_path / "set", "path: coco\nval: val\n")) == ["here"]
    assert stems(described(tmp_path / "set", "path: ./\nval: coco/val\n")) == ["here"]
    (tmp_path / "coco" / "val").rename(tmp_path / "coco" / "train2")
    assert stems(described(tmp_path / "set", "path: coco\nval: val\n")) == ["beside"]
    assert stems(described(tmp_path / "set", "path: coco9\nval: val\n")) == ["kept"]


def test_strange_names_are_not_there_and_end_nothing(tmp_path: Path, logged: list[str]) -> None:
    write_pictures(tmp_path, ["a.png"])
    (tmp_path / "round").symlink_to("round")
    (tmp_path / "list.txt").write_text(f"./a.png\n{'n' * 5000}.png\nround/x.png\na\0b.png\n")
    assert stems(described(tmp_path, "val: list.txt\n")) == ["a"]
    assert "3 of 4 images" in logged[0]
    for text in (f"val: {'n' * 5000}\n", "val: round\n", "val: ../round/x\n", f"path: {'n' * 5000}\nval: x\n"):
        with pytest.raises(SettingsError, match=r"does not exist|is not there"):
            find_pictures(described(tmp_path, text + "names: [car]\n"))


def test_home_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write_pictures(tmp_path / "mine" / "val", ["a.png"])
    assert stems(described(tmp_path / "set", "path: ~/mine\nval: val\n")) == ["a"]
    assert stems(described(tmp_path / "set", "val: ~/mine/val\n")) == ["a"]


def test_validation_is_val_and_nc_alone_names_the_classes(tmp_path: Path) -> None:
    write_pictures(tmp_path / "v", ["a.png"])
    found = read_data_set(described(tmp_path, "validation: v\nnc: 2\n"))
    assert [path.stem for path in found.images("val")] == ["a"]
    assert found.names == {0: "class_0", 1: "class_1"}
    with pytest.raises(SettingsError, match="names 1 classes, and nc is 2"):
        _ = read_data_set(described(tmp_path, "val: v\nnc: 2\nnames: [car]\n")).names


def test_a_data_set_that_is_not_there_is_called_one(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"The data set .*gone\.yaml does not exist"):
        find_pictures(tmp_path / "gone.yaml")
    with pytest.raises(
        SettingsError, match=r"The data set that .*data\.yaml describes is not there: its `path` is gone"
    ):
        read_data_set(described(tmp_path, "path: gone\nval: x\n"))


BOMB = "a0: &a0 [car]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
)  # 9^11 names
TRAPS = {
    "a bomb of aliases": (BOMB + "val: *a11\nnames: *a11\n", "more than 200000 values"),
    "a list in itself": ("val: &a [*a]\nnames: [car]\n", "more than 200000 values"),
    "a large file": ("#" * (2 << 20), "is larger than 1048576 bytes"),
}


@pytest.mark.parametrize("trap", TRAPS)
def test_a_trap_is_refused_in_a_sentence_at_once_and_in_little_memory(tmp_path: Path, trap: str) -> None:
    text, said = TRAPS[trap]
    data = described(tmp_path, text)
    for read in (read_set, find_pictures):
        with pytest.raises(SettingsError, match=said) as told:
            read(data)
        assert len(str(told.value)) < 500


def test_what_never_ends_is_no_data_set(tmp_path: Path) -> None:
    (tmp_path / "zero.yaml").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "pipe.yaml")
    for name in ("zero.yaml", "pipe.yaml"):
        with pytest.raises(SettingsError, match="is a device, a pipe or a socket, not a data set"):
            read_set(tmp_path / name)
    (tmp_path / "list.txt").symlink_to("/dev/zero")
    with pytest.raises(SettingsError, match="not a list of images"):
        read_set(described(tmp_path, "train: list.txt\n"))


def test_the_whole_command_stays_small_on_a_bomb(tmp_path: Path) -> None:
    data = described(tmp_path, TRAPS["a bomb of aliases"][0])
    command = [sys.executable, str(ROOT / "scripts" / "evaluate.py"), str(ROOT / "models" / "vehicle-n.onnx")]
    limit = 4 << 30
    started = time.monotonic()
    done = subprocess.run(
        [*command, "--data", str(data)],
        capture_output=True,
        text=True,
        timeout=60,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
    )
    assert (done.returncode, "more than 200000 values" in done.stderr) == (2, True), done.stderr
    assert time.monotonic() - started < 50


def test_what_a_folder_holds_besides_images_is_named_once(tmp_path: Path, logged: list[str]) -> None:
    write_pictures(tmp_path / "day", ["a.png"])
    for name in ("clip.mp4", "day/notes.txt", ".hidden"):
        (tmp_path / name).touch()
    assert len(read_set(tmp_path).images) == 1
    assert logged == [f"WARNING {tmp_path}: 2 of its files and folders are left out: clip.mp4, day/notes.txt"]


def test_images_that_cannot_be_opened_are_left_out_of_a_folder_and_told(tmp_path: Path, logged: list[str]) -> None:
    write_pictures(tmp_path, ["a.png", "b.png"])
    (tmp_path / "c.png").symlink_to(tmp_path / "gone.png")
    os.mkfifo(tmp_path / "d.png")
    assert [path.name for path in read_set(tmp_path).images] == ["a.png", "b.png"]
    (line,) = logged
    assert "2 of 4 images are left out" in line
    assert "c.png" in line
    assert "d.png" in line
