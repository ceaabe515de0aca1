"""Garbage in every file, in every answer of a command and of a probe: no check raises, and the report stays one."""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perception.board import sysfs
from perception.doctor.checks.machine import Machine
from perception.doctor.examine import CHECKS, examine, findings_of
from perception.doctor.finding import Check, Finding, Verdict, ok
from perception.doctor.report import json_text, text_lines
from tests.doctor.engine_maker import write_engine
from tests.doctor.trees import NAMES, Tree

NASTY = (
    "",
    "\0",
    "nan",
    "inf",
    "-inf",
    "1e999",
    "-1",
    "9" * 5000,
    "½",
    "²",
    "٣",
    "\x1b[2J",
    "a: b\n\nc",
    "= =",
    "{",
    "[" * 9,
)
TEXTS = st.sampled_from(NASTY) | st.text(max_size=60) | st.integers().map(str)
JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)


@st.composite
def mangled(draw: st.DrawFn, original: bytes) -> bytes:
    """The original with a piece of it replaced, cut off, repeated; or something else altogether."""
    kind = draw(st.sampled_from(("keep", "number", "cut", "replace", "other", "binary")))
    if kind == "keep" or (kind in ("cut", "replace") and not original):
        return original
    if kind == "binary":
        return draw(st.binary(max_size=80))
    text = draw(TEXTS).encode("utf-8", "surrogatepass")
    if kind == "other":
        return text
    if kind == "number":
        start = draw(st.integers(0, len(original)))
        return original[:start] + re.sub(rb"\d+", lambda match: text, original[start:], count=3)
    at = draw(st.integers(0, len(original)))
    return original[:at] if kind == "cut" else original[:at] + text + original[at + len(text) :]


def _changed(facts: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """The facts with some of them something else."""
    return st.dictionaries(st.sampled_from(sorted(facts)), JSONS).map(lambda new: {**facts, **new})


@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), name=st.sampled_from(NAMES))
def test_no_check_ever_raises(data: st.DataObject, name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        tree = Tree(name, Path(folder))
        write_engine(tree.engines / "yolo11n.engine")
        files = sorted(path for path in Path(folder).rglob("*") if path.is_file())
        for path in data.draw(st.lists(st.sampled_from(files), max_size=12, unique=True), "files"):
            path.write_bytes(data.draw(mangled(path.read_bytes()), str(path.relative_to(folder))))
        for words in data.draw(st.lists(st.sampled_from(sorted(tree.commands)), max_size=2, unique=True)):
            tree.commands[words] = data.draw(mangled(tree.commands[words].encode())).decode("utf-8", "replace")
        for probe in data.draw(st.lists(st.sampled_from(sorted(tree.probes)), max_size=3, unique=True)):
            tree.probes[probe] = data.draw(JSONS | _changed(tree.probes[probe]))
        _examine_all(tree.machine)


@pytest.mark.parametrize("nasty", NASTY, ids=lambda text: repr(text[:6]))
@pytest.mark.parametrize("name", NAMES)
def test_one_text_in_all_files_and_answers(name: str, nasty: str, tmp_path: Path) -> None:
    tree = Tree(name, tmp_path)
    for path in tree.root.rglob("*"):
        if path.is_file():
            path.write_text(nasty)
    tree.commands = dict.fromkeys(tree.commands, nasty)
    tree.probes = {probe: dict.fromkeys(facts, nasty) for probe, facts in tree.probes.items()}
    _examine_all(tree.machine)


@pytest.mark.parametrize("name", NAMES)
def test_folders_where_files_should_be(name: str, tmp_path: Path) -> None:
    tree = Tree(name, tmp_path)
    for path in list(tree.root.rglob("*")):
        if path.is_file():
            path.unlink()
            path.mkdir()
    _examine_all(tree.machine)


def test_an_empty_machine(tmp_path: Path) -> None:
    tree = Tree("jetpack-6.2", tmp_path)
    tree.root = tmp_path / "nothing"
    tree.project = tmp_path / "nothing"
    tree.commands, tree.probes = {}, {probe: {} for probe in tree.probes}
    _examine_all(tree.machine)


def _examine_all(machine: Machine) -> None:
    """Runs every check, also those of other machines, one after the other; judges the report."""
    for check in CHECKS:
        for finding in findings_of(check, machine):
            assert "the check itself failed" not in finding.found, (check.name, finding.found)
            assert finding.found
            assert (finding.verdict in (Verdict.WARNING, Verdict.PROBLEM)) == bool(finding.code and finding.cure)
    results = examine(machine, CHECKS)
    assert json.loads(json_text(machine, results))["findings"]
    lines = list(text_lines(results, 100, color=False))
    assert all(line.isprintable() for line in lines)


def test_a_check_that_raises_becomes_cannot_tell_with_the_exception_named(tmp_path: Path) -> None:
    def raises(machine: Machine) -> list[Finding]:
        raise ZeroDivisionError("by zero")

    checks = (Check("bad", "bad", raises), Check("good", "good", lambda machine: [ok("fine")]))

    bad, good = examine(Tree("desk", tmp_path).machine, checks)

    assert bad.finding.verdict is Verdict.UNKNOWN
    assert "ZeroDivisionError: by zero" in bad.finding.found
    assert good.finding.found == "fine"


@pytest.mark.parametrize(
    "reader", [sysfs.temperatures_c, sysfs.throttling, sysfs.oc_events, sysfs.memory, sysfs.power_mode]
)
def test_the_boards_readers_stand_an_empty_root(reader: Any, tmp_path: Path) -> None:
    assert not any(reader(tmp_path) or [])
