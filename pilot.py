#!/usr/bin/env python3
"""Detects vehicles in a camera or a clip, and logs each frame with its latency: python3 pilot.py --help."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack

if sys.version_info < (3, 10):  # noqa: UP036 - JetPack 5 has Python 3.8, where this file must parse and say so
    sys.stderr.write("pilot.py needs Python 3.10 or newer (JetPack 6 or 7); this is {}.{}\n".format(*sys.version_info))
    sys.exit(2)

from perception.stop import StopFlag

if __name__ == "__main__":
    stop_flag = StopFlag()
    stop_flag.listen()  # before the heavy imports: a Ctrl-C during them is a wish to end, too

try:
    from detector_service import open_service
    from perception import cli
    from perception.camera import open_source
    from perception.camera.stream import frames
    from perception.check import verdicts
    from perception.config import Settings
    from perception.meter import Meter
    from perception.reporting.logs import TextLog
    from perception.reporting.sinks import Sinks
except ModuleNotFoundError as missing:
    sys.stderr.write(f"{sys.executable} lacks the package {missing.name!r}: see README.md, or run `make demo`.\n")
    sys.exit(2)
except ImportError as broken:  # numpy 2 beside an OpenCV that was built for numpy 1 is the usual one
    sys.stderr.write(f"A package of {sys.executable} does not load: {broken}. See README.md on the venv of a Jetson.\n")
    sys.exit(2)


def run(settings: Settings, stop: StopFlag, log: TextLog) -> int:
    """Detects until the source ends or a stop is asked for. The exit code."""
    with ExitStack() as stack:
        sinks = stack.enter_context(Sinks(settings, stop, log))
        service = stack.enter_context(stop.at_once(open_service, settings))
        source = stack.enter_context(open_source(settings.source))
        meter = Meter(service.info, time.monotonic, settings.log.warmup_frames, settings.log.summary_s)
        sinks.at_end(meter.run)
        for frame in frames(source, settings.source, settings.run, stop):
            result = service.detect(frame)
            report = meter.measure(frame, result)
            sinks.write(report, meter.window())
    return 0


def check(settings: Settings, stop: StopFlag, log: TextLog) -> int:
    """Tries everything without running; the exit code is the one a run would end with."""
    return verdicts(settings, stop, log, open_service)


if __name__ == "__main__":
    cli.start(run, check, stop_flag)
