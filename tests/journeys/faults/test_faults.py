"""The faults table: each row is injected into a real pilot, all of them side by side, since they mostly wait."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

import pytest

from tests.doubles import tiny_model
from tests.journeys.faults import backends, local, network
from tests.journeys.faults.conftest import TABLE
from tests.journeys.faults.lab import Lab, Outcome, Row
from tests.needs import missing_of

ROWS: dict[str, Row] = {row.__name__: row for room in (network, local, backends) for row in room.ROWS}
NEEDS = {row.__name__: tools for room in (network, local) for row, tools in room.NEEDS.items()}
ENDINGS = {row.__name__: ending for room in (network, local, backends) for row, ending in room.ROWS.items()}


@pytest.fixture(scope="session")
def running(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Future[Outcome]]]:
    """The rows that were asked for, under way."""
    folder = tmp_path_factory.mktemp("faults")
    material = folder / "material"
    material.mkdir()
    tiny_model.build(material / "tiny.onnx")
    items = [item for item in request.session.items if isinstance(item, pytest.Function) and hasattr(item, "callspec")]
    wanted = [item.callspec.params.get("row") for item in items if not missing_of(item)]
    workers = request.config.getoption("--faults-at-once", default=None) or 3 * (os.cpu_count() or 1)
    with ThreadPoolExecutor(workers) as pool:
        # The slowest first: the whole then takes hardly longer than they do.
        names = sorted((name for name in ROWS if name in wanted), key=lambda name: name not in local.SLOW)
        futures = {name: pool.submit(_run, ROWS[name], Lab(folder / name, material)) for name in names}
        yield futures
    done = {name: futures[name] for name in ROWS if name in futures}
    request.config.stash[TABLE] = {name: future.result() for name, future in done.items() if not future.exception()}


def _run(row: Row, lab: Lab) -> Outcome:
    outcome = row(lab)
    return replace(outcome, saw=outcome.saw.replace(f"{lab.folder}/", ""))


@pytest.mark.slow
@pytest.mark.timeout(400)  # the first to be asked waits for most of them
@pytest.mark.parametrize("row", [pytest.param(name, marks=pytest.mark.needs(*NEEDS.get(name, ()))) for name in ROWS])
def test_the_fault_ends_as_designed(running: dict[str, Future[Outcome]], row: str) -> None:
    outcome = running[row].result()
    assert outcome.saw
    assert outcome.ending == ENDINGS[row]
