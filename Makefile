# make demo    fill the sample warehouse and show it          make test    run every test, on real servers
# make lint    ruff and mypy                                  make bench   measure against pygrametl and others
# make wheel   build the wheel into dist/                     make clean   remove what the others made
# make torture strike refreshes with every fault at every point
# make test-versions WITHOUT="mysql-9.7"    run the core of the tests on other versions of the servers, but for those named

PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
READY := $(VENV)/.ready

.PHONY: demo test test-versions torture lint bench wheel clean servers

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
	$(RUN) -m pytest -n 3 --dist worksteal

test-versions: $(READY) servers
	SERVER_PROGRAMS=$$(sh deploy/install-server-versions.sh local/servers $(WITHOUT)) && export SERVER_PROGRAMS && \
	  $(RUN) -m pytest -n 3 --dist worksteal -m core

torture: $(READY) servers
	cd testsuite && ../$(RUN) -m torture

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
