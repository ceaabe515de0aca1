"""Three viewers of the page and a scraper of /metrics, as a neighbour of the pilot."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from perception.lab.benchmark.neighbours import web_viewers
from perception.lab.benchmark.neighbours.beside import niced


@contextmanager
def viewers(url: str, core: int, got: dict[str, int]) -> Iterator[None]:
    """Run them until the end of the block; `got` gains the `bytes` and `scrapes` that they got."""
    command = niced(core, web_viewers.__file__, url)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603 - our own script
    try:
        yield
    finally:
        process.terminate()
        told, _ = process.communicate()
    with suppress(json.JSONDecodeError):  # it was ended before it could tell
        for name, count in json.loads(told).items():
            got[name] += count
