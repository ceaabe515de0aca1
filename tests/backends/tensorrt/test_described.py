"""A sidecar's file that speaks of two engines, as one that was just installed does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from perception.backends.tensorrt.described import Described, read_described, text_of
from perception.backends.tensorrt.engine_file import open_engine
from perception.backends.tensorrt.sidecar import read_sidecar
from perception.core.errors import BackendError
from tests.doubles.engine_files import plan, sidecar

OLD, NEW = plan(200), plan(300)


def described(data: bytes, **changes: Any) -> Described:
    told = sidecar(data, **changes)
    return Described(told.engine_sha256, told)


def bare(data: bytes) -> Described:
    return Described(sidecar(data).engine_sha256, None)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    tmp_path.chmod(0o755)
    return tmp_path / "yolo11n.json"


def write(path: Path, first: Described, other: Described | None = None) -> None:
    text = text_of(first, other)
    assert text
    path.write_text(text)


def test_either_engine_gets_its_own_sidecar_and_no_third_one_any(path: Path) -> None:
    write(path, described(NEW, gpu_name="new"), described(OLD, gpu_name="old"))
    engine = path.with_suffix(".engine")
    for data, name in ((OLD, "old"), (NEW, "new")):
        engine.write_bytes(data)
        told = open_engine(engine).sidecar
        assert told and told.gpu_name == name
    engine.write_bytes(plan(400))
    with pytest.raises(BackendError, match=r"is not the file that its sidecar .* was written for"):
        open_engine(engine)


def test_the_engine_it_was_written_for_stands_where_every_reader_looks(path: Path) -> None:
    write(path, described(NEW), described(OLD))
    assert read_sidecar(path) == sidecar(NEW)
    write(path, bare(NEW), described(OLD))
    assert read_sidecar(path) == sidecar(OLD)


def test_an_engine_of_which_nothing_is_known_fits_and_stays_unknown(path: Path) -> None:
    write(path, described(NEW), bare(OLD))
    engine = path.with_suffix(".engine")
    engine.write_bytes(OLD)
    assert open_engine(engine).sidecar is None


def test_there_is_no_file_where_nothing_is_known_and_none_of_twins(path: Path) -> None:
    assert text_of(bare(NEW)) is None
    assert text_of(bare(NEW), bare(OLD)) is None
    write(path, described(NEW), described(NEW, gpu_name="twin"))
    assert read_described(path) == (described(NEW),)
    assert read_described(path.with_name("none.json")) == ()


@pytest.mark.parametrize(
    ("also", "what"),
    [
        ([], r"also_fits must be an object, not \[\]"),
        ({}, "also_fits.engine_sha256 must be a sha256 of 64 hexadecimal digits, not None"),
        ({"engine_sha256": "0" * 64, "sidecar": 3}, "also_fits.sidecar must be an object or null, not 3"),
        ({"engine_sha256": "0" * 64, "sidecar": {}}, "it is of schema None, and this version knows 1"),
        (
            {"engine_sha256": "0" * 64, "sidecar": json.loads(sidecar().to_json())},
            "holds the sidecar of another engine",
        ),
    ],
)
def test_a_broken_second_one_is_refused_by_its_key(path: Path, also: object, what: str) -> None:
    path.write_text(json.dumps({**json.loads(sidecar().to_json()), "also_fits": also}))
    with pytest.raises(BackendError, match=f"cannot be used: .*{what}"):
        read_described(path)
