# Everything is done inside .venv; nothing else on the machine is changed.
VENV := .venv
PY := $(VENV)/bin/python
QUESTION ?= Why is the sky blue? Answer in two sentences.

.PHONY: install run test lint docs bench clean

install: $(VENV)/.installed          ## make .venv with all that `make run` needs
run: install                         ## start the factory and ask it one question
	$(VENV)/bin/aigrid up --ask "$(QUESTION)"
test: $(VENV)/.installed-test        ## run all tests
	$(PY) -m pytest -n 2 --dist loadgroup
lint: $(VENV)/.installed-test        ## format, lint, types
	$(VENV)/bin/ruff format --check . && $(VENV)/bin/ruff check . && $(VENV)/bin/mypy
docs: $(VENV)/.installed             ## write the generated reference pages again
	$(PY) docs/generate.py
bench: $(VENV)/.installed-bench      ## run all benchmarks and rewrite their tables in README and docs
	$(PY) -m benchmarks
clean:                               ## remove what `make` made here
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/.installed: pyproject.toml
	python3 -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@
$(VENV)/.installed-%: $(VENV)/.installed
	$(PY) -m pip install --quiet --disable-pip-version-check --editable ".[$*]"
	@touch $@
