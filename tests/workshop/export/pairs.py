"""Pairs of an engine and its sidecar, and what the folder is worth when a process dies at any of its system calls.

Run as a program it does one action again and again, each time in a child that kills itself one call later.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from perception.backends.tensorrt.engine_file import open_engine
from perception.backends.tensorrt.place import Place, work_folder
from perception.core.errors import BackendError
from perception.system.home import ROOT
from perception.workshop.export.install import install, roll_back
from tests.doubles.engine_files import install as write_pair
from tests.doubles.engine_files import plan

STEM = "yolo11n"
CALLS = ("open", "os.rename", "os.link", "os.remove", "os.chmod", "os.mkdir", "shutil.copyfile")
"""Python's audit events of calls that change a folder or a file."""
NOTHING = "nothing that loads"


@dataclass(frozen=True)
class Instant:
    """The folder after a death before the system call number `call`, and after the action was then done again.

    serves, kept: the names of the engines in service and before, see `named`.
    """

    call: int
    serves: str
    kept: str
    serves_then: str
    kept_then: str


def engine_bytes(name: str) -> bytes:
    """An engine that differs from those of other names."""
    return plan(200)[:-1] + name.encode()[-1:]


def put(folder: Path, name: str, suffix: str = "") -> None:
    """An engine named `name` in `folder`, with its sidecar unless it is `bare N`; suffix: as of `.previous`."""
    pair = folder / f"{STEM}.engine{suffix}", folder / f"{STEM}.json{suffix}"
    if name.startswith("bare"):
        pair[0].write_bytes(engine_bytes(name))
        return
    aside = folder / "aside.engine"
    write_pair(aside, engine_bytes(name), gpu_name=name)
    aside.replace(pair[0])
    aside.with_suffix(".json").replace(pair[1])


def staged(work: Path, name: str) -> Path:
    """A new engine with its sidecar before its installation."""
    folder = work / "made"
    folder.mkdir(exist_ok=True)
    put(folder, name)
    return folder / f"{STEM}.engine"


def in_service(place: Place) -> str:
    """The name of the engine that the pilot loads."""
    return named(place.engine, None)


def previous(place: Place) -> str:
    """The name of the one that a rollback would put into service."""
    return named(place.previous_engine, place.previous_sidecar)


def named(path: Path, described_by: Path | None) -> str:
    """The name of an engine as its sidecar tells it, `bare N` without one, NOTHING where it is refused."""
    try:
        sidecar = open_engine(path, described_by).sidecar
    except BackendError:
        return NOTHING
    letter = path.read_bytes()[-1:].decode()
    if sidecar is None:
        return f"bare {letter}"
    assert sidecar.gpu_name == letter, "the sidecar of another engine"
    return letter


def deaths(action: str, folder: Path) -> list[Instant]:
    """Check the folder after a death at each system call of the action: `install NAME` or `rollback`."""
    line = [sys.executable, __file__, action, str(folder)]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    return [Instant(**json.loads(line)) for line in done.stdout.splitlines()]


def act(action: str, folder: Path) -> None:
    """Does the action."""
    place, work = Place(folder, STEM), work_folder(folder)
    verb, _, name = action.partition(" ")
    if verb == "install":
        install(staged(work, name), place, work)
    else:
        roll_back(place, work)


def _dies(action: str, folder: Path, call: int) -> bool:
    """Return True if the action in a child had so many system calls that it died before number `call`."""
    child = os.fork()
    if not child:
        _watch(call)
        act(action, folder)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert status in (0, signal.SIGKILL)
    return status != 0


def _watch(call: int) -> None:
    left = call

    def count(event: str, _: object) -> None:
        nonlocal left
        if event in CALLS:
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)


def main(action: str, start: Path) -> None:
    """Prints an Instant a line, until the action outlives the call."""
    call, dies = 0, True
    while dies:
        folder = start.parent / f"death-{call}"
        shutil.copytree(start, folder)
        dies, place = _dies(action, folder, call), Place(folder, STEM)
        found = in_service(place), previous(place)
        if dies and (action != "rollback" or found[0] == in_service(Place(start, STEM))):
            act(action, folder)  # a rollback that is done is not done twice
        elif dies:
            act("install z", folder)
        print(json.dumps(asdict(Instant(call, *found, in_service(place), previous(place)))))
        shutil.rmtree(folder)
        call += 1


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
