"""The stage that builds, on a fake TensorRT that has memory for a workspace of 512 MiB: with more it builds nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from perception.workshop.build.build_stage import run
from perception.workshop.stage import serve
from tests.doubles.fake_tensorrt import ILogger, Severity
from tests.workshop.build.fake_builder import Builder, Config, Network
from tests.workshop.build.fake_stage import plug_in_builder
from tests.workshop.faulty_stage import TACTIC

ENOUGH = 512 << 20


def starve(make: Callable[[ILogger], Builder]) -> Callable[[ILogger], Builder]:
    """Makes builders that give None for a larger workspace, with what TensorRT logs then."""

    def starved(logger: ILogger) -> Builder:
        builder = make(logger)
        build = builder.build_serialized_network

        def build_or_not(network: Network, config: Config) -> memoryview | None:
            if max(config.memory.values()) <= ENOUGH:
                return build(network, config)
            logger.log(Severity.WARNING, TACTIC)
            logger.log(Severity.ERROR, "Could not find any implementation for node /model.0/conv/Conv.")
            return None

        builder.build_serialized_network = build_or_not  # type: ignore[method-assign]
        return builder

    return starved


if __name__ == "__main__":
    plug_in_builder()
    tensorrt: Any = sys.modules["tensorrt"]
    tensorrt.Builder = starve(tensorrt.Builder)
    serve(run)
