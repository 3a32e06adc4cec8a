# make run    the main experiment on the embedded data set, in a few minutes
# make test   style, types, layers and the test suite
# make docs   the site, in build/site

PYTHON ?= python3
BIN = .venv/bin
AXE = build/axe/node_modules/axe-core/axe.min.js

.PHONY: run test docs
run: .venv/installed
	$(BIN)/nrf run photos --out runs/photos

test: .venv/installed $(if $(shell command -v chromium || command -v google-chrome),$(AXE))
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy nrf scripts
	$(BIN)/lint-imports
	$(BIN)/pytest

docs: .venv/installed
	$(BIN)/pip install --quiet --editable .[docs]
	$(BIN)/sphinx-build --quiet --fail-on-warning -c docs . build/site
	@echo build/site/index.html

# The tests that open pages in Chromium check by it that all readers can use them.
$(AXE):
	npm install --silent --no-save --fetch-retries 0 --fetch-timeout 30000 \
	  --prefix build/axe axe-core@4.14.1 \
	  || echo "npm could not fetch axe-core: pages are not checked for accessibility."

.venv/installed: setup.cfg
	$(PYTHON) -c "import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else 'nrf needs Python 3.11 or newer, and this is %d.%d; try: make PYTHON=python3.12' % v[:2])"
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable .[test]
	touch $@
