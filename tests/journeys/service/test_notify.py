"""The notify protocol as the real pilot speaks it, in a process of its own."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from perception.system.home import ROOT
from tests.journeys.service.conftest import Folder
from tests.journeys.service.manager import Manager, manager, running

HANGING = Path(__file__).parent / "hanging_pilot.py"
NOBODY = "rtsp://admin:S3cret@127.0.0.1:9/live"  # port 9, discard: nothing listens there


def told(listening: Manager) -> dict[str, str]:
    return {"NOTIFY_SOCKET": listening.address, "WATCHDOG_USEC": "30000000"}


def places(said: list[str], *starts: str) -> list[int]:
    """Where each of `starts` comes first."""
    return [next(place for place, line in enumerate(said) if line.startswith(start)) for start in starts]


def test_a_run_on_the_shipped_model_is_ready_beats_tells_its_state_and_stops(folder: Folder) -> None:
    model = ROOT / "models" / "vehicle-n.onnx"
    drive = "demo://drive?loop=1&realtime=1&width=320&height=192"
    folder.write(model=f"{{weights: '{model}'}}", source=f"{{uri: '{drive}'}}")
    with manager(str(folder.path / "notify")) as listening, running(folder.path, told=told(listening)) as pilot:
        started = time.monotonic()
        listening.wait_for("STATUS=live: ")
        since = len(listening.said)
        figures = listening.wait_for("STATUS=live: ", since)
        pilot.wait_for("Latency over ", 3)
        beats, for_s = listening.said.count("WATCHDOG=1"), time.monotonic() - started
        assert pilot.end(signal.SIGTERM) == 0
        listening.wait_for("STATUS=stopping")
    assert figures.endswith(" ms, onnxruntime fp32")
    assert " fps, p50 " in figures
    assert 1 <= beats <= for_s + 1
    said = listening.said
    assert places(said, "STATUS=starting", "READY=1", "WATCHDOG=1", "STOPPING=1") == sorted(
        places(said, "STATUS=starting", "READY=1", "WATCHDOG=1", "STOPPING=1")
    )
    assert said.count("READY=1") == said.count("STOPPING=1") == 1


def test_ready_comes_after_the_warm_up_and_a_camera_that_is_not_there_does_not_hold_it(folder: Folder) -> None:
    name = f"@vehicle-pilot-test-{os.getpid()}-{time.monotonic_ns()}"
    folder.write(source=f"{{uri: '{NOBODY}', open_timeout_s: 0.5}}")
    with manager(name) as listening, running(folder.path, "--wait", told=told(listening)) as pilot:
        listening.wait_for("READY=1")
        waiting = listening.wait_for("STATUS=waiting for camera ")
        pilot.wait_for("waiting for camera, ")
        since = len(listening.said)
        listening.wait_for("WATCHDOG=1", since)
        listening.wait_for("WATCHDOG=1", since + listening.said[since:].index("WATCHDOG=1") + 1)
        assert pilot.end(signal.SIGTERM) == 0
        listening.wait_for("STOPPING=1")
        assert waiting.startswith("STATUS=waiting for camera rtsp://***@127.0.0.1:9/live (")
        assert "S3cret" not in "\n".join(listening.said) + pilot.text


def test_a_pilot_whose_inference_hangs_falls_silent(folder: Folder) -> None:
    with (
        manager(str(folder.path / "notify")) as listening,
        running(folder.path, told=told(listening), script=HANGING) as pilot,
    ):
        listening.wait_for("READY=1")
        pilot.wait_for("hangs")
        listening.tell("X_BARRIER=1")
        listening.wait_for("X_BARRIER=1")  # what was said before has arrived
        said = list(listening.said)
        time.sleep(3)  # three beats of a living one
        assert pilot.process.poll() is None
        assert listening.said == said


def test_without_a_manager_the_pilot_runs_as_ever(folder: Folder) -> None:
    with running(folder.path, "--max-frames", "3") as pilot:
        assert pilot.process.wait(60) == 0
        assert pilot.text.count("Vehicle detection: ") == 3
