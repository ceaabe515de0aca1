# Two commands on a fresh machine: `make demo` and `make test`. Each sets up what it needs, and nothing else.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip install --quiet --disable-pip-version-check

.PHONY: demo test check test-all check-aarch64 setup clean

setup: $(VENV)/.run

$(PY):
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.10 or newer is needed, this is " + sys.version.split()[0] + ": make PYTHON=python3.12 ..." if sys.version_info < (3, 10) else 0)'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: requirements.txt | $(PY)
	$(PIP) -r requirements.txt
	@touch $@

$(VENV)/.dev: requirements.txt requirements-dev.txt | $(PY)
	$(PIP) -r requirements-dev.txt
	@# Types alone, beside what Python imports: the package asks for TensorRT itself, and would look like it.
	$(PIP) --no-deps --upgrade --target $(VENV)/typing tensorrt-stubs==10.13.0.35.1
	@# Some of its lines are no Python.
	@sed -i -e 's/\bin: list/in_: list/' -e 's/channel_axis: int) -> IScaleLayer/channel_axis: int = ...) -> IScaleLayer/' \
	  $(VENV)/typing/tensorrt_bindings/tensorrt.pyi
	@touch $@ $(VENV)/.run

# As on a Jetson: the system's OpenCV (with GStreamer) and numpy, seen from a venv. PyCUDA alone needs CUDA to build.
.venv-system/.ready: requirements-jetson.txt
	/usr/bin/python3 -m venv --system-site-packages .venv-system
	grep -v pycuda requirements-jetson.txt > .venv-system/requirements.txt
	.venv-system/bin/python -m pip install --quiet --disable-pip-version-check -r .venv-system/requirements.txt
	@touch $@

# TensorRT's own bindings, in which the tests look up names; nothing is run with them.
.venv-trt10/.ready: TENSORRT := 10.16.1.11
.venv-trt11/.ready: TENSORRT := 11.4.0.106
.venv-trt10/.ready .venv-trt11/.ready: | $(PY)
	$(PIP) --no-deps --upgrade --target $(@D) tensorrt_lean_cu12_bindings==$(TENSORRT) tensorrt_lean_cu12_libs==$(TENSORRT)
	@touch $@

demo: $(VENV)/.run  ## see vehicles detected
	$(PY) pilot.py --config config/demo.yaml

test: $(VENV)/.dev  ## run the tests
	$(PY) -m pytest

check: $(VENV)/.dev  ## everything that must hold before a change lands
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(VENV)/bin/lint-imports
	$(MAKE) test

test-all: $(VENV)/.dev  ## the suite without torch on every Python found, 3.10 to 3.13
	$(PY) scripts/test_all.py

check-aarch64: $(VENV)/.dev  ## what a Jetson installs comes as ready wheels
	$(PY) scripts/check_aarch64.py

clean:
	rm -rf .venv .venv-system .venv-3.* .venv-trt* logs out demo.mp4
