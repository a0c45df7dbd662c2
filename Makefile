# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) 2026, the immutable.cutover authors
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS += --no-print-directory

# The environment of every command below; ansible.cfg holds Ansible's settings, the three repeated here are for tools
# that write a configuration of their own (Molecule) or start elsewhere. Version-manager shims leave PATH: one for a
# missing Python is fatal to ansible-test.
USER_PATH := $(PATH)
export PATH := $(CURDIR)/.venv/bin:$(shell printf %s "$$PATH" | tr ':' '\n' | grep -v '/shims$$' | paste -sd:)
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg
export ANSIBLE_HOME := $(CURDIR)/.ansible/home
export ANSIBLE_COLLECTIONS_PATH := $(CURDIR)/.ansible/collections
export PYTHONDONTWRITEBYTECODE := 1
export IMMUTABLE_CUTOVER_BYTECODE := $(CURDIR)/.cache/bytecode
export UV_CACHE_DIR := $(CURDIR)/.cache/uv

PYTHON := .venv/bin/python
PARTS := lint unit sanity integration molecule
COLLECTION_LINK := .ansible/collections/ansible_collections/immutable/cutover

.PHONY: help venv collection-link engine test-packages demo bench claim chaos test $(PARTS) format changelog lock-requirements clean model

help: ## show this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

venv: collection-link
	@PATH="$(USER_PATH)" tools/venv.sh

# Ansible finds a collection by its path below ansible_collections; this is the repository under that name.
collection-link:
	@mkdir -p $(dir $(COLLECTION_LINK)) && ln -sfn ../../../.. $(COLLECTION_LINK)

engine: venv ## Docker Engine on this machine: installed and started if none runs
	@$(PYTHON) tools/made.py .venv/bin/ansible-playbook immutable.cutover.engine

demo: engine ## bake, deploy, replace under load, roll back, and draw the receipt (build/demo/)
	@$(PYTHON) -m tools.demo $(if $(AGAIN),--again)

bench: engine ## ratios of the replace flow over a raw script (build/bench.json)
	@$(PYTHON) -m tools.bench

claim: engine ## 300 cutovers in a row under 1,000 requests/s, beside naive orders that lose (about 45 min; build/claim/)
	@$(PYTHON) -m tools.claim $(CLAIM)

model: test-packages ## search the model of the protocol with spin (FULL=1: larger, minutes and gigabytes)
	@$(PYTHON) -m tools.model $(if $(FULL),--full)

chaos: test-packages ## disturb runs at every point and see the next one put it right (CHAOS="--sample 60", build/chaos/)
	@$(PYTHON) -m tools.chaos $(CHAOS)

test-packages: engine
	@.venv/bin/ansible-playbook tools/plays/test_packages.yml

test: test-packages ## every test: lint, unit, sanity, integration, molecule
	@$(PYTHON) -m tools.run_tests $(PARTS)

lint: venv ## ruff, mypy, yamllint, ansible-lint, antsibull-docs, antsibull-changelog
	@$(PYTHON) -m tools.run_tests $@

unit: venv ## pytest: pure code and the tools
	@$(PYTHON) -m tools.run_tests $@

sanity: venv ## ansible-test sanity and units, in a copy, no ignores
	@$(PYTHON) -m tools.run_tests $@

integration: test-packages ## pytest against real Docker and HAProxy
	@$(PYTHON) -m tools.run_tests $@

molecule: engine ## the Molecule scenarios
	@$(PYTHON) -m tools.run_tests $@

format: venv ## let ruff rewrite what it can
	@.venv/bin/ruff format . && .venv/bin/ruff check --fix .

changelog: venv ## fold changelogs/fragments into CHANGELOG.md for the version in galaxy.yml
	@$(PYTHON) -m tools.changelog

# No host name of a registry in the locks: they come from the configuration of whoever installs. ansible-test makes its
# own environment for units, without hashes: the same versions, as constraints.
LOCK := .venv/bin/uv pip compile -q --no-emit-index-url --no-emit-find-links --allow-unsafe --python-version 3.11 \
        --custom-compile-command 'make lock-requirements' $(if $(UPGRADE),--upgrade)
lock-requirements: venv ## resolve requirements/*.in again (UPGRADE=1: to the newest)
	@for name in bootstrap runtime dev ansible-test; do \
	    $(LOCK) --generate-hashes -o requirements/$$name.txt requirements/$$name.in; \
	done
	@$(LOCK) --no-annotate -c requirements/dev.txt -o tests/unit/constraints.txt requirements/dev.in

clean: ## remove what the commands of this checkout made on this machine, and nothing else
	@if [ -x $(PYTHON) ]; then $(PYTHON) tools/clean.py; else python3 tools/clean.py; fi
