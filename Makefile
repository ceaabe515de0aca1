# Two commands on a fresh machine: `make demo` and `make test`. Each sets up what it needs, and nothing else.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip install --quiet --disable-pip-version-check
LOCK := $(VENV)/bin/uv pip compile --quiet --universal --python-version 3.10 --generate-hashes --custom-compile-command "make lock"
PYTEST := $(PY) -m pytest --numprocesses auto --dist loadfile

.PHONY: demo test check lint test-all check-aarch64 lock setup clean

setup: $(VENV)/.run

$(PY):
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.10 or newer is needed, this is " + sys.version.split()[0] + ": make PYTHON=python3.12 ..." if sys.version_info < (3, 10) else 0)'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: requirements.lock | $(PY)
	$(PIP) --require-hashes -r requirements.lock
	@touch $@

$(VENV)/.dev: requirements-dev.lock | $(PY)
	$(PIP) --require-hashes -r requirements-dev.lock
	@touch $@ $(VENV)/.run

# Types alone, beside what Python imports: the package asks for TensorRT itself, and would look like it.
$(VENV)/.types: | $(PY)
	$(PIP) --no-deps --upgrade --target $(VENV)/typing tensorrt-stubs==10.13.0.35.1
	@# Some of its lines are no Python.
	@sed -i -e 's/\bin: list/in_: list/' -e 's/channel_axis: int) -> IScaleLayer/channel_axis: int = ...) -> IScaleLayer/' \
	  $(VENV)/typing/tensorrt_bindings/tensorrt.pyi
	@touch $@

# As on a Jetson: the system's OpenCV (with GStreamer), seen from a venv. PyCUDA alone needs CUDA to build.
.venv-system/.ready: requirements-jetson.lock
	/usr/bin/python3 -m venv --system-site-packages .venv-system
	awk '/^[^ #]/ {skip = /^pycuda==/} !skip' requirements-jetson.lock > .venv-system/requirements.lock
	.venv-system/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r .venv-system/requirements.lock
	@touch $@

# TensorRT's own bindings, in which the tests look up names; nothing is run with them.
.venv-trt10/.ready: TENSORRT := 10.16.1.11
.venv-trt11/.ready: TENSORRT := 11.4.0.106
.venv-trt10/.ready .venv-trt11/.ready: | $(PY)
	$(PIP) --no-deps --upgrade --target $(@D) tensorrt_lean_cu12_bindings==$(TENSORRT) tensorrt_lean_cu12_libs==$(TENSORRT)
	@touch $@

demo: $(VENV)/.run  ## see vehicles detected
	$(PY) pilot.py --config config/demo.yaml

test: $(VENV)/.dev  ## run the tests, but for those that take minutes each
	$(PYTEST) -m "not long"

lint: $(VENV)/.dev $(VENV)/.types
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(VENV)/bin/lint-imports

check: lint  ## everything that must hold before a change lands
	$(PYTEST)

test-all: $(VENV)/.dev  ## the suite without torch on every Python found, 3.10 to 3.13
	$(PY) scripts/test_all.py

check-aarch64: $(VENV)/.dev  ## what a Jetson installs comes as ready wheels
	$(PY) scripts/check_aarch64.py

# UPGRADE=--upgrade for the newest versions; without it only what the ranges ask for moves.
lock: $(VENV)/.dev  ## make the lock files of the ranges in requirements*.txt
	$(LOCK) $(UPGRADE) requirements.txt -o requirements.lock
	$(LOCK) $(UPGRADE) requirements-jetson.txt -o requirements-jetson.lock
	$(LOCK) $(UPGRADE) --constraints requirements.lock requirements-dev.txt -o requirements-dev.lock

clean:
	rm -rf .venv .venv-system .venv-3.* .venv-trt* logs out demo.mp4
