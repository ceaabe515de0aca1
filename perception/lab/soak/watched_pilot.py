"""One pilot of a soak with all observations of it, and the bars that it must meet."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from perception.lab.soak.account import Account
from perception.lab.soak.pilot_process import PilotProcess
from perception.lab.soak.record_tail import RecordTail
from perception.lab.soak.restarts import Recovery, Restarter, recoveries
from perception.lab.soak.steadiness import Ends, Sample, ends_of, sample

SETTLED_S = 2.0
"""After so long with pictures a source counts as live, for the samples."""
MOST_ROWS = 2000
"""At most this many samples go into the report, evenly chosen."""


@dataclass(frozen=True)
class Limits:
    """The bars. warmup_s: the first seconds are not judged. growth: of memory, as a share."""

    warmup_s: float
    growth: float


@dataclass(frozen=True)
class Verdict:
    """A bar, what was found and what is allowed, in words. holds: None where the run was too short to tell."""

    run: str
    bar: str
    found: str
    limit: str
    holds: bool | None


class WatchedPilot:
    """A pilot under observation. A context manager, which closes its records."""

    def __init__(self, name: str, pilot: PilotProcess, restarts: tuple[Restarter, float] | None) -> None:
        """restarts: the restarter of its camera, and its period in seconds; None without one."""
        self.name = name
        self.pilot = pilot
        self.samples: list[Sample] = []
        self.account = Account()
        self.ended_early: int | None = None  # its exit code, where it did not wait to be asked
        self._restarter: Restarter | None = restarts[0] if restarts else None
        self._every_s = restarts[1] if restarts else 0.0
        self._tail = RecordTail(pilot.records)
        self._began = time.monotonic()
        self._ended: float | None = None

    def __enter__(self) -> WatchedPilot:
        return self

    def __exit__(self, *_: object) -> None:
        self._tail.close()

    @property
    def running(self) -> bool:
        """True while the pilot runs."""
        return self.pilot.exit_code is None

    def tick(self, now: float) -> None:
        """Restart the camera where that is due."""
        if self._restarter:
            self._restarter.tick(now)

    def observe(self, now: float) -> None:
        """Take a sample, and read the records since the last one."""
        live_since = self.pilot.log.live_since
        taken = sample(self.pilot.pid, now - self._began, bool(live_since and now - live_since >= SETTLED_S))
        if taken and self.running:
            self.samples.append(taken)
        self.account.add(self._tail.read())

    def finish(self) -> None:
        """End the pilot and read the rest."""
        self.ended_early, self._ended = self.pilot.exit_code, time.monotonic()
        self.pilot.stop()
        self.account.add(self._tail.read())

    def recoveries(self) -> list[Recovery]:
        """Return the recovery from each restart of its camera."""
        if self._restarter is None:
            return []
        return recoveries(self._restarter.done, list(self.pilot.log.outages), self._ended or time.monotonic())

    def verdicts(self, limits: Limits) -> list[Verdict]:
        """Return the verdict on each bar."""
        ends = ends_of(self.samples, limits.warmup_s, self._every_s)
        found = [*self._steadiness(ends, limits), self._frames(), self._ending()]
        return [*found, *self._recovered()] if self._restarter else found

    def _steadiness(self, ends: Ends | None, limits: Limits) -> list[Verdict]:
        rows: list[tuple[str, str, str, bool | None]] = []
        allowed = f"< {limits.growth:.1%} after {limits.warmup_s / 60:.3g} min"
        if ends is None:
            short = "too short to tell"
            rows = [("memory", short, allowed, None), *((what, short, "equal", None) for what in _COUNTS)]
        else:
            first, last = ends.memory_mib()
            said = f"{first:.1f} to {last:.1f} MiB: {ends.growth:+.2%}"
            rows = [("memory", said, allowed, ends.growth < limits.growth)]
            for what, pair in zip(_COUNTS, (ends.threads(), ends.descriptors())):
                rows.append((what, f"{pair[0]} to {pair[1]}", "equal", pair[0] == pair[1]))
        return [Verdict(self.name, *row) for row in rows]

    def _frames(self) -> Verdict:
        account, log = self.account, self.pilot.log
        wrong = account.faults()
        if not self.running:  # all was read
            wrong += account.differences(log.frames, log.summary)
        said = f"{account.processed:,} processed + {account.dropped:,} dropped of {account.captured:,} captured"
        holds = not wrong and account.captured > 0
        return Verdict(self.name, "frames", "; ".join([said, *wrong]), "all accounted for", holds)

    def _ending(self) -> Verdict:
        code = self.pilot.exit_code
        how = "still runs" if code is None else f"exit code {code}"
        early = "" if self.ended_early is None else ", before it was asked to"
        holds = None if code is None else code == 0 and self.ended_early is None
        return Verdict(self.name, "ending", how + early, "exit code 0 when asked", holds)

    def _recovered(self) -> list[Verdict]:
        found = self.recoveries()
        back = [one.took_s for one in found if one.took_s is not None]
        in_time = sum(one.in_time for one in found)
        slowest = f", {max(back):.1f} s at most" if back else ""
        all_back, all_in_time = (number == len(found) if found else None for number in (len(back), in_time))
        return [
            Verdict(self.name, "restarts", f"{len(back)} of {len(found)} recovered", "all", all_back),
            Verdict(self.name, "recovery", f"{in_time} in time{slowest}", "back-off + 2 s", all_in_time),
        ]

    def figures(self) -> dict[str, Any]:
        """Return all observations for the report."""
        log, samples = self.pilot.log, self.samples
        stride = -(-len(samples) // MOST_ROWS) or 1
        began = self._began
        last = samples[-1] if samples else None
        return {
            "frames": self.account.figures(),
            "cpu_cores": round(last.cpu_s / last.at_s, 3) if last and last.at_s else None,
            "restarts": [
                {
                    "at_s": round(one.down_at - began, 3),
                    "noticed": one.noticed,
                    "recovery_s": _rounded(one.took_s),
                    "allowed_s": _rounded(one.allowed_s),
                }
                for one in self.recoveries()
            ],
            "outages": [
                {
                    "at_s": round(one.lost_at - began, 3),
                    "lasted_s": _rounded(one.back_at and one.back_at - one.lost_at),
                    "longest_pause_s": one.pause_s,
                }
                for one in list(log.outages)
            ],
            "warnings": list(log.warnings),
            "last_lines": list(log.last_lines),
            "sample_fields": Sample._fields,
            "samples": [[_rounded(value) for value in one] for one in samples[::stride]],
        }


_COUNTS = ("threads", "descriptors")


def _rounded(value: float | None) -> float | None:
    return round(value, 3) if isinstance(value, float) else value
