# Every target sets itself up from nothing: Python, pip and make are enough.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
export HF_HUB_OFFLINE ?= 1
export TOKENIZERS_PARALLELISM ?= false

.PHONY: demo test check bench format

$(VENV)/ready: pyproject.toml constraints.txt
	test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install -q -c constraints.txt torch
	$(RUN) -m pip install -q -c constraints.txt -e '.[demo,report,test,check]'
	touch $@

demo: $(VENV)/ready  ## train two adapters on the embedded corpus and ask them
	$(RUN) recipes/demo.py

test: $(VENV)/ready  ## all tests
	OMP_NUM_THREADS=1 $(RUN) -m pytest -n logical --dist loadfile

check: $(VENV)/ready  ## format, lint, types
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy

format: $(VENV)/ready
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

bench: $(VENV)/ready  ## the table of benchmarks/RESULTS.md (needs ADAPTKIT_DATA)
	$(RUN) benchmarks/sst2.py
