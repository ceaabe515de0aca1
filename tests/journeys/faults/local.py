"""Faults of the machine itself: files, disks, clock, memory, pipelines, and a second pilot."""

from __future__ import annotations

import re
import resource
import shutil
import signal
import socket
import threading
import time
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np

from perception.system.bounded_file import RETRY_S
from perception.system.home import ROOT
from tests.camera.clips import cut_short, write_clip
from tests.journeys.faults.lab import GOES_ON, RECOVERED, STEP_S, Lab, Needs, Outcome, Row, until
from tests.needs import path_of
from tests.small_disk import small_disk
from tests.system.test_lock import another_process

CAMERA = "demo://drive?seed=1&vehicles=2&width=320&height=240&fps=10&realtime=1&loop=1"


def clip_cut(lab: Lab) -> Outcome:
    """A clip ends in the middle of a frame."""
    whole = write_clip(lab.folder / "whole.mp4", 100)
    clip = cut_short(whole, lab.folder / "cut.mp4", 0.5)
    with lab.pilot(str(clip), model={"weights": str(ROOT / "models" / "vehicle-n.onnx")}) as pilot:
        found = pilot.ended("clip cut off in the middle of a frame", "is truncated: it promises 100 frames")
        assert 10 < len(lab.records()) < 95
        return found


def pipeline_stops(lab: Lab) -> Outcome:
    """A pipeline gives some pictures and ends, again and again."""
    source = (
        "gst:videotestsrc is-live=true num-buffers=15 pattern=ball ! video/x-raw,format=BGR,framerate=10/1 ! appsink"
    )
    with lab.pilot(source, python=path_of("system-venv")) as pilot:
        pilot.wait_for("Source lost after ")
        return pilot.recovered("GStreamer pipeline that ends", "Source lost after ", time.monotonic())


class Pictures:
    """Sends raw pictures, ten a second, to whoever connects, until it falls silent and keeps its connections.

    While `frozen` it repeats the last one.
    """

    SIZE = (48, 64, 3)

    def __init__(self) -> None:
        self.silent = threading.Event()
        self.frozen = threading.Event()
        self._over = threading.Event()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._listening.settimeout(0.1)
        self.port: int = self._listening.getsockname()[1]
        self._threads = [threading.Thread(target=self._listen)]
        self._threads[0].start()

    @property
    def source(self) -> str:
        """The URI that shows them."""
        parse = "rawvideoparse format=bgr width=64 height=48 framerate=10/1"
        return f"gst:tcpclientsrc host=127.0.0.1 port={self.port} ! {parse} ! appsink"

    def _listen(self) -> None:
        while not self._over.is_set():
            try:
                connection, _ = self._listening.accept()
            except TimeoutError:
                continue
            self._threads.append(threading.Thread(target=self._serve, args=(connection,)))
            self._threads[-1].start()

    def _serve(self, connection: socket.socket) -> None:
        random = np.random.default_rng(0)
        went_silent, picture = False, b""
        with connection:
            while not self._over.wait(0.1):
                went_silent = went_silent or self.silent.is_set()  # for good: what it kept waiting stays so
                if not went_silent:
                    if not (picture and self.frozen.is_set()):
                        picture = random.integers(0, 256, self.SIZE, np.uint8).tobytes()
                    try:
                        connection.sendall(picture)
                    except OSError:
                        return

    def close(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()
        self._listening.close()


def pipeline_silent(lab: Lab) -> Outcome:
    """A pipeline gives nothing any more; where OpenCV has no time limit for GStreamer, its read never returns."""
    python = path_of("system-venv")
    with closing(Pictures()) as pictures, lab.pilot(pictures.source, python=python) as pilot:
        pilot.wait_for_frames(3)
        pictures.silent.set()
        pilot.wait_for("Source lost after ")
        pictures.silent.clear()
        return pilot.recovered("GStreamer pipeline that hangs in read", "Source lost after ", time.monotonic())


def pipeline_repeats(lab: Lab) -> Outcome:
    """A pipeline gives its last picture again and again."""
    python = path_of("system-venv")
    with closing(Pictures()) as pictures, lab.pilot(pictures.source, python=python) as pilot:
        pilot.wait_for_frames(3)
        pictures.frozen.set()
        pilot.wait_for("it repeats one picture for 1 s")
        pictures.frozen.clear()
        return pilot.recovered("GStreamer pipeline that repeats its last picture", "it repeats", time.monotonic())


def disk_full(lab: Lab) -> Outcome:
    """The disk of logs and records fills up, and has room again later."""
    with small_disk(lab.folder / "disk", 4096) as disk:
        lab.logs = disk.path
        with lab.pilot(CAMERA) as pilot:
            pilot.wait_for_frames(3)
            filler = disk.fill()
            said = pilot.wait_for("frames.jsonl cannot be written")
            pilot.wait_for("pilot.log cannot be written")
            pilot.wait_for_frames(3)
            filler.unlink()
            since = time.monotonic()
            pilot.wait_for("frames.jsonl is written again")
            pilot.wait_for("pilot.log is written again")
            took_s = time.monotonic() - since
            ending = f"goes on; {pilot.stopped()}"
            assert pilot.text().count("frames.jsonl cannot be written") == 1
        records = lab.records()
        assert records == sorted(set(records))
        return Outcome("full disk under logs and records", said, ending, took_s, RETRY_S + STEP_S)


def disk_read_only(lab: Lab) -> Outcome:
    """Logs and records cannot be written at all."""
    with small_disk(lab.folder / "disk") as disk:
        disk.make_read_only()
        lab.logs = disk.path
        with lab.pilot(CAMERA, "--max-frames", "5") as pilot:
            found = pilot.ended("read-only disk under logs and records", "frames.jsonl cannot be written")
            assert sum("cannot be written" in line for line in pilot.lines()) == 2
            return found


def clock_stepped(lab: Lab) -> Outcome:
    """The wall clock is set an hour ahead, then an hour back."""
    clock = lab.folder / "clock"
    clock.write_text("+0\n")
    faked = {
        "LD_PRELOAD": path_of("faketime"),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }
    patient = {"stall_s": 30.0}  # a busy machine is no loss: what is looked for here is one made by the clock
    with (
        lab.server() as server,
        lab.pilot(server.url, environment=faked, source=patient, log={"summary_s": 1.0}) as pilot,
    ):
        pilot.wait_for_frames(5)
        for offset in ("+3600", "-3600"):
            clock.write_text(f"{offset}\n")
            pilot.wait_for_frames(15)
        since = time.monotonic()
        pilot.wait_for_frames()
        took_s = time.monotonic() - since
        ending = f"goes on; {pilot.stopped()}"
        said = [line for line in pilot.lines() if line.startswith("Latency over ")][-1]
        text = pilot.text()
    assert "lost" not in text
    ages = [float(age) for age in re.findall(r"age (-?[\d.]+)ms", text)]
    assert all(0 <= age < 60_000 for age in ages), "an age is no matter of the wall clock"
    hours = {line.split()[1].partition(":")[0] for line in text.splitlines() if "Vehicle detection" in line}
    assert len(hours) >= 3, "the clock was set indeed"
    return Outcome("wall clock an hour ahead, then an hour back", said, ending, took_s)


def out_of_memory(lab: Lab) -> Outcome:
    """The pilot may take no more memory, and a picture comes that needs more."""
    images = lab.folder / "images"
    images.mkdir()
    for number in range(4):
        cv2.imwrite(str(images / f"{number}.png"), np.full((48, 64, 3), number * 9, np.uint8))
    huge = lab.folder / "huge.png"
    cv2.imwrite(str(huge), np.zeros((12_000, 12_000, 3), np.uint8))
    with lab.pilot(f"images://{images}?loop=1") as pilot:
        pilot.wait_for_frames(10)
        pages = int(Path(f"/proc/{pilot.process.pid}/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + 64 * 2**20
        resource.prlimit(pilot.process.pid, resource.RLIMIT_AS, (limit, limit))
        huge.rename(images / "2.png")
        found = pilot.ended("no more memory (RLIMIT_AS)", "Out of memory")
        assert "Latency over " in pilot.text()
        assert len(lab.records()) >= 10
        return found


def model_overwritten(lab: Lab) -> Outcome:
    """Somebody writes something else over the model of a running pilot."""
    model = lab.folder / "mine.onnx"
    shutil.copy(lab.material / "tiny.onnx", model)
    with lab.pilot(CAMERA, model={"weights": str(model)}) as pilot:
        pilot.wait_for_frames(3)
        model.write_bytes(b"no model")
        since = time.monotonic()
        pilot.wait_for_frames(5)
        took_s = time.monotonic() - since
        said = next(line for line in reversed(pilot.lines()) if "Vehicle detection" in line)
        ending = f"goes on; {pilot.stopped()}"
    with lab.pilot(CAMERA, model={"weights": str(model)}, name="next") as pilot:
        ending += f"; the next start: {pilot.ended('', 'mine.onnx').ending}"
    return Outcome("model overwritten while it runs", said, ending, took_s)


def model_deleted(lab: Lab) -> Outcome:
    """Somebody deletes the model of a running pilot."""
    model = lab.folder / "mine.onnx"
    shutil.copy(lab.material / "tiny.onnx", model)
    with lab.pilot(CAMERA, model={"weights": str(model)}) as pilot:
        pilot.wait_for_frames(3)
        model.unlink()
        since = time.monotonic()
        pilot.wait_for_frames(5)
        took_s = time.monotonic() - since
        said = next(line for line in reversed(pilot.lines()) if "Vehicle detection" in line)
        return Outcome("model deleted while it runs", said, f"goes on; {pilot.stopped()}", took_s)


def killed(lab: Lab) -> Outcome:
    """kill -9 costs the line being written, at most."""
    with lab.pilot(CAMERA) as pilot:
        pilot.wait_for_frames(20)
        pilot.process.send_signal(signal.SIGKILL)
        ending = f"signal {-pilot.process.wait()}"
        since = time.monotonic()
        seen = [int(found) for found in re.findall(r"\| frame (\d+) dropped", pilot.text())]
    kept = lab.records(whole=False)
    assert kept[: len(seen)] == seen[: len(kept)]
    assert len(kept) >= len(seen) - 1
    with lab.pilot(CAMERA, name="next") as pilot:
        said = pilot.wait_for("Vehicle detection: ")
        took_s = time.monotonic() - since
        until(lambda: len(lab.records()) > len(kept), "a record of the next run")
        assert pilot.end() == 0
    assert lab.records()[: len(kept)] == kept
    return Outcome("kill -9, started again", said, f"{ending}; every record kept", took_s)


def second_pilot_on_a_camera(lab: Lab) -> Outcome:
    """Another process has the camera."""
    device = lab.folder / "video0"
    device.touch()
    with another_process(device) as other, lab.pilot(f"v4l2://{device}", source={"wait": True}) as pilot:
        return pilot.ended("two pilots on one camera", f"is in use by another pilot (process {other.pid})")


def second_pilot_on_records(lab: Lab) -> Outcome:
    """Two pilots with the same folder of records."""
    with lab.pilot(CAMERA) as first:
        first.wait_for_frames(3)
        with lab.pilot(CAMERA, name="second") as second:
            words = f"is being written by another pilot (process {first.process.pid})"
            found = second.ended("two pilots with one folder of records", words)
        first.wait_for_frames(3)
        assert first.end() == 0
    assert lab.records() == sorted(set(lab.records()))
    return found


def second_pilot_on_a_video(lab: Lab) -> Outcome:
    """Two pilots that record into one video."""
    path = lab.folder / "out.mp4"
    path.write_bytes(b"of another pilot")
    with another_process(path), lab.pilot(CAMERA, "--record", str(path)) as pilot:
        found = pilot.ended("two pilots with one --record", "is being written by another pilot")
        assert path.read_bytes() == b"of another pilot"
        return found


SLOW = ("disk_full", "clock_stepped", "pipeline_silent", "pipeline_repeats", "server_frozen", "dns_silent")
NEEDS: Needs = {
    clip_cut: ("ffmpeg",),
    pipeline_stops: ("system-venv",),
    pipeline_silent: ("system-venv",),
    pipeline_repeats: ("system-venv",),
    clock_stepped: ("faketime", "rtsp-server"),
}
ROWS: dict[Row, str] = {
    clip_cut: "exit 0",
    pipeline_stops: RECOVERED,
    pipeline_silent: RECOVERED,
    pipeline_repeats: RECOVERED,
    disk_full: GOES_ON,
    disk_read_only: "exit 0",
    clock_stepped: GOES_ON,
    out_of_memory: "exit 5",
    model_overwritten: f"{GOES_ON}; the next start: exit 4",
    model_deleted: GOES_ON,
    killed: "signal 9; every record kept",
    second_pilot_on_a_camera: "exit 3",
    second_pilot_on_records: "exit 3",
    second_pilot_on_a_video: "exit 3",
}
