"""The names of TensorRT that the run time uses: all of them listed, and all of them in the real bindings.

`make .venv-trt10/.ready .venv-trt11/.ready` brings the bindings, which need no GPU to be imported.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from perception.backends.tensorrt import log_tail as tensorrt_memory
from perception.backends.tensorrt import runtime as tensorrt
from perception.backends.tensorrt.runtime import USED
from perception.system.home import ROOT

KNOW_TENSORRT = (Path(tensorrt.__file__), Path(tensorrt_memory.__file__))
# What the code calls TensorRT's objects, and what they are.
OBJECTS = {
    "module": "",
    "self._module": "",
    "severity": "ILogger.Severity.",
    "self._runtime": "Runtime.",
    "self._engine": "ICudaEngine.",
    "self._context": "IExecutionContext.",
    "context": "IExecutionContext.",
}
LOOK_UP = """
import tensorrt_lean_bindings as module
from perception.backends.tensorrt.runtime import library_version, missing_names
print(module.__version__, library_version(module), *missing_names(module))
"""


def names_in_use() -> set[str]:
    """Every attribute of TensorRT's objects in the modules of the run time, as USED has it."""
    trees = [ast.parse(path.read_text()) for path in KNOW_TENSORRT]
    chains = [ast.unparse(node) for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    found = {
        kind + chain.removeprefix(f"{owner}.")
        for chain in chains
        for owner, kind in OBJECTS.items()
        if chain.startswith(f"{owner}.")
    }
    return {name for name in found if not any(other.startswith(f"{name}.") for other in (*found, *USED))}


def test_the_list_is_what_the_run_time_uses() -> None:
    assert names_in_use() == set(USED)


def test_no_other_module_of_the_run_time_knows_tensorrt() -> None:
    for path in [*ROOT.glob("*.py"), *(ROOT / "perception").rglob("*.py")]:
        if path in KNOW_TENSORRT or "workshop" in path.parts or "doctor" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {"tensorrt", "tensorrt_lean", "tensorrt_bindings"} & set(modules), path


@pytest.mark.parametrize(
    ("folder", "version"),
    [
        pytest.param(".venv-trt10", "10.16.1.11", marks=pytest.mark.needs("tensorrt-10")),
        pytest.param(".venv-trt11", "11.4.0.106", marks=pytest.mark.needs("tensorrt-11")),
    ],
)
def test_every_name_is_in_the_real_bindings(folder: str, version: str) -> None:
    """Nothing is made with them: TensorRT crashes without a driver."""
    place = ROOT / folder
    code = f"import sys\nsys.path[:0] = [{str(place)!r}, {str(ROOT)!r}]\n{LOOK_UP}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    if "undefined symbol: Py" in done.stderr or "Python version mismatch" in done.stderr:
        pytest.skip(f"no GPU bindings of TensorRT {version} for Python {sys.version.split()[0]}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [version, ".".join(version.split(".")[:3])], "what follows is missing"
