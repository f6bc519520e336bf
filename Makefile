# make demo           fill the sample warehouse and show it
# make test           run every test, on real servers that it installs and starts; of a product of
#                     databases, dialects and loaders, a sample that has every one of them
# make test-matrix    run the cases outside of the samples, and every example of property tests
# make test-quick     run tests that need no server
# make test-faults    inject every fault at every point of a refresh; about an hour
# make test-versions  run the core of the tests on other versions of the servers;
#                     WITHOUT="mysql-9.7" leaves one out
# make test-lowest    run the quick tests on the lowest versions of the dependencies
# make test-wheel     run the quick tests on the wheel in dist/, without the sources
# make coverage       measure the quick tests' coverage
# make lint           ruff and mypy
# make bench          measure against pygrametl and others
# make wheel          build the wheel into dist/
# make clean          remove what the others made

PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
READY := $(VENV)/.ready
# A choice of the tests that need no server, which takes less than a minute.
QUICK := -m "not server" $(patsubst %,testsuite/test_%.py, architecture audit calendar collations \
  columns declarations dialect doctests facts file_locks idioms local_times modelling_patterns records \
  rejects settings vocabulary)

.PHONY: demo test test-matrix test-quick test-faults test-versions test-lowest test-wheel coverage lint bench \
  wheel clean servers

# The demo deletes and rebuilds tables: never those of the warehouse that a user's environment or .env names.
demo: export ETL_SOURCE_URL := sqlite:///local/source.db
demo: export ETL_WAREHOUSE_URL := duckdb:///local/warehouse.duckdb
demo: $(READY)
	mkdir -p local
	rm -f local/warehouse.duckdb
	$(RUN) -m sample --url $$ETL_SOURCE_URL --scale 1
	$(RUN) run.py --run_dimensions --run_facts --delete_existing_tables
	$(RUN) -m sample.show

test: $(READY) servers
	$(RUN) -m pytest -n 3 --dist worksteal -m "not matrix"

test-matrix: $(READY) servers
	$(RUN) -m pytest -n 3 --dist worksteal -m "matrix or hypothesis" --hypothesis-profile=matrix

test-quick: $(READY)
	$(RUN) -m pytest -n 2 --dist worksteal $(QUICK)

# The wheel and the tests in a folder of their own, where no sources are.
test-wheel: $(READY)
	rm -rf local/wheel && mkdir -p local/wheel
	$(PYTHON) -m venv local/wheel/venv
	local/wheel/venv/bin/pip install --quiet 'pip>=25.1'
	local/wheel/venv/bin/pip install --quiet "$$(ls dist/*.whl)[all]" --group dev
	cp -r testsuite sample benchmarks deploy docs *.py *.md pyproject.toml Makefile LICENSE local/wheel/
	cd local/wheel && venv/bin/python -m pytest -n 2 $(QUICK)

# uv chooses the lowest versions that pyproject.toml allows.
test-lowest: $(READY)
	rm -rf local/lowest && mkdir -p local/lowest
	$(RUN) -m pip install --quiet uv
	$(VENV)/bin/uv pip compile --quiet --resolution lowest-direct --extra all --group dev \
	  pyproject.toml --output-file local/lowest/requirements.txt
	$(VENV)/bin/uv venv --quiet local/lowest/venv
	$(VENV)/bin/uv pip install --quiet --python local/lowest/venv -r local/lowest/requirements.txt
	PYTHONPATH=. local/lowest/venv/bin/python -m pytest -n 2 $(QUICK)

coverage: $(READY)
	$(RUN) -m coverage run -m pytest $(QUICK)
	$(RUN) -m coverage report

test-versions: $(READY) servers
	SERVER_PROGRAMS=$$(sh deploy/install-server-versions.sh local/servers $(WITHOUT)) && export SERVER_PROGRAMS && \
	  $(RUN) -m pytest -n 3 --dist worksteal -m core

test-faults: $(READY) servers
	cd testsuite && ../$(RUN) -m fault_injection

lint: $(READY)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

bench: $(READY) servers
	$(RUN) -m benchmarks

wheel: $(READY)
	$(RUN) -m build --wheel

clean:
	rm -rf $(VENV) dist local .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The tests start these servers themselves, in a temporary folder; here only the programs are installed.
servers:
	sh deploy/install-servers.sh

# An older Python would have pip search for versions that fit it, for minutes and without a word.
$(READY): pyproject.toml
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and \
	  'PypeLineETL needs Python 3.11 or newer, and $(PYTHON) is %d.%d; name another: make PYTHON=python3.12' \
	  % sys.version_info[:2])"
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check 'pip>=25.1'
	$(VENV)/bin/pip install --quiet --editable '.[all]' --group dev
	touch $@
