"""The export at a start-up: in a child that leaves nothing behind, for a limited time, and not repeated."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from perception.app import failed_exports as failures
from perception.app.export_at_start import Order, export_at_start
from perception.app.failed_exports import BEGUN, MOST_BEGUN, Memory, inputs_of
from perception.backends.tensorrt.place import Place
from perception.core.errors import BackendError
from tests.small_disk import small_disk


def say(code: int, *lines: str) -> list[str]:
    """A child that says the lines and ends."""
    return [sys.executable, "-c", f"import sys\nprint({chr(10).join(lines)!r}, flush=True)\nsys.exit({code})"]


def quiet(_: str) -> None:
    """Needs no sign of life."""


@pytest.fixture
def order(tmp_path: Path) -> Order:
    model = tmp_path / "yolo11n.onnx"
    model.write_bytes(b"a model")
    return Order(model, Place(tmp_path / "engines", "yolo11n"), 640, 0)


@pytest.fixture
def boot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], object]:
    """Boots the machine."""
    monkeypatch.setattr(failures, "BOOT_ID", tmp_path / "boot_id")
    return (tmp_path / "boot_id").write_text


def failed(order: Order, command: list[str]) -> str:
    with pytest.raises(BackendError) as caught:
        export_at_start(order, quiet, 60, command)
    assert f"scripts/export_int8_engine.py --model {order.model} --precision fp16" in caught.value.cure
    return caught.value.what


def test_the_command_is_one_that_a_person_can_type(order: Order) -> None:
    command = order.command
    assert command[0] == sys.executable
    assert Path(command[1]).name == "export_int8_engine.py"
    assert command[2:] == [
        *("--model", str(order.model), "--precision", "fp16", "--output", str(order.place.folder)),
        *("--imgsz", "640", "--device", "cuda:0"),
    ]


def test_what_it_says_is_logged_and_nothing_is_remembered_of_a_success(order: Order, logged: list[str]) -> None:
    told: list[str] = []
    export_at_start(order, told.append, 60, say(0, "building", "", "done"))
    assert [line for line in logged if "export" in line] == ["INFO export: building", "INFO export: done"]
    assert told[0] == "exporting an engine (0 s)"
    assert list(order.place.folder.iterdir()) == []


def test_a_failure_is_remembered_with_its_last_words_until_the_model_is_another(order: Order) -> None:
    assert failed(order, say(8, "the parser does not know Foo")) == "the export failed: the parser does not know Foo"
    again = failed(order, say(0))
    assert again.startswith("an export of the same model failed (20")
    assert again.endswith("): the parser does not know Foo")
    order.model.write_bytes(b"another model")
    export_at_start(order, quiet, 60, say(0))
    assert not Memory(order.place, {}).path.exists()


def test_another_export_that_is_at_work_is_no_failure(order: Order) -> None:
    with pytest.raises(BackendError, match="no export was made: process 7 is at work"):
        export_at_start(order, quiet, 60, say(3, "process 7 is at work in engines"))
    export_at_start(order, quiet, 60, say(0))


@pytest.mark.parametrize("code", [2, 6])
def test_a_want_of_room_is_remembered_until_the_next_boot(
    order: Order, boot: Callable[[str], object], code: int
) -> None:
    boot("one")
    assert failed(order, say(code, "no memory")) == "the export failed: no memory"
    assert "failed (" in failed(order, say(0))
    boot("two")
    export_at_start(order, quiet, 60, say(0))


def test_one_that_took_the_pilot_with_it_is_tried_again_a_few_times_one_a_boot(
    order: Order, boot: Callable[[str], object]
) -> None:
    order.place.folder.mkdir()
    memory = Memory(order.place, inputs_of(order.model, 640))
    for number in range(MOST_BEGUN):
        boot(str(number))
        assert memory.failed_before() == ""
        memory.begin()
        assert memory.failed_before().endswith(BEGUN)
    boot("later")
    assert memory.failed_before().endswith(BEGUN)


def test_one_that_was_killed_is_told_of_by_the_signal_and_made_again_after_a_boot(
    order: Order, boot: Callable[[str], object]
) -> None:
    boot("one")
    killed = [sys.executable, "-c", "import os\nprint('half way', flush=True)\nos.kill(os.getpid(), 9)"]
    assert failed(order, killed) == "the export failed: it was ended by SIGKILL: half way"
    assert "failed (" in failed(order, say(0))
    boot("two")
    export_at_start(order, quiet, 60, say(0))


# Ends


def spawning(note: Path) -> list[str]:
    """A child that has a child, notes both, and stays."""
    code = (
        "import os, subprocess, sys, time\n"
        "other = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"open({str(note)!r} + '.new', 'w').write(f'[{{os.getpid()}}, {{other.pid}}]')\n"
        f"os.rename({str(note)!r} + '.new', {str(note)!r})\n"
        "time.sleep(600)\n"
    )
    return [sys.executable, "-c", code]


def out_of_time(order: Order, command: list[str], note: Path) -> None:
    """An export whose time is up as soon as both of its processes are there."""

    def wait(_: str) -> None:
        ends_at = time.monotonic() + 60
        while not note.exists():
            assert time.monotonic() < ends_at
            time.sleep(0.01)

    with pytest.raises(BackendError, match="the export failed: it took longer than "):
        export_at_start(order, wait, 0, command)


def assert_gone(note: Path) -> None:
    for pid in json.loads(note.read_text()):
        ends_at = time.monotonic() + 20
        while _runs(pid):
            assert time.monotonic() < ends_at, f"{pid} lives"
            time.sleep(0.02)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (ProcessLookupError, FileNotFoundError):
        return False


def test_its_time_is_limited_and_nothing_of_it_is_left(order: Order, tmp_path: Path) -> None:
    note = tmp_path / "note"
    out_of_time(order, spawning(note), note)
    assert_gone(note)
    assert "took longer" in failed(order, say(0))


def test_a_stop_ends_it_at_once_and_is_no_failure(order: Order, tmp_path: Path) -> None:
    note = tmp_path / "note"

    def stop(_: str) -> None:
        if note.exists():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_at_start(order, stop, 60, spawning(note))
    assert_gone(note)
    export_at_start(order, quiet, 60, say(0))


def test_a_child_that_does_not_want_to_end_is_killed(
    order: Order, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("perception.app.export_at_start.END_S", 0.3)
    note, deaf = tmp_path / "note", f"import signal\nsignal.signal({int(signal.SIGTERM)}, signal.SIG_IGN)\n"
    command = spawning(note)
    out_of_time(order, [*command[:2], deaf + command[2]], note)
    assert_gone(note)


# What is in the way


def test_a_folder_that_cannot_be_written_is_told_before_anything_is_begun(order: Order, tmp_path: Path) -> None:
    (tmp_path / "engines").write_text("a file")
    with pytest.raises(BackendError, match="is not a folder"):
        export_at_start(order, quiet, 60, say(0))


def test_where_a_failure_could_not_be_remembered_nothing_is_begun(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        order = Order(disk.path / "m.onnx", Place(disk.path, "m"), 640, 0)
        order.model.write_bytes(b"a model")
        disk.fill()
        with pytest.raises(BackendError, match=r"m\.failed\.json cannot be written: No space left on device"):
            export_at_start(order, quiet, 60, [sys.executable, "-c", f"open({str(tmp_path / 'begun')!r}, 'w')"])
    assert not (tmp_path / "begun").exists()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": 1}', '{"schema": 1, "inputs": {}}', "[" * 5000])
def test_a_note_that_cannot_be_read_is_no_obstacle(order: Order, text: str) -> None:
    order.place.folder.mkdir()
    Memory(order.place, {}).path.write_text(text)
    export_at_start(order, quiet, 60, say(0))
