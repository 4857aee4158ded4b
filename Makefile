# Every target makes .venv when it is missing; when nothing changed that costs milliseconds.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
# Exact versions for every install, those of isolated builds included.
export PIP_CONSTRAINT := $(CURDIR)/constraints.txt

.PHONY: report test check acceptance clean

report: $(READY)
	$(BIN)/cnnclf report --out report

test: $(READY)
	$(BIN)/pytest -n auto

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

acceptance: $(READY)
	$(BIN)/pytest -m acceptance

clean:
	rm -rf .venv report build dist

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@
