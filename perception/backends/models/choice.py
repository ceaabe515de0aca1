"""Chooses the layout of a model's output: as the user or the sidecar says, as found before, or by probes.

What probes showed is kept beside the engines, by the hash of the model, so that each file is probed once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from loguru import logger

from perception.backends.models.decision import Decided, check_detector, decide
from perception.backends.models.model_facts import Facts
from perception.backends.preprocess import PAD_GREY
from perception.core.errors import BackendError
from perception.core.layouts import LAYOUTS, Head
from perception.system.trusted_file import check_trusted, open_plain, reason_of, write_whole

Floats = npt.NDArray[np.floating]

VERSION = 1
"""Changes with evidence.py and decision.py: what was decided by another version is decided again."""
MOST_BYTES = 1 << 20
_BLOCKS_PX = (8, 48)


@dataclass(frozen=True, slots=True)
class Wish:
    """The user's word on a model's layout, and the folder for what probes show.

    layout: its name, None where it is to be found. folder: None keeps nothing.
    """

    layout: str | None = None
    folder: Path | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """An open model. names: its classes by id. probe: gives the output (1, ., .) for a picture (3, H, W) of 0 to 1.

    sha256: gives the hash of the file, which takes time.
    """

    path: Path
    facts: Facts
    names: Mapping[int, str]
    input_hw: tuple[int, int]
    probe: Callable[[Floats], Floats]
    sha256: Callable[[], str]


def choose(model: Candidate, wish: Wish) -> Head:
    """Return the head of the model, and log what is odd about it. Raises BackendError where there is none to be had."""
    grey, *others = probes(model.input_hw)
    output = _copied(model.probe(grey))
    check_detector(model.path, [output], model.facts)
    kept = _Kept(wish.folder, model, wish.layout)
    decided = kept.read(output.shape)
    if decided is None:
        outputs = [output, *(_copied(model.probe(other)) for other in others)]
        decided = decide(model.path, outputs, model.names, model.facts, model.input_hw, wish.layout)
        kept.write(decided)
    for note in decided.notes:
        logger.warning(note)
    return decided.head


def probes(input_hw: tuple[int, int]) -> list[Floats]:
    """Return three pictures (3, H, W) of 0 to 1: the grey of the padding, and two of blocks in random colours."""
    height, width = input_hw
    random = np.random.default_rng(5)
    pictures: list[Floats] = [np.full((3, height, width), PAD_GREY / 255, np.float32)]
    for side in _BLOCKS_PX:
        colours = random.random((3, -(-height // side), -(-width // side)), np.float32)
        pictures.append(colours.repeat(side, 1).repeat(side, 2)[:, :height, :width])
    return pictures


def _copied(output: Floats) -> Floats:
    """In float32; a session may use its memory again."""
    return np.array(output, np.float32)


class _Kept:
    """The file that holds what was decided of one model, for these names, this size and this wish."""

    def __init__(self, folder: Path | None, model: Candidate, wanted: str | None) -> None:
        self._path: Path | None = None
        if folder is not None:
            facts = (model.facts.head, model.facts.suppressed)
            depends_on = [VERSION, model.sha256(), sorted(model.names.items()), model.input_hw, facts, wanted]
            key = hashlib.sha256(json.dumps(depends_on).encode()).hexdigest()[:16]
            self._path = folder / f"layout-{key}.json"

    def read(self, shape: tuple[int, ...]) -> Decided | None:
        """Return the kept choice; None without a usable one, or where another user could have put it there."""
        if self._path is None:
            return None
        try:
            with open_plain(self._path) as file:
                check_trusted(self._path, file.fileno())
                return _decided(json.loads(file.read(MOST_BYTES)), shape)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError, RecursionError, BackendError) as error:
            logger.info(f"The layout is looked for again, {self._path} is of no use: {_reason(error)}")
            return None

    def write(self, decided: Decided) -> None:
        """For the next start, where that is possible."""
        if self._path is None:
            return
        values = {"layout": decided.head.layout.name, "ids": decided.head.ids, "notes": decided.notes}
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(self._path, json.dumps(values).encode())
        except OSError as error:
            logger.info(f"{self._path} cannot be written, so each start looks for the layout: {_reason(error)}")


def _reason(error: Exception) -> str:
    return error.what if isinstance(error, BackendError) else reason_of(error)


def _decided(values: Any, shape: tuple[int, ...]) -> Decided:
    """Raises ValueError, TypeError or KeyError for what is no decision on an output of this shape."""
    layout, ids, notes = LAYOUTS[values["layout"]], tuple(values["ids"]), tuple(values["notes"])
    if not ids or any(type(number) is not int for number in ids) or any(type(note) is not str for note in notes):
        raise ValueError("it holds no decision")
    if not layout.fits(shape, len(ids)):
        raise ValueError(f"it is of another output than {shape}")
    return Decided(Head(layout, ids), notes)
