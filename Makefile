# make demo    set up, build, train a LeNet on real digits, optimise it, compare and time it
# make test    set up, build, lint, run the tests
# make fuzz    random networks against torch: N of them from SEED on
# make valgrind   a choice of the kernels' tests under memcheck, as baseline and as AVX2
# make gpu-check  on a machine with a GPU, in PYTHON as it is: build with nvcc in place, then bench/gpu_check.py
# make build   set up and build only;   make lint   the static checks only;   make clean   remove what was built
#
# Variables: PYTHON (3.10 or later), TORCH (a pip requirement), TORCH_PIP_ARGS (another wheel index, say), MAX_JOBS,
# PYCNN_CUDA=AUTO|ON|OFF, PYTEST_ARGS, DEMO_ARGS, GPU_CHECK_ARGS.
PYTHON ?= python3
TORCH ?= torch==2.13.0
TORCHVISION ?= torchvision==0.28.0
TORCH_PIP_ARGS ?=
PYTEST_ARGS ?=
DEMO_ARGS ?=
GPU_CHECK_ARGS ?=
N ?= 10000
SEED ?= 1000

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
CXX_FILES = $(shell find csrc -name '*.h' -o -name '*.cpp' -o -name '*.cu' -o -name '*.cuh')
say = @printf '== %s\n'

.PHONY: demo test fuzz valgrind gpu-check build lint clean FORCE
.DEFAULT_GOAL := test

demo: build
	$(say) "demo: a LeNet on scikit-learn's digits, through torch and through pycnn"
	@$(BIN)/pycnn demo $(DEMO_ARGS)

test: lint
	$(say) "tests"
	@$(BIN)/python -m pytest -q $(PYTEST_ARGS)

fuzz: build
	$(say) "fuzz: $(N) random networks, from seed $(SEED) on"
	@FUZZ_N=$(N) FUZZ_SEED=$(SEED) $(BIN)/python -m pytest -q -m slow tests/test_random_nets.py

valgrind: build
	$(say) "memcheck: a quarter of an hour"
	@PYTHON=$(BIN)/python .ci/valgrind

# No network and no .venv: torch, pybind11, ninja, cmake and pytest are those of PYTHON.
gpu-check:
	@PYCNN_CUDA=ON $(PYTHON) setup.py -q build_ext --inplace
	@$(PYTHON) -m bench.gpu_check $(GPU_CHECK_ARGS)

lint: build
	$(say) "ruff"
	@$(BIN)/ruff check -q .
	@$(BIN)/ruff format -q --check .
	$(say) "mypy --strict pycnn"
	@$(BIN)/mypy
	$(say) "layers: Python imports, C++ includes"
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/python tools/check_includes.py
	$(say) "clang-format"
	@$(BIN)/clang-format --dry-run --Werror $(CXX_FILES)

build: $(VENV)/.installed
	$(say) "build: bringing pycnn._C up to date with csrc/"
	@$(BIN)/python setup.py -q build_ext --inplace

# Built in place before pip sees it, so that the compiler's progress is on the screen; pip then finds nothing to do.
$(VENV)/.installed: pyproject.toml setup.py $(VENV)/.tools
	$(say) "build: compiling pycnn._C (one to three minutes on two cores)"
	@$(BIN)/python setup.py -q build_ext --inplace
	$(say) "installing pycnn in place, with what the demo, the tests and the checks need"
	@$(PIP) install -q --no-deps $(TORCH_PIP_ARGS) '$(TORCHVISION)'
	@$(PIP) install -q --no-build-isolation -e '.[dev,demo]' '$(TORCH)'
	@touch $@

$(VENV)/.tools: $(VENV)/.torch
	$(say) "installing the build tools"
	@$(PIP) install -q 'setuptools>=77' wheel 'pybind11>=3.0' ninja 'cmake>=3.26' numpy
	@touch $@

# Installed again only when TORCH or TORCH_PIP_ARGS is not what it was.
$(VENV)/.torch: $(VENV)/.python FORCE
	@if [ "$$(cat $@ 2>/dev/null)" != "$(TORCH) $(TORCH_PIP_ARGS)" ]; then \
	  printf '== %s\n' "installing $(TORCH) $(TORCH_PIP_ARGS)" && \
	  $(PIP) install '$(TORCH)' $(TORCH_PIP_ARGS) && echo "$(TORCH) $(TORCH_PIP_ARGS)" > $@; fi

$(VENV)/.python:
	@command -v $(PYTHON) > /dev/null || { echo "pycnn needs Python 3.10 or later, and there is no $(PYTHON): \
	apt-get install python3 python3-venv"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "pycnn needs Python 3.10 or later; \
	$(PYTHON) is $$($(PYTHON) -V): set PYTHON=..."; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2> /dev/null || { echo "$(PYTHON) cannot make a virtual environment: \
	apt-get install python3-venv"; exit 1; }
	@command -v $${CXX:-g++} > /dev/null || { echo "pycnn needs a C++17 compiler, and there is no $${CXX:-g++}: \
	apt-get install g++"; exit 1; }
	$(say) "making $(VENV) with $$($(PYTHON) -V)"
	@$(PYTHON) -m venv $(VENV)
	@touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info pycnn/_C*.so .mypy_cache .ruff_cache .pytest_cache .hypothesis \
	  .import_linter_cache
