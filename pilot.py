#!/usr/bin/env python3
"""Detects vehicles in a camera or a clip, and logs each frame with its latency: python3 pilot.py --help."""

from __future__ import annotations

import os
import sys
import time
from contextlib import ExitStack

if sys.version_info < (3, 10):  # noqa: UP036 - JetPack 5 has Python 3.8, where this file must parse and say so
    sys.stderr.write("pilot.py needs Python 3.10 or newer (JetPack 6 or 7); this is {}.{}\n".format(*sys.version_info))
    sys.exit(2)

from perception.system.stop import StopFlag

if __name__ == "__main__":
    stop_flag = StopFlag()
    stop_flag.listen()  # before the heavy imports: a Ctrl-C during them is a wish to end, too

try:
    from detector_service import open_service
    from perception.app import cli
    from perception.app.check import verdicts
    from perception.app.export_at_start import export_engine
    from perception.app.meter import Meter
    from perception.app.sinks import Sinks
    from perception.app.stream import frames
    from perception.app.upkeep import Upkeep
    from perception.board.poller import Board
    from perception.camera import open_source
    from perception.camera.feed import Feed
    from perception.reporting.logs import TextLog
    from perception.settings.live import LiveSettings
    from perception.system.notify import Heartbeat
except ModuleNotFoundError as missing:
    sys.stderr.write(f"{sys.executable} lacks the package {missing.name!r}: see README.md, or run `make demo`.\n")
    sys.exit(2)
except ImportError as broken:  # numpy 2 beside an OpenCV that was built for numpy 1 is the usual one
    sys.stderr.write(f"A package of {sys.executable} does not load: {broken}. See README.md on the venv of a Jetson.\n")
    # No memory or a disk that fails to read may pass, wrong packages do not; nor does glibc's want of static TLS space.
    passing = ("failed to map segment", "Input/output error", "Cannot allocate memory")
    sys.exit(5 if any(words in str(broken) for words in passing) else 2)


def run(live: LiveSettings, stop: StopFlag, log: TextLog) -> int:
    """Detects until the source ends or a stop is asked for. The exit code."""
    settings = live.now
    with ExitStack() as stack:
        heart = stack.enter_context(Heartbeat(os.environ))

        def goes_on() -> bool:
            heart.beat()  # a camera that opens slowly is no hang
            return not stop.requested

        board = stack.enter_context(Board())
        sinks = stack.enter_context(Sinks(settings, stop, log, board.newest))
        service = stack.enter_context(
            stop.at_once(lambda wanted: open_service(wanted, heart.extend, export_engine), settings)
        )
        source = stack.enter_context(Feed(settings.source, lambda wanted: open_source(wanted, service.lend), goes_on))
        meter = Meter(service.info, time.monotonic, settings.log.warmup_frames, settings.log.summary_s)
        sinks.at_end(meter.run)
        sinks.follow(service, source, meter)
        upkeep = Upkeep(heart, live, stop, source, meter, sinks.turn, (service, meter, sinks, log, source))
        turn = stack.enter_context(upkeep)
        for frame in frames(source, settings.run, stop, turn=turn):
            (result,) = service.detect((frame,))
            report = meter.measure(frame, result)
            sinks.write(report, meter.window())
    return 0


def check(live: LiveSettings, stop: StopFlag, log: TextLog) -> int:
    """Tries everything without running; the exit code is the one a run would end with."""
    return verdicts(live.now, stop, log, open_service)


if __name__ == "__main__":
    cli.start(run, check, stop_flag)
