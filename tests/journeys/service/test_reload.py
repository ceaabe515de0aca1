"""SIGHUP: the settings are read again while the pilot runs."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from perception.core.errors import PilotError, SettingsError, SourceError
from perception.settings.live import LiveSettings
from perception.settings.model import CpuSettings, LogSettings, ModelSettings, Settings, SourceSettings
from tests.journeys.service.conftest import Folder
from tests.journeys.service.manager import PATIENCE_S, PILOT, Running, manager, process, running, wait_until


@pytest.fixture
def pilot(folder: Folder) -> Iterator[Running]:
    """A pilot amid an endless run."""
    with running(folder.path) as started:
        started.wait_for("Vehicle detection: 2 vehicles")
        yield started


def hang_up(pilot: Running) -> None:
    pilot.process.send_signal(signal.SIGHUP)


def test_a_threshold_changes_without_a_start_or_a_gap(folder: Folder, pilot: Running) -> None:
    folder.write(model="{weights: tiny.onnx, conf: 0.95}")
    hang_up(pilot)
    pilot.wait_for("Settings read again: model.conf changed")
    pilot.wait_for("Vehicle detection: 0 vehicles")
    folder.write(model="{weights: tiny.onnx, conf: 0.1}", classes="[truck]")
    hang_up(pilot)
    pilot.wait_for("Settings read again: model.conf, classes changed")
    pilot.wait_for("Vehicle detection: 1 vehicles")
    assert pilot.end(signal.SIGTERM) == 0
    assert pilot.text.count("Loading vehicle detection model") == 1
    assert pilot.text.count("Source live") == 1
    frames = [json.loads(line) for line in (folder.path / "logs" / "frames.jsonl").read_text().splitlines()]
    assert [frame["frame_id"] for frame in frames] == list(range(len(frames)))
    assert {vehicle["class"] for vehicle in frames[-1]["vehicles"]} == {"truck"}


def test_invalid_settings_change_nothing_and_every_fault_is_on_one_line(folder: Folder, pilot: Running) -> None:
    folder.write("modle: {}\nint8: 7\n", model="{weights: tiny.onnx, conf: 9}")
    hang_up(pilot)
    pilot.wait_for("The settings stay as they were")
    line = next(line for line in pilot.text.splitlines() if "stay as they were" in line)
    for fault in ("modle is not a setting", "int8 is 7; allowed", "model.conf is 9; allowed"):
        assert fault in line
    seen = pilot.text.count("Vehicle detection: 2 vehicles")
    pilot.wait_for("Vehicle detection: 2 vehicles", seen + 3)
    folder.settings.unlink()
    hang_up(pilot)
    pilot.wait_for("The settings stay as they were: The settings file x.yaml does not exist")
    folder.write(model="{weights: tiny.onnx, conf: 0.95}")
    hang_up(pilot)
    pilot.wait_for("Vehicle detection: 0 vehicles")


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"classes": "[tram]"}, "classes: the model has no class 'tram'"),
        ({"source": "{uri: 'http://u:S3cret@x/y'}"}, "http://"),
        ({"source": "{uri: 'demo://drive?light=noon&x=1'}"}, "demo://drive"),
        ({"source": "{uri: 'gone.mp4'}"}, "The file gone.mp4 does not exist"),
        ({"source": "{uri: 'images:///nowhere'}"}, "The folder /nowhere does not exist"),
        ({"source": "{uri: 'rtsp://127.0.0.1:9/live', open_timeout_s: 0.5}"}, "rtsp://127.0.0.1:9/live did not open"),
    ],
)
def test_what_a_part_refuses_leaves_the_whole_as_it_was(
    folder: Folder, pilot: Running, keys: dict[str, str], said: str
) -> None:
    folder.write(model="{weights: tiny.onnx, conf: 0.95}", **keys)
    hang_up(pilot)
    pilot.wait_for("The settings stay as they were: ")
    assert said in pilot.text
    assert "S3cret" not in pilot.text
    seen = pilot.text.count("Vehicle detection: 2 vehicles")
    pilot.wait_for("Vehicle detection: 2 vehicles", seen + 3)
    assert "Vehicle detection: 0 vehicles" not in pilot.text
    assert pilot.text.count("Source live") == 1


def test_another_source_is_opened_while_the_model_stays_and_frame_ids_go_on(folder: Folder, pilot: Running) -> None:
    folder.write(source=f"{{uri: 'images://{folder.path}/others?loop=1'}}")
    hang_up(pilot)
    pilot.wait_for("Settings read again: source.uri changed")
    pilot.wait_for(f"Source live: images://{folder.path}/others?loop=1")
    seen = pilot.text.count("Vehicle detection: ")
    pilot.wait_for("Vehicle detection: ", seen + 3)
    assert pilot.end(signal.SIGTERM) == 0
    assert pilot.text.count("Loading vehicle detection model") == 1
    frames = [json.loads(line) for line in (folder.path / "logs" / "frames.jsonl").read_text().splitlines()]
    ids = [frame["frame_id"] for frame in frames]
    assert ids == sorted(set(ids))
    assert all(frame["dropped"] == later for frame, later in zip(frames[1:], [b - a - 1 for a, b in zip(ids, ids[1:])]))
    assert [frame["source"] for frame in (frames[0], frames[-1])] == [
        f"images://{folder.path}/images?loop=1",
        f"images://{folder.path}/others?loop=1",
    ]


def test_a_wrong_camera_that_is_waited_for_can_be_corrected(folder: Folder) -> None:
    folder.write(source="{uri: 'rtsp://127.0.0.1:9/live', open_timeout_s: 0.5}")
    with running(folder.path, "--wait") as waiting:
        waiting.wait_for("waiting for camera, ")
        folder.write()
        hang_up(waiting)
        waiting.wait_for("Vehicle detection: 2 vehicles")
        assert waiting.end(signal.SIGTERM) == 0


def test_what_needs_a_start_is_named_in_one_warning_and_the_rest_is_applied(folder: Folder, pilot: Running) -> None:
    folder.write(
        model="{weights: other.onnx, conf: 0.95}",
        cpu="{threads: 2}",
        log=f"{{dir: '{folder.path}/elsewhere', file: false, summary_s: 0.3, records: false}}",
    )
    hang_up(pilot)
    pilot.wait_for("takes effect at the next start: model.weights, cpu.threads, log.dir")
    assert "Settings read again: model.conf, log.records, log.summary_s changed" in pilot.text
    pilot.wait_for("Vehicle detection: 0 vehicles")
    size = (folder.path / "logs" / "frames.jsonl").stat().st_size
    seen = pilot.text.count("Vehicle detection: ")
    pilot.wait_for("Vehicle detection: ", seen + 5)
    assert (folder.path / "logs" / "frames.jsonl").stat().st_size == size
    assert not (folder.path / "elsewhere").exists()


def test_records_that_were_off_can_be_switched_on(folder: Folder) -> None:
    folder.write(log=f"{{dir: '{folder.path}/logs', file: false, records: false}}")
    with running(folder.path) as pilot:
        pilot.wait_for("Vehicle detection: ")
        folder.write()
        hang_up(pilot)
        wait_until((folder.path / "logs" / "frames.jsonl").exists, pilot.text)
        assert pilot.end(signal.SIGTERM) == 0


def test_a_level_hides_and_shows_the_lines_of_frames(folder: Folder, pilot: Running) -> None:
    folder.write(log=f"{{dir: '{folder.path}/logs', file: false, level: WARNING}}", cpu="{threads: 2}")
    hang_up(pilot)
    pilot.wait_for("takes effect at the next start: cpu.threads")
    quiet = pilot.text
    frames = folder.path / "logs" / "frames.jsonl"
    size = frames.stat().st_size
    wait_until(lambda: frames.stat().st_size > size, "records go on")
    assert pilot.text == quiet
    folder.write()
    hang_up(pilot)
    pilot.wait_for("Settings read again: log.level")


def test_flags_still_go_before_the_file(folder: Folder) -> None:
    with running(folder.path, "--conf", "0.1") as pilot:
        pilot.wait_for("Vehicle detection: 3 vehicles")
        folder.write(model="{weights: tiny.onnx, conf: 0.95}")
        hang_up(pilot)
        pilot.wait_for("Settings read again: nothing changed")
        seen = pilot.text.count("Vehicle detection: 3 vehicles")
        pilot.wait_for("Vehicle detection: 3 vehicles", seen + 3)
        assert "Vehicle detection: 0 vehicles" not in pilot.text


def test_the_manager_is_told_when_settings_are_read(folder: Folder) -> None:
    with manager(str(folder.path / "notify")) as listening:
        with running(folder.path, told={"NOTIFY_SOCKET": listening.address}) as pilot:
            listening.wait_for("READY=1")
            since = len(listening.said)
            hang_up(pilot)
            listening.wait_for("RELOADING=1", since)
            listening.wait_for("READY=1", since)
            assert pilot.end(signal.SIGTERM) == 0
        assert "WATCHDOG=1" not in listening.said  # nobody asked for it


def test_a_terminal_that_was_closed_ends_the_pilot_but_a_signal_while_it_is_open_does_not(folder: Folder) -> None:
    ours, theirs = os.openpty()
    # The first terminal that a session's leader opens becomes its own.
    command = ["sh", "-c", 'exec "$@" <"$0"', os.ttyname(theirs), sys.executable, str(PILOT), "--config", "x.yaml"]
    with process(folder.path, command) as pilot:
        os.close(theirs)
        pilot.wait_for("Vehicle detection: ")
        hang_up(pilot)
        pilot.wait_for("Settings read again: nothing changed")
        os.close(ours)
        assert pilot.process.wait(PATIENCE_S) == 0
        assert "Latency over " in pilot.text.splitlines()[-1]


def test_nohup_is_obeyed(folder: Folder) -> None:
    with process(folder.path, ["nohup", sys.executable, str(PILOT), "--config", "x.yaml"]) as pilot:
        pilot.wait_for("Vehicle detection: ")
        hang_up(pilot)
        seen = pilot.text.count("Vehicle detection: ")
        pilot.wait_for("Vehicle detection: ", seen + 5)
        assert "Settings read again" not in pilot.text
        assert pilot.end(signal.SIGTERM) == 0


class Part:
    """Takes over settings, or refuses those with a threshold."""

    def __init__(self, refuses: float | None = None, fault: type[PilotError] = SourceError) -> None:
        self.got: list[Settings] = []
        self._refuses = refuses
        self._fault = fault

    def apply(self, settings: Settings) -> None:
        if settings.model.conf == self._refuses:
            raise self._fault("no")
        self.got.append(settings)


def test_where_one_part_refuses_the_parts_before_it_get_the_old_settings_back(logged: list[str]) -> None:
    old, new = Settings(), Settings(model=ModelSettings(conf=0.5))
    first, second = Part(), Part(refuses=0.5)
    live = LiveSettings(old, lambda: new)
    live.read_again([first, second])
    assert first.got == [new, old]
    assert live.now == old
    assert logged == ["ERROR The settings stay as they were: no"]


def test_what_waits_for_a_start_is_named_again_each_time_and_never_handed_out(logged: list[str]) -> None:
    new = Settings(cpu=CpuSettings(threads=3), log=LogSettings(level="DEBUG"), source=SourceSettings(wait=True))
    part = Part()
    live = LiveSettings(Settings(), lambda: new)
    live.read_again([part])
    live.read_again([part])
    assert [settings.cpu.threads for settings in part.got] == [0, 0]
    assert live.now.source.wait
    assert logged == [
        "INFO Settings read again: source.wait, log.level changed",
        "WARNING takes effect at the next start: cpu.threads",
        "INFO Settings read again: nothing changed",
        "WARNING takes effect at the next start: cpu.threads",
    ]


def test_the_faults_of_a_file_are_told_on_one_line(logged: list[str], tmp_path: Path) -> None:
    def read() -> Settings:
        raise SettingsError("x.yaml: a is wrong\nx.yaml: b is wrong")

    LiveSettings(Settings(), read).read_again([Part()])
    assert logged == ["ERROR The settings stay as they were: x.yaml: a is wrong; x.yaml: b is wrong"]
