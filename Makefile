# `make demo` restores a real photo, `make test` runs the tests. Both set themselves up on a fresh clone.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
SEESR  := $(BIN)/seesr

.PHONY: demo test test-slow lint docs table clean
.DELETE_ON_ERROR:

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

demo: $(VENV)/.installed
	$(SEESR) upscale examples/cat.jpg -o out/demo --ext png --compare

# As many processes as there are cores to spare; each takes one core and some 2 GB. `make test WORKERS=0`: one after the other.
WORKERS ?= 2
PYTEST  := $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist worksteal

test: $(VENV)/.installed lint
	$(PYTEST)

# What `make test` leaves out: repetitions in full number and long trainings, some minutes.
test-slow: $(VENV)/.installed
	$(PYTEST) -m slow

lint: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The site, into site/index.html; without network.
docs: $(VENV)/.installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo site/index.html

# docs/realsr.md; goes on where it was stopped. Also: make table TESTSET=path METHODS="bicubic folder:results/osediff"
TESTSET ?= ../shared/testsets/realsr
METHODS ?= bicubic realesrgan-x4plus mini mini:diffusion
table: $(VENV)/.installed
	$(SEESR) evaluate --testset $(TESTSET) $(METHODS:%=--method %) --against $(firstword $(METHODS)) -o runs/$(notdir $(TESTSET))
	cp runs/$(notdir $(TESTSET))/table.md docs/$(notdir $(TESTSET)).md

clean:
	rm -rf $(VENV) out site
