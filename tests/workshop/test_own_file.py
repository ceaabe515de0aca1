"""--json and --plot write over what the same command has written, and over nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from perception.system.home import ROOT
from tests.doubles import tiny_model
from tests.workshop.accuracy.folders import write_set
from tests.workshop.latency.runs import steady, write

REFUSED = "is there already, and was not written by this command. Name another file."


def start(folder: Path, script: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts" / script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=folder)


@pytest.mark.parametrize("name", ["report.png", "report.html"])
def test_a_plot_replaces_a_plot_alone(tmp_path: Path, name: str) -> None:
    run = write(tmp_path / "frames.jsonl", steady(300))
    for _ in range(2):
        assert start(tmp_path, "latency_report.py", run, "--plot", name).returncode == 0
    mine = tmp_path / name
    mine.write_text("<html>a page of somebody else</html>")
    done = start(tmp_path, "latency_report.py", run, "--plot", name)
    assert (done.returncode, done.stderr) == (2, f"--plot {name} {REFUSED}\n")
    assert mine.read_text() == "<html>a page of somebody else</html>"


@pytest.mark.parametrize("how", ["link", "hard link"])
def test_a_plot_never_replaces_its_input(tmp_path: Path, how: str) -> None:
    run = write(tmp_path / "frames.jsonl", steady(300))
    before = run.read_bytes()
    if how == "link":
        (tmp_path / "x.png").symlink_to(run)
    else:
        os.link(run, tmp_path / "x.png")
    assert start(tmp_path, "latency_report.py", run, "--plot", "x.png").returncode == 2
    assert run.read_bytes() == before


def test_figures_of_a_comparison_replace_those_alone(tmp_path: Path) -> None:
    model = tiny_model.build(tmp_path / "m.onnx")
    data = write_set(tmp_path, {str(number): ["1 0.25 0.375 0.25 0.25"] for number in range(3)})
    asked: list[str | Path] = [model, "--data", data, "--threads", "1", "--cache", tmp_path / "cache", "--json"]
    for _ in range(2):
        assert start(tmp_path, "evaluate.py", *asked, "figures.json").returncode == 0
    assert json.loads((tmp_path / "figures.json").read_text())["made_by"] == "vehicle-pilot evaluate.py"
    for name in ("m.onnx", "data.yaml", "images/val/0.png", "labels/val/0.txt"):
        before = (tmp_path / name).read_bytes()
        done = start(tmp_path, "evaluate.py", *asked, name)
        assert (done.returncode, done.stderr) == (2, f"--json {name} {REFUSED}\n")
        assert (tmp_path / name).read_bytes() == before


@pytest.mark.parametrize(
    "command", [("benchmark.py", "drive", "--rounds", "6"), ("soak.py", "--hours", "0.005", "--on", "demo")]
)
def test_a_measurement_is_refused_before_it_begins(tmp_path: Path, command: tuple[str, ...]) -> None:
    script, *arguments = command
    (tmp_path / "soak.json").write_text('{"machine": "of another command"}')
    done = start(tmp_path, script, *arguments, "--json", "soak.json")
    assert (done.returncode, done.stderr.splitlines()[-1]) == (2, f"--json soak.json {REFUSED}")
    assert (tmp_path / "soak.json").read_text() == '{"machine": "of another command"}'
