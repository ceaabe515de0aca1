"""An MQTT broker that attacks the pilot, as its neighbour."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from perception.lab.benchmark.neighbours import hostile_broker
from perception.lab.benchmark.neighbours.beside import niced


class HostileBroker:
    """The process of a broker that keeps the peace outside of `attacks`. `port` is on loopback."""

    def __init__(self, core: int) -> None:
        self.sent = 0
        self.attacked = 0
        self._process = subprocess.Popen(  # noqa: S603 - our own script
            niced(core, hostile_broker.__file__), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout
        self.port = int(self._process.stdout.readline())

    def __enter__(self) -> HostileBroker:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.kill()
        self._process.communicate()

    @contextmanager
    def attacks(self, _url: str) -> Iterator[None]:
        """Attack each connection until the end of the block."""
        self._tell("harm")
        try:
            yield
        finally:
            self._tell("peace")

    def _tell(self, what: str) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(f"{what}\n")
        self._process.stdin.flush()
        self.sent, self.attacked = map(int, self._process.stdout.readline().split())
