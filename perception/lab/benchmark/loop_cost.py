"""The cost of the loop outside `detect`: mailbox, meter, log line, record. It runs as pilot.py's own does.

`detect` is the real one: a processor that slept instead would be slow to wake, and that would be measured.
"""

from __future__ import annotations

import time

from perception.app.meter import Meter
from perception.app.sinks import Sinks
from perception.app.stream import frames, open_source
from perception.board.poller import Board
from perception.core.results import BackendInfo
from perception.lab.benchmark.frame_cost import Detector
from perception.reporting.logs import TextLog
from perception.settings.model import Settings
from perception.system.stop import StopFlag

WARMUP = 10


def measure(service: Detector, info: BackendInfo, settings: Settings, log: TextLog) -> dict[str, list[float]]:
    """Return the milliseconds of each turn of the loop outside detect, by part, without the first ten.

    The source must be faster than detect: then a frame is there when it is asked for, and no waiting is measured.
    """
    stop = StopFlag()
    costs: dict[str, list[float]] = {"take a frame": [], "meter": [], "line and record": [], "all": []}
    with Board() as board, Sinks(settings, stop, log, board.newest) as sinks, open_source(settings.source) as source:
        meter = Meter(info, time.monotonic, settings.log.warmup_frames, settings.log.summary_s)
        asked = time.perf_counter()
        for frame in frames(source, settings.run, stop):
            taken = time.perf_counter()
            result = service.detect([frame])[0]
            detected = time.perf_counter()
            report, summary = meter.measure(frame, result), meter.window()
            metered = time.perf_counter()
            sinks.write(report, summary)
            written = time.perf_counter()
            parts = (taken - asked, metered - detected, written - metered)
            for name, seconds in zip(costs, (*parts, sum(parts))):
                costs[name].append(seconds * 1000)
            asked = time.perf_counter()
    return {name: values[WARMUP:] for name, values in costs.items()}
