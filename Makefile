PYTHON ?= python3
PYTHON310 ?= python3.10
PYTHON311 ?= python3.11
PYTHON312 ?= python3.12
VENV := .venv
BIN := $(VENV)/bin
# Versions with which the tests are run, by the version of Python.
CONSTRAINTS = $$($(BIN)/python -c 'import sys; print("constraints/python%d.%d" % sys.version_info[:2])')*.txt
INSTALL = $(BIN)/python -m pip install --quiet --constraint $(CONSTRAINTS) --editable

# The files begin in the order of the command, so that those that take long do not begin last.
PYTEST = $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder
TESTS = TF_ENABLE_ONEDNN_OPTS=1 $(PYTEST)
WITHOUT_ONEDNN = TF_ENABLE_ONEDNN_OPTS=0 $(PYTEST) -m 'onednn and not slow'

.PHONY: demo demo-images test test-all clean

# Search, train, convert and evaluate on the embedded digits: a .tflite in about ten minutes on two slow cores.
demo: $(VENV)/installed
	$(BIN)/larq_nas search --method=bnas --run_dir=runs/demo-search
	$(BIN)/larq_nas train --genotype=runs/demo-search/genotype.json --filters=12 --run_dir=runs/demo
	$(BIN)/larq_nas convert --run_dir=runs/demo
	$(BIN)/larq_nas evaluate --run_dir=runs/demo

# The same on a folder of images, which it draws.
demo-images: $(VENV)/installed
	test -d runs/shapes || $(BIN)/python examples/shapes.py runs/shapes
	$(BIN)/larq_nas search --method=bnas --dataset=folder:runs/shapes --run_dir=runs/images-search
	$(BIN)/larq_nas train --genotype=runs/images-search/genotype.json --filters=12 --dataset=folder:runs/shapes \
		--run_dir=runs/images
	$(BIN)/larq_nas convert --run_dir=runs/images
	$(BIN)/larq_nas evaluate --run_dir=runs/images

# In parts, since TensorFlow keeps the graphs of all networks of a process. What computes runs twice, since TensorFlow has
# other kernels without oneDNN.
test: $(VENV)/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(TESTS) tests/commands tests/tasks tests/tuning tests/test_*.py tests/flags
	$(TESTS) tests/supernet tests/methods
	$(TESTS) tests/converters tests/space tests/zoo
	$(TESTS) tests/training tests/devices tests/datasets tests/runs
	$(TESTS) tests/networks tests/layers tests/costs
	$(WITHOUT_ONEDNN) tests/training tests/supernet tests/networks tests/layers tests/test_*.py
	$(WITHOUT_ONEDNN) tests/methods

# The oldest and the newest that are promised, each in an environment of its own.
test-all: test-3.10 test-3.11 test-3.12

test-3.%:
	@$(PYTHON3$*) --version > /dev/null 2>&1 || \
		{ echo "Python 3.$* is not there as $(PYTHON3$*): install it, or say PYTHON3$*=/path/to/python" >&2; exit 1; }
	$(MAKE) test VENV=.venv-3.$* PYTHON=$(PYTHON3$*)

$(VENV)/installed: setup.cfg pyproject.toml $(wildcard constraints/*.txt)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@test -f $(CONSTRAINTS) || \
		{ echo "larq_nas needs Python 3.10 to 3.12, $(PYTHON) is another: say PYTHON=/path/to/python" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(INSTALL) .
	touch $@

$(VENV)/installed-test: $(VENV)/installed
	$(INSTALL) '.[test]'
	touch $@

clean:
	rm -rf $(VENV) .venv-3.* build dist *.egg-info
