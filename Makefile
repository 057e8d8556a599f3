# Everything here needs python3 (3.11 or later) and make, and no network but PyPI (the tests npm too). Another interpreter: make PYTHON=python3.12 …

PYTHON ?= python3
ARGS ?=
JOBS ?= 3
NAME ?= all

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check --no-input

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help demo up test lint bench clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-7s %s\n", $$1, $$2 }' Makefile

demo: $(VENV)/.runtime ## Show codes going through simulated phones, failover included (options: ARGS="…")
	@$(BIN)/seedrouter demo $(ARGS)

up: $(VENV)/.runtime ## Run the whole router on this machine (options: ARGS="--port 9000 …")
	@$(BIN)/seedrouter up $(ARGS)

test: $(VENV)/.runtime $(VENV)/.test $(VENV)/.kombu $(VENV)/.smsgate $(VENV)/.smsgate-js ## Run the tests, three files at a time (some of them: ARGS="tests/unit -k lease")
	@$(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder $(ARGS)

lint: $(VENV)/.runtime $(VENV)/.lint ## Run ruff, mypy and import-linter, all three whatever the first says
	@failed=; \
	$(BIN)/ruff check . || failed="$$failed ruff"; \
	$(BIN)/mypy || failed="$$failed mypy"; \
	$(BIN)/lint-imports --no-logo || failed="$$failed lint-imports"; \
	[ -z "$$failed" ] || { echo "lint: findings of$$failed" >&2; exit 1; }

bench: $(VENV)/.runtime ## Measure (one figure's bench: NAME=…)
	@$(BIN)/seedrouter bench $(NAME)

clean: ## Remove the virtual environment, caches and builds; messages and settings in the data folder stay
	rm -rf $(VENV) dist build .ruff_cache .mypy_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Existence alone counts: a dangling link (its interpreter was removed) is missing too, and made anew.
$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { \
	  echo "error: there is no $(PYTHON) here. Install Python 3.11 or later, or name yours: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "error: Python 3.11 or later is needed; $(PYTHON) is `$(PYTHON) --version 2>&1`. Name another one: make PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo "error: $(PYTHON) cannot make virtual environments. On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@echo "Making the virtual environment $(VENV) with `$(PYTHON) --version` (some seconds)"
	@$(PYTHON) -m venv --clear $(VENV)

# One stamp per set of packages: installed again when pyproject.toml is newer. Groups (PEP 735) need pip 25.1.
$(VENV)/.runtime: pyproject.toml | $(BIN)/python
	@echo "Installing the router and what it needs into $(VENV) (about 35 MB from PyPI; half a minute, more on a slow line)"
	@$(PIP) install 'pip>=25.1'
	@$(PIP) install --editable '.[demo]'
	@touch $@

$(VENV)/.test: pyproject.toml | $(VENV)/.runtime
	@echo "Installing what the tests need into $(VENV) (some seconds)"
	@$(PIP) install --group test
	@touch $@

# kombu's wheel has no tests; its source distribution has those that our transport must pass.
$(VENV)/.kombu: $(VENV)/.runtime
	@echo "Fetching the tests of the installed kombu (0.5 MB from PyPI)"
	@version=`$(BIN)/python -c 'from importlib.metadata import version; print(version("kombu"))'`; \
	$(PIP) download --no-binary :all: --no-deps --dest $(VENV) "kombu==$$version" && \
	tar -xzf "$(VENV)/kombu-$$version.tar.gz" -C $(VENV) "kombu-$$version/t"
	@touch $@

# As with kombu: the tests of SMSGate's Python client, which run against a live server, are in its source distribution alone.
$(VENV)/.smsgate: $(VENV)/.test
	@echo "Fetching the tests of the installed android-sms-gateway (40 kB from PyPI)"
	@version=`$(BIN)/python -c 'from importlib.metadata import version; print(version("android-sms-gateway"))'`; \
	$(PIP) download --no-binary :all: --no-deps --dest $(VENV) "android-sms-gateway==$$version" && \
	tar -xzf "$(VENV)/android_sms_gateway-$$version.tar.gz" -C $(VENV) "android_sms_gateway-$$version/tests"
	@touch $@

# SMSGate's JavaScript client; npm checks what it fetches against what its registry has published. Without npm its test says what is missing.
$(VENV)/.smsgate-js: | $(BIN)/python
	@command -v npm >/dev/null || { echo "There is no npm here, so SMSGate's JavaScript client is not fetched, and not tested"; exit 0; }; \
	echo "Fetching SMSGate's JavaScript client (12 kB from npm)"; \
	mkdir -p $(VENV)/android-sms-gateway-js && \
	npm pack --silent --ignore-scripts --no-update-notifier --cache $(VENV)/android-sms-gateway-js/cache \
	  --pack-destination $(VENV)/android-sms-gateway-js android-sms-gateway@3.0.0 >/dev/null && \
	tar -xzf $(VENV)/android-sms-gateway-js/android-sms-gateway-3.0.0.tgz -C $(VENV)/android-sms-gateway-js && \
	touch $@

$(VENV)/.lint: pyproject.toml | $(VENV)/.runtime
	@echo "Installing ruff, mypy and import-linter into $(VENV) (some seconds)"
	@$(PIP) install --group lint
	@touch $@
