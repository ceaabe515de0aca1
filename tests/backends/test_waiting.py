"""Threads of the CPU backends block while they wait, unless whoever starts the pilot wants them to spin."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import onnxruntime
import pytest

from perception.backends.onnxruntime import OnnxRuntimeSession
from perception.backends.waiting import POLICY
from perception.lab.benchmark import wait_cost
from perception.system.home import ROOT
from tests.doubles import tiny_model

SPINNING = "session.intra_op.allow_spinning"


@pytest.mark.parametrize(("policy", "spinning"), [(None, "0"), ("PASSIVE", "0"), ("ACTIVE", "1"), ("active", "1")])
def test_onnx_runtime_blocks_unless_told_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, policy: str | None, spinning: str
) -> None:
    given: list[str] = []
    real = onnxruntime.InferenceSession

    def open_session(path: str, options: Any, providers: list[str]) -> Any:
        given.append(options.get_session_config_entry(SPINNING))
        return real(path, options, providers=providers)

    monkeypatch.setattr(onnxruntime, "InferenceSession", open_session)
    monkeypatch.setenv(POLICY, policy or "")
    if policy is None:
        monkeypatch.delenv(POLICY)
    session = OnnxRuntimeSession(tiny_model.build(tmp_path / "m.onnx"), 64, 1)
    assert given == [spinning]
    session.close()


FAKE_TORCH = "import os\nprint(os.environ.get('OMP_WAIT_POLICY'))\nraise SystemExit(0)\n"


@pytest.mark.parametrize(("policy", "heard"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_the_openmp_of_torch_hears_of_it_before_it_is_loaded(tmp_path: Path, policy: str | None, heard: str) -> None:
    (tmp_path / "torch.py").write_text(FAKE_TORCH)
    environment = {name: value for name, value in os.environ.items() if name != POLICY}
    script = (
        "from pathlib import Path\nfrom perception.backends.pytorch import PyTorchSession\n"
        "PyTorchSession(Path('x.pt'), 640, 0, 'cpu')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
        env={**environment, "PYTHONPATH": str(tmp_path), **({POLICY: policy} if policy else {})},
    )
    assert (done.returncode, done.stdout) == (0, f"{heard}\n"), done.stderr


def test_both_ways_are_measured_idle_and_busy(tmp_path: Path) -> None:
    model = tiny_model.build(tmp_path / "m.onnx")
    times = wait_cost.measure(ROOT, [model], 2, 1)
    assert {name: len(values) for name, values in times.items()} == {
        f"m.onnx, {load}, {way}": 2 for load in ("idle", "1 busy") for way in ("spin", "block")
    }
    assert all(value > 0 for values in times.values() for value in values)
