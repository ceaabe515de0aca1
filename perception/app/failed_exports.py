"""Remembers a failed export at start-up, so that a service that starts again does not repeat it."""

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
from perception.system.plain_file import reason_of
from perception.system.trusted_file import sha256_of, write_whole

SCHEMA = 1
PASSING = (SettingsError.exit_code, ExportMemoryError.exit_code, -signal.SIGKILL)
"""Exit codes that a boot may cure: no room on the disk, no memory, killed by the kernel for lack of it."""
BEGUN = "it was begun, and did not come to an end"
MOST_BEGUN = 3
"""The attempts, one per boot, that may neither end nor fail: somebody may have pulled the plug."""
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def inputs_of(model: Path, imgsz: int | None) -> dict[str, Any]:
    """Return the inputs of an export at start-up; the same ones end in the same way. Raises OSError."""
    sha256 = sha256_of(model)
    return {"model_sha256": sha256, "imgsz": imgsz, "precision": "fp16", "tensorrt": _tensorrt_version()}


class FailureNote:
    """engines/<stem>.failed.json. An attempt is noted before it begins: one that kills the pilot is not repeated."""

    def __init__(self, place: Place, inputs: Mapping[str, Any]) -> None:
        """inputs: see `inputs_of`."""
        self.path = place.folder / f"{place.stem}.failed.json"
        self._inputs = dict(inputs)

    def failed_before(self) -> str:
        """Return how an earlier attempt with the same inputs failed, in words; empty if another may be made.

        One that had no room may be made again after a boot. An unreadable file counts as none.
        """
        known = self._known()
        if not known:
            return ""
        another_boot = known.get("boot_id") != _boot_id()
        if another_boot and (known.get("exit_code") in PASSING or 0 < _begun(known) < MOST_BEGUN):
            return ""
        return f"an export of the same model failed ({known.get('created_at')}): {known.get('what')}"

    def begin(self) -> None:
        """Note that an attempt begins. Raises BackendError where that cannot be written."""
        self._write(BEGUN, None, _begun(self._known()) + 1)

    def failed(self, what: str, exit_code: int | None) -> None:
        """Note that an attempt failed. Raises BackendError where that cannot be written."""
        self._write(what, exit_code, 0)

    def _known(self) -> dict[str, Any]:
        """Return the note on these inputs; empty where there is none, or it cannot be read.

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
        """Remove the note: nothing failed."""
        with suppress(OSError):  # it tells of other inputs then, or of an export that a person made since
            self.path.unlink(missing_ok=True)


def _tensorrt_version() -> str:
    """Return the version that its package tells, without loading it."""
    for name in ("tensorrt", "tensorrt_cu12", "tensorrt_cu13"):
        with suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version(name)
    return ""


def _begun(known: Mapping[str, Any]) -> int:
    """Return the number of attempts in a row that neither ended nor failed."""
    count = known.get("begun")
    return count if type(count) is int else 0


def _boot_id() -> str:
    try:
        return BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return ""
