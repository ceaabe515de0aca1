"""A real pilot that serves the page, and a client that asks it."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from perception.system.home import ROOT
from tests.doubles import tiny_model

PATIENCE_S = 60.0
PAGE_LINE = re.compile(r"The live page: http://(\S+?):(\d+)/")


def until(true: Callable[[], bool], what: str, patience_s: float = PATIENCE_S) -> None:
    """Waits for it, and fails where it does not come."""
    ends_at = time.monotonic() + patience_s
    while not true():
        assert time.monotonic() < ends_at, f"it did not come: {what}"
        time.sleep(0.05)


@dataclass(frozen=True)
class Answer:
    """The answer of a server; the names of the headers in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


def ask(
    port: int,
    path: str,
    method: str = "GET",
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    host: str = "127.0.0.1",
) -> Answer:
    """One request on a connection of its own."""
    connection = http.client.HTTPConnection(host, port, timeout=30)
    try:
        connection.request(method, path, body, dict(headers or {}))
        answer = connection.getresponse()
        return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
    finally:
        connection.close()


def state(port: int) -> dict[str, Any]:
    """Return what /api/state says, once this address, whose requests another test may have used up, is let in again."""
    ends_at = time.monotonic() + PATIENCE_S
    while (answer := ask(port, "/api/state")).status == 429 and time.monotonic() < ends_at:
        time.sleep(0.2)
    assert answer.status == 200
    found = json.loads(answer.body)
    assert isinstance(found, dict)
    return found


class WebPilot:
    """pilot.py with the page at a free port, on the tiny model and an endless clip unless told else."""

    def __init__(self, folder: Path, web: str = "bind: '127.0.0.1:0', picture_fps: 30", **keys: str) -> None:
        self.log = folder / "stderr"
        self.process = start(folder, self.log, web, **keys)
        until(lambda: bool(self._said()) or self.process.poll() is not None, "the line of the page")
        said = self._said()
        assert said, self.log.read_text()
        self.port = int(said[2])

    def _said(self) -> re.Match[str] | None:
        return PAGE_LINE.search(self.log.read_text())

    def ask(self, path: str, **more: Any) -> Answer:
        return ask(self.port, path, **more)

    def frames(self) -> int:
        return int(state(self.port)["totals"]["frames"])

    def wait_for_frames(self, count: int = 1) -> None:
        """Until so many more frames were processed."""
        wanted = self.frames() + count
        until(lambda: self.frames() >= wanted, f"{count} frames")

    def resident_mib(self) -> float:
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024

    def kill(self) -> None:
        """Ends it at once, where it still runs."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """Ends it as its service does; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_S)


StartPilot = Callable[..., WebPilot]


def start(folder: Path, log: Path, web: str, **keys: str) -> subprocess.Popen[bytes]:
    """Starts pilot.py with these settings; its stderr goes to `log`."""
    tiny_model.build(folder / "tiny.onnx")
    _write_clip(folder / "clip.avi")
    lines = {
        "source": f"{{uri: '{folder}/clip.avi?realtime=1&loop=1'}}",
        "model": "{weights: tiny.onnx}",
        "allow_cpu": "true",
        "cpu": "{threads: 1}",
        "log": f"{{dir: '{folder}/logs', file: false, records: false}}",
        "web": f"{{{web}}}",
        **keys,
    }
    (folder / "x.yaml").write_text("".join(f"{key}: {value}\n" for key, value in lines.items()))
    hidden = ("JOURNAL_STREAM", "PILOT_WEB_TOKEN")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    with open(log, "wb") as stderr:
        return subprocess.Popen(
            [sys.executable, str(ROOT / "pilot.py"), "--config", "x.yaml"],
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            env=environment,
        )


def _write_clip(path: Path) -> None:
    """Two seconds of noise, whose JPEG is large and fills the buffers of whoever does not read."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 25, (320, 240))  # type: ignore[attr-defined]
    for number in range(50):
        writer.write(np.random.default_rng(number).integers(0, 255, (240, 320, 3), np.uint8))
    writer.release()
