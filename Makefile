PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo demo-images test lint clean

# Search, train, convert and evaluate on the embedded digits: a .tflite in about five minutes.
demo: $(VENV)/installed
	$(BIN)/larq_nas search --method=bnas --run_dir=runs/demo-search
	$(BIN)/larq_nas train --genotype=runs/demo-search/genotype.json --filters=12 --run_dir=runs/demo
	$(BIN)/larq_nas convert --run_dir=runs/demo
	$(BIN)/larq_nas evaluate --run_dir=runs/demo

# The same on a folder of images, which it draws: about ten minutes.
demo-images: $(VENV)/installed
	test -d runs/shapes || $(BIN)/python examples/shapes.py runs/shapes
	$(BIN)/larq_nas search --method=bnas --dataset=folder:runs/shapes --run_dir=runs/images-search
	$(BIN)/larq_nas train --genotype=runs/images-search/genotype.json --filters=12 --dataset=folder:runs/shapes \
		--run_dir=runs/images
	$(BIN)/larq_nas convert --run_dir=runs/images
	$(BIN)/larq_nas evaluate --run_dir=runs/images

test: $(VENV)/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pytest -n 2

$(VENV)/installed: setup.cfg pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(VENV)/installed-test: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info
