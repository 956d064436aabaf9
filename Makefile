# Everything is done inside .venv; nothing else on the machine is changed.
VENV := .venv
PY := $(VENV)/bin/python
QUESTION ?= How does a client learn what it paid?
DOCS ?= docs

.PHONY: install run test lint docs bench clean

install: $(VENV)/.installed          ## make .venv with all that `make run` needs
run: install                         ## start the factory, add DOCS to its knowledge, ask that one question
	$(VENV)/bin/aigrid up --ask "$(QUESTION)" --docs "$(DOCS)"
test: $(VENV)/.installed-test        ## run all tests; those that need the model skip where it cannot be fetched
	@$(VENV)/bin/aigrid models pull smollm2-135m-instruct || true
	@$(VENV)/bin/aigrid models pull all-minilm-l6-v2 || true
	$(PY) -m pytest -n 2 --dist loadgroup
lint: $(VENV)/.installed-test        ## format, lint, types
	$(VENV)/bin/ruff format --check . && $(VENV)/bin/ruff check --no-cache . && $(VENV)/bin/mypy
docs: $(VENV)/.installed             ## write the generated reference pages again
	$(PY) docs/generate.py
bench: $(VENV)/.installed-bench      ## run all benchmarks and rewrite their tables in README and docs
	$(PY) -m benchmarks
clean:                               ## remove what `make` made here
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/.installed: pyproject.toml
	python3 -m venv $(VENV)
	$(PY) -m pip install --disable-pip-version-check --editable ".[agents,factory,knowledge]"
	@touch $@
$(VENV)/.installed-%: $(VENV)/.installed
	$(PY) -m pip install --disable-pip-version-check --editable ".[$*]"
	@touch $@
