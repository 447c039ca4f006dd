# `make demo` restores a real photo, `make test` runs every test. Both set themselves up on a fresh clone.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
SEESR  := $(BIN)/seesr

.PHONY: demo test lint table clean
.DELETE_ON_ERROR:

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: $(VENV)/.installed
	$(SEESR) upscale examples/cat.jpg -o out/demo --ext png --compare

test: $(VENV)/.installed lint
	$(BIN)/python -m pytest

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# docs/realsr.md; goes on where it was stopped. Also: make table TESTSET=path METHODS="bicubic folder:results/osediff"
TESTSET ?= ../shared/testsets/realsr
METHODS ?= bicubic realesrgan-x4plus mini mini:diffusion
table: $(VENV)/.installed
	$(SEESR) evaluate --testset $(TESTSET) $(METHODS:%=--method %) --against $(firstword $(METHODS)) -o runs/$(notdir $(TESTSET))
	cp runs/$(notdir $(TESTSET))/table.md docs/$(notdir $(TESTSET)).md

clean:
	rm -rf $(VENV) out
