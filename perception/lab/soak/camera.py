"""The camera of a soak: an RTSP server of its own that is killed and restarted."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import cv2

from perception.core.errors import SettingsError, SourceError
from perception.drive import Drive, DriveSettings

SERVER = Path(__file__).with_name("rtsp_server.py")
PACKAGES = (
    "python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-base gstreamer1.0-plugins-good "
    "gstreamer1.0-plugins-ugly"
)
SCENE = DriveSettings(seed=14, vehicles=8, width=640, height=360, duration=20.0)


def find_python() -> str:
    """Return a Python in which the server runs: this one, or the system's. SettingsError where neither does."""
    said = ""
    for python in dict.fromkeys((sys.executable, "/usr/bin/python3")):
        try:
            probe = subprocess.run(  # noqa: S603 - our own file
                [python, str(SERVER), "--probe"], check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL
            )
        except OSError as error:
            said = f"{python}: {error.strerror}"
            continue
        if probe.returncode == 0:
            return python
        said = f"{python}: {(probe.stderr.strip().splitlines() or ['it ended without a word'])[-1]}"
    raise SettingsError(
        f"The RTSP server of the soak cannot run ({said})",
        f"sudo apt-get install {PACKAGES}; or name a camera with --source, or take --on demo.",
    )


def drive_uri(fps: int) -> str:
    """Return the drive as a source that never ends."""
    scene = replace(SCENE, fps=fps)
    names = ("seed", "vehicles", "width", "height", "duration", "fps")
    wanted = "&".join(f"{name}={getattr(scene, name):g}" for name in names)
    return f"demo://drive?{wanted}&realtime=1&loop=1"


def make_pictures(folder: Path, fps: int) -> None:
    """Render the drive into the folder, as 00000.jpg and so on."""
    folder.mkdir(parents=True, exist_ok=True)
    drive = Drive(replace(SCENE, fps=fps))
    for number in range(drive.frame_count):
        path = folder / f"{number:05}.jpg"
        if not cv2.imwrite(str(path), drive.render(number)[0]):
            raise SettingsError(f"{path} cannot be written", "Make room, or choose another --folder.")


class RtspCamera:
    """The server while it runs, and its address, which stays. A context manager."""

    def __init__(self, python: str, folder: Path, fps: int) -> None:
        """folder: of its pictures. Raises SourceError where it does not start."""
        self._command = [python, str(SERVER), "--piped", "--folder", str(folder.resolve()), "--fps", str(fps)]
        self._process: subprocess.Popen[str] | None = None
        self.url = self._start("0")

    def __enter__(self) -> RtspCamera:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def _start(self, port: str) -> str:
        self._process = subprocess.Popen(  # noqa: S603 - our own file
            [*self._command, "--port", port],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,  # a Ctrl-C at the terminal is for the soak
        )
        assert self._process.stdout
        url = self._process.stdout.readline().strip()
        if not url:
            self.kill()
            raise SourceError("The RTSP server of the soak ended at its start", f"Try it: {' '.join(self._command)}")
        return url

    def kill(self) -> None:
        """End it at once, as without power; its address refuses."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe:
                pipe.close()

    def start_again(self) -> None:
        """Start it again under the same address. Raises SourceError where it does not start."""
        self._start(str(urlsplit(self.url).port))
