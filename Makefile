# Every target makes .venv when it is missing; when nothing changed that costs milliseconds.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
# Over all cores, the tests of a module on one of them as long as others have work: its fixtures are made once.
SPREAD := -n auto --dist worksteal
PYTEST := $(BIN)/pytest $(SPREAD)
QUICK := -m 'not slow and not acceptance'
READY_TO_SERVE := .venv/.ready-to-serve
READY_TO_FUZZ := .venv/.ready-to-fuzz
READY_TO_BENCH := .venv/.ready-to-bench
READY_TO_DOCUMENT := .venv/.ready-to-document
BENCHMARKS := time_to_accuracy accuracy float32 overhead scaling datasets photographs loading allocator inference search clusters \
	tracing page reproduce gpu
# Of each fuzz target
FUZZ_SECONDS ?= 60
# To compute as a processor with AVX2 and no more, and the tests in which it would be seen: those that train.
AVX2 := ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 MKL_ENABLE_INSTRUCTIONS=AVX2
OF_THE_COMMAND := cli/test_main cli/test_models
OF_THE_CLASSIFIER := $(addprefix classifier/test_,classifier validation going_on progress checks)
TESTS_THAT_TRAIN := $(OF_THE_CLASSIFIER) classifier/test_sklearn_checks classifier/test_test_time \
	model_selection/test_compare onnx/test_export training/test_net $(OF_THE_COMMAND)
# The tests with the lowest versions that pyproject.toml allows: of what trains, exports, reports, and runs commands.
LOWEST := .venv-lowest/bin
READY_AT_LOWEST := .venv-lowest/.ready
TESTS_AT_LOWEST := $(OF_THE_CLASSIFIER) classifier/test_persistence $(OF_THE_COMMAND) cli/test_completion \
	datasets/test_mnist datasets/test_folders datasets/test_load onnx/test_classifier onnx/test_export images/test_pictures \
	plots/test_evaluation evaluation/test_predictions inspection/test_xlsx \
	$(addprefix report/test_,write page story predictions)
# Exact versions for every install, those of isolated builds included.
export PIP_CONSTRAINT := $(CURDIR)/constraints.txt

.PHONY: report test test-all test-avx2 test-lowest check acceptance fuzz bench notebooks docs clean

report: $(READY)
	$(BIN)/cnnclf report --out report

# What one waits for; test-all has also the tests that are marked slow.
test: $(READY)
	$(PYTEST) $(QUICK)

test-all: $(READY)
	$(PYTEST)

test-avx2: $(READY)
	$(AVX2) $(PYTEST) $(QUICK) $(TESTS_THAT_TRAIN:%=tests/%.py)

test-lowest: $(READY_AT_LOWEST)
	$(LOWEST)/pytest $(SPREAD) $(TESTS_AT_LOWEST:%=tests/%.py)

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

acceptance: $(READY_TO_SERVE)
	$(BIN)/pytest -m acceptance -n 2 --dist worksteal

fuzz: $(READY_TO_FUZZ)
	for target in load onnx idx images predictions; do \
		$(BIN)/python tests/fuzz/fuzz_$$target.py -max_total_time=$(FUZZ_SECONDS) || exit 1; \
	done

bench: $(READY_TO_BENCH)
	for benchmark in $(BENCHMARKS); do \
		$(BIN)/python benchmarks/$$benchmark.py --short || exit 1; \
	done

notebooks: $(READY)
	$(BIN)/python notebooks/execute.py

# Into docs/_build/html, offline; a warning, be it a dead link, is an error.
docs: $(READY_TO_DOCUMENT)
	$(BIN)/sphinx-build -c docs -b html -q -E -W --keep-going . docs/_build/html

clean:
	rm -rf .venv .venv-lowest report build dist docs/_build

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

# Python 3.11: older versions than those of today have no wheels for newer ones.
$(READY_AT_LOWEST): export PIP_CONSTRAINT := $(CURDIR)/constraints-lowest.txt
$(READY_AT_LOWEST): pyproject.toml constraints-lowest.txt
	$(PYTHON) -m venv .venv-lowest
	$(LOWEST)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	touch $@

# MLflow of docs/serving.md, Ray and the libraries of docs/works_with.md are more than a gigabyte, which only the
# acceptance tests need.
$(READY_TO_SERVE): $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,serve,tracking,cluster,neighbours]'
	touch $@

# Linux only: atheris has no wheels for other systems.
$(READY_TO_FUZZ): $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,fuzz]'
	touch $@

$(READY_TO_BENCH): $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,bench]'
	touch $@

$(READY_TO_DOCUMENT): $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,docs]'
	touch $@
