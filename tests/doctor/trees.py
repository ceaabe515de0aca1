"""Machines made from the trees of tests/doctor/trees/, in a folder of the test's own where faults are put in."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from perception.doctor.checks.machine import Machine, Usage, User
from perception.doctor.examine import CHECKS, examine
from perception.doctor.finding import Finding, Result, Verdict
from perception.system.process import Answer

TREES = Path(__file__).parent / "trees"
NAMES = tuple(sorted(path.stem for path in TREES.glob("*.json")))
NOW = 1_800_000_000.0


class Tree:
    """One machine: `files` under root, `commands` and `probes` to change before `machine` looks at them."""

    def __init__(self, name: str, folder: Path) -> None:
        spec = json.loads((TREES / f"{name}.json").read_text())
        self.root, self.project = folder / "root", folder / "pilot"
        for path, text in spec["files"].items():
            self.write(path, text if isinstance(text, str) else "".join(f"{line}\n" for line in text))
        for path in ("engines", "logs", "config", "models"):
            (self.project / path).mkdir(parents=True)
        (self.project / "pilot.py").touch()
        self.config = self.project / "config" / "pilot.yaml"
        self.config.write_text("source:\n  uri: csi://0\n")
        self.commands: dict[str, str] = {
            words: out if isinstance(out, str) else "".join(f"{line}\n" for line in out)
            for words, out in spec["commands"].items()
        }
        self.probes: dict[str, Any] = spec["probes"]
        rows = self.probes["python"]["distributions"]
        for lock in ("requirements.lock", "requirements-jetson.lock"):
            text = "".join(f"{name}=={version} \\\n    --hash=sha256:00\n    # via x\n" for name, version, _ in rows)
            (self.project / lock).write_text(text)
        self.probes["settings"] |= {"engine_dir": str(self.engines), "log_dir": str(self.project / "logs")}
        for path in (self.project / "pilot.py", self.config):
            os.utime(path, (NOW - 1000, NOW - 1000))
        self.disk = Usage(**spec["disk"])
        self.disks: dict[Path, Usage] = {}
        self.user = User(spec["user"]["name"], spec["user"]["uid"], frozenset(spec["user"]["groups"]))
        self.environment = {"PATH": "/usr/local/cuda/bin:/usr/bin"}
        self.now = NOW
        self.readable = True

    @property
    def engines(self) -> Path:
        """The folder of engines."""
        return self.project / "engines"

    def write(self, path: str, text: str) -> None:
        """A file under the root."""
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)

    def edit(self, path: str, old: str, new: str) -> None:
        """Replaces `old`, which must be there, in a file under the root."""
        text = (self.root / path).read_text()
        assert old in text
        self.write(path, text.replace(old, new))

    def process(self, pid: int, name: str, command: str, *devices: str) -> None:
        """A process that has `devices` open."""
        self.write(f"proc/{pid}/comm", f"{name}\n")
        self.write(f"proc/{pid}/cmdline", command.replace(" ", "\0") + "\0")
        self.write(f"proc/{pid}/status", f"Name:\t{name}\nVmRSS:\t  204800 kB\n")
        folder = self.root / f"proc/{pid}/fd"
        folder.mkdir(parents=True)
        for number, device in enumerate(devices):
            (folder / str(number)).symlink_to(device)

    def state(self, unit: str, **changes: str) -> None:
        """Changes what `systemctl show` tells of a unit."""
        words = f"systemctl show {unit}"
        rows = dict(line.split("=", 1) for line in self.commands[words].splitlines())
        self.commands[words] = "".join(f"{key}={value}\n" for key, value in {**rows, **changes}.items())

    def fails(self, module: str, error: str) -> None:
        """Makes the import of a package fail."""
        self.probes[module] = {"error": error}

    def lacks(self, module: str) -> None:
        """Takes a package away."""
        self.probes[module] = {"error": f"ModuleNotFoundError: No module named {module!r}", "missing": module}
        self.probes["python"]["copies"][module] = []

    def join(self, *groups: str) -> None:
        """Makes this user's groups exactly those; in /etc/group nobody is in render but those who were."""
        self.user = replace(self.user, groups=frozenset(groups))

    def usage(self, **changes: Any) -> None:
        """Changes the disk."""
        self.disk = replace(self.disk, **changes)

    @property
    def machine(self) -> Machine:
        """The machine as it is at this moment."""
        return Machine(
            root=self.root,
            project=self.project,
            config=self.config,
            python="/opt/vehicle-pilot/.venv/bin/python",
            run=self._run,
            usage=lambda path: self.disks.get(path, self.disk),
            may_read=lambda path: self.readable,
            user=self.user,
            now=self.now,
            environment=self.environment,
            clock_synchronised=None,
        )

    def _run(self, words: Sequence[str], limit_s: float) -> Answer:
        if "perception.doctor.probe" in words:
            facts = self.probes[words[4]]
            return facts if isinstance(facts, Answer) else Answer(0, json.dumps(facts))
        key = " ".join(word for word in words if not word.startswith("--"))
        return Answer(0, self.commands[key]) if key in self.commands else Answer(None, fault=f"{words[0]}: no answer")

    def results(self) -> list[Result]:
        """Return the doctor's findings."""
        return examine(self.machine, CHECKS)

    def findings(self, check: str) -> list[Finding]:
        """Return the findings of one check."""
        return [result.finding for result in self.results() if result.check.name == check]

    def codes(self) -> set[str]:
        """The codes of all warnings and problems."""
        return {result.finding.code for result in self.results() if result.finding.code}

    def fault(self, code: str) -> Finding:
        """The one finding of that code."""
        (finding,) = (result.finding for result in self.results() if result.finding.code == code)
        assert finding.verdict in (Verdict.WARNING, Verdict.PROBLEM)
        assert finding.cure
        return finding
