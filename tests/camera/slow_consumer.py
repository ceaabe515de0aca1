"""A consumer that is slower than its live source: what it sees, and how old that is."""

from __future__ import annotations

import time
from dataclasses import dataclass

from perception.camera.latest import Reader


@dataclass(frozen=True)
class Seen:
    """ids: frame ids in the order they were received. ages_s: seconds from capture to receipt, for each."""

    ids: list[int]
    ages_s: list[float]

    @property
    def dropped(self) -> int:
        """Frames captured up to the last received one that were never received."""
        return self.ids[-1] + 1 - len(self.ids)


def consume_slowly(reader: Reader, duration_s: float, period_s: float) -> Seen:
    """Takes a frame every period_s for duration_s."""
    seen = Seen([], [])
    ends_at = time.monotonic() + duration_s
    while time.monotonic() < ends_at:
        frame = reader.read(2)
        if frame is None:
            raise AssertionError("nothing came for 2 s")
        seen.ids.append(frame.frame_id)
        seen.ages_s.append(time.monotonic() - frame.captured_at)
        time.sleep(period_s)
    return seen
