# Everything runs in .venv, which is made from the lock on first use and again when the lock changes.
# `make PYTHON=python3.12 test` picks the interpreter; otherwise the first one that fits is taken.

PYTHON ?=
UV_FLAGS ?=

venv_python := .venv/bin/python
candidates := $(if $(PYTHON),"$(PYTHON)",python3 python3.13 python3.12 python3.11 python3.10)
supported := import sys; raise SystemExit(not (3, 10) <= sys.version_info[:2] < (3, 14))
quickstart_data := data/quickstart
quickstart_sounds := outputs/quickstart

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install quickstart test check format lock clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-11s %s\n", $$1, $$2}' Makefile

install: .venv/.installed ## Make or update the environment in .venv

quickstart: .venv/.installed ## Synthesise drums, train on them for a few minutes, write 16 sounds
	$(venv_python) -m tiny_audio_diffusion.data.synthesis $(quickstart_data)
	$(venv_python) train.py exp=quickstart datamodule.dataset.path=$(quickstart_data)
	$(venv_python) generate.py ckpt=last count=16 out=$(quickstart_sounds) overwrite=true
	@echo "Your sounds: $(CURDIR)/$(quickstart_sounds)"

test: .venv/.installed ## Run the tests
	$(venv_python) -m pytest

check: .venv/.installed ## Lint, formatting and types, changing nothing
	$(venv_python) -m ruff check .
	$(venv_python) -m ruff format --check .
	$(venv_python) -m mypy

format: .venv/.installed ## Fix what ruff can fix and format the code
	$(venv_python) -m ruff check --fix .
	$(venv_python) -m ruff format .

lock: .venv/.installed ## Write utils/requirements.txt from pyproject.toml (UV_FLAGS=--upgrade for newer versions)
	$(venv_python) -m uv pip compile --quiet --universal --python-version 3.10 --extra test \
		--custom-compile-command "make lock" $(UV_FLAGS) --output-file utils/requirements.txt pyproject.toml

clean: ## Remove the environment and the caches; data, logs and outputs stay
	rm -rf .venv .pytest_cache .ruff_cache .mypy_cache build src/*.egg-info
	find src tests utils -name __pycache__ -type d -prune -exec rm -rf {} +

# The lock is complete, so pip adds nothing to it; setuptools is in it, so linking the package asks no registry.
.venv/.installed: utils/requirements.txt pyproject.toml
	@if ! $(venv_python) -m pip --version >/dev/null 2>&1; then \
		found=; \
		for python in $(candidates); do \
			if "$$python" -c '$(supported)' >/dev/null 2>&1; then found="$$python"; break; fi; \
		done; \
		if [ -z "$$found" ]; then \
			printf '%s\n' 'Python 3.10 to 3.13 is needed, and none of these is: $(subst ",,$(candidates)). Try make PYTHON=/path/to/python3.12' >&2; \
			exit 1; \
		fi; \
		"$$found" -m venv .venv; \
	fi
	@echo "Installing into .venv: some minutes, and on Linux 5 GB, most of it CUDA, which a CPU does not use but torch asks for."
	$(venv_python) -m pip install --quiet --no-deps --requirement utils/requirements.txt
	$(venv_python) -m pip install --quiet --no-build-isolation --no-deps --editable .
	@touch $@
