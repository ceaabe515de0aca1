"""What is known of an export at start-up that failed, so that a service that starts again does not repeat it."""

from __future__ import annotations

import importlib.metadata
import json
import shlex
import signal
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from perception.backends.tensorrt.place import Place
from perception.core.errors import BackendError, ExportMemoryError, SettingsError
from perception.system.own_files import NotMine, read_mine
from perception.system.trusted_file import reason_of, sha256_of, write_whole

SCHEMA = 1
PASSING = (SettingsError.exit_code, ExportMemoryError.exit_code, -signal.SIGKILL)
"""How an export ends that a boot may cure: no room on the disk, no memory, killed by the kernel for want of it."""
BEGUN = "it was begun, and did not come to an end"
MOST_BEGUN = 3
"""So often an export may be begun that neither ended nor failed, one a boot: somebody may have pulled the plug."""
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def inputs_of(model: Path, imgsz: int | None) -> dict[str, Any]:
    """What an export at start-up is made from: where these are the same, so will be its end. Raises OSError."""
    sha256 = sha256_of(model)
    return {"model_sha256": sha256, "imgsz": imgsz, "precision": "fp16", "tensorrt": _tensorrt_version()}


class Memory:
    """engines/<stem>.failed.json. An attempt is noted before it begins, lest one that kills the pilot be repeated."""

    def __init__(self, place: Place, inputs: Mapping[str, Any]) -> None:
        """inputs: see `inputs_of`."""
        self.path = place.folder / f"{place.stem}.failed.json"
        self._inputs = dict(inputs)

    def failed_before(self) -> str:
        """What became of an earlier attempt with the same inputs, in words; empty where another may be made.

        One that had no room may be made again after a boot. A file that cannot be read is no obstacle.
        """
        known = self._known()
        if not known:
            return ""
        another_boot = known.get("boot_id") != _boot_id()
        if another_boot and (known.get("exit_code") in PASSING or 0 < _begun(known) < MOST_BEGUN):
            return ""
        return f"an export of the same model failed ({known.get('created_at')}): {known.get('what')}"

    def begin(self) -> None:
        """Remembers that an attempt begins. Raises BackendError where that cannot be written."""
        self._write(BEGUN, None, _begun(self._known()) + 1)

    def note(self, what: str, exit_code: int | None) -> None:
        """Remembers how an attempt failed. Raises BackendError where that cannot be written."""
        self._write(what, exit_code, 0)

    def _known(self) -> dict[str, Any]:
        """What was written of these inputs; empty where nothing was, or cannot be read.

        Raises BackendError for what another user put there, who could keep the pilot from ever exporting.
        """
        try:
            known = json.loads(read_mine(self.path))
        except NotMine as fault:
            raise BackendError(
                f"{self.path} cannot be used: {fault.strerror}", f"Remove it: sudo rm {shlex.quote(str(self.path))}"
            ) from None
        except (OSError, ValueError, RecursionError):
            return {}
        fits = isinstance(known, dict) and known.get("schema") == SCHEMA and known.get("inputs") == self._inputs
        return known if fits else {}

    def _write(self, what: str, exit_code: int | None, begun: int) -> None:
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        values = {"schema": SCHEMA, "created_at": now, "boot_id": _boot_id(), "inputs": self._inputs}
        values |= {"exit_code": exit_code, "begun": begun, "what": what}
        try:
            write_whole(self.path, (json.dumps(values, indent=2) + "\n").encode())
        except OSError as error:
            raise BackendError(
                f"{self.path} cannot be written: {reason_of(error)}", "Without it a failed export would be repeated."
            ) from None

    def forget(self) -> None:
        """Nothing failed."""
        with suppress(OSError):  # it tells of other inputs then, or of an export that a person made since
            self.path.unlink(missing_ok=True)


def _tensorrt_version() -> str:
    """As its package says, without loading it."""
    for name in ("tensorrt", "tensorrt_cu12", "tensorrt_cu13"):
        with suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version(name)
    return ""


def _begun(known: Mapping[str, Any]) -> int:
    """How many attempts in a row neither ended nor failed."""
    count = known.get("begun")
    return count if type(count) is int else 0


def _boot_id() -> str:
    try:
        return BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return ""
