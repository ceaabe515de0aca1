"""The folder of segments: their names, and the bound on the space they take, also over restarts."""

from __future__ import annotations

import os
import re
from datetime import datetime, timezone
from pathlib import Path

from loguru import logger

VIDEO, RECORDS = ".mp4", ".jsonl"
_NAME = re.compile(r"(\d{8}T\d{6}Z)(?:-(\d+))?\.(?:mp4|jsonl)")


def is_segment(name: str) -> bool:
    """Return True for the name of a segment, which a full folder of recordings deletes."""
    return _NAME.fullmatch(name) is not None


class SegmentFolder:
    """Deletes the oldest segments where all of them together take more than max_bytes; no other file is touched."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        self.path = path
        self.max_bytes = max_bytes

    def new(self, wall_s: float) -> tuple[Path, Path]:
        """Return paths for a new segment and its records, named after its first moment in UTC. OSError: no folder."""
        self.path.mkdir(exist_ok=True)
        stamp = datetime.fromtimestamp(wall_s, timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        number = 0
        while True:
            stem = f"{stamp}-{number}" if number else stamp
            video, records = self.path / f"{stem}{VIDEO}", self.path / f"{stem}{RECORDS}"
            if not video.exists() and not records.exists():
                return video, records
            number += 1

    def make_room(self, current: Path | None) -> None:
        """Delete the oldest until all fit; never the current one. OSError where the folder cannot be read."""
        segments: dict[tuple[str, int], list[tuple[str, int]]] = {}
        with os.scandir(self.path) as entries:
            for entry in entries:
                match = _NAME.fullmatch(entry.name)
                if match and entry.is_file(follow_symlinks=False):
                    size = entry.stat(follow_symlinks=False).st_size
                    segments.setdefault((match[1], int(match[2] or 0)), []).append((entry.name, size))
        total = sum(size for files in segments.values() for _, size in files)
        for key in sorted(segments):
            if total <= self.max_bytes:
                return
            if current and any(name == current.name for name, _ in segments[key]):
                continue
            for name, size in segments[key]:
                (self.path / name).unlink(missing_ok=True)
                total -= size
            logger.debug(f"Deleted {self.path / segments[key][0][0]}: record.max_gib is reached")
