# Each target sets up what it needs, once (docs/toolchain.md); after that a target starts in 0.2 s.

SETUP := python3 toolchain/setup.py
STACK ?= prod

# Charts come from this folder of .tgz files if it is there, else from their upstream repositories.
CHARTS_DIR ?= $(abspath $(firstword $(wildcard ../shared/charts)))
ifneq ($(CHARTS_DIR),)
export CHARTS_DIR
endif

# A variable of the command line: names like VERSION may well be in the environment for something else.
said = $(if $(filter command,$(firstword $(origin $(1)))),$($(1)))

# Tests of one file stay on one worker; there are more workers than cores (tests/conftest.py).
PARALLEL := -n auto --dist loadgroup --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help rehearse rehearse-stop rehearse-reset preview test checks lint format bench bench-scale same-plans docs lock refresh clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

rehearse: ## bring the whole network up on this machine, on fake nodes and local accounts (ARGS=--verbose)
	@$(SETUP) preview cluster -- python -m rehearsal up $(ARGS)

rehearse-stop: ## stop the rehearsal; `make rehearse` goes on from there
	@$(SETUP) preview cluster -- python -m rehearsal stop

rehearse-reset: ## stop the rehearsal and throw its cluster, accounts and state away
	@$(SETUP) preview cluster -- python -m rehearsal reset

preview: ## show what Pulumi would do for a stack, in local state (STACK=prod, ARGS=--diff)
	@$(SETUP) preview --stack "$(STACK)" -- \
	  pulumi preview --stack "$(STACK)" --config-file ".cache/stacks/Pulumi.$(STACK).yaml" $(ARGS)

test: ## check format, lint and types, then run all tests, as CI does
	@$(SETUP) preview test cluster -- $(MAKE) --no-print-directory checks

lint: ## check format, lint and types only
	@$(SETUP) preview test -- sh -exc 'ruff format --check . && ruff check . && mypy'

format: ## format the code and repair what the linter can
	@$(SETUP) preview test -- sh -exc 'ruff format . && ruff check --fix .'

bench: ## measure what the program costs over an empty one
	@$(SETUP) preview test -- python -m bench.bench

bench-scale: ## measure how it grows with applications and nodes, on a control plane of its own (ten minutes or more)
	@$(SETUP) preview test cluster -- python -m bench.scale

same-plans: ## compare what two revisions plan for all stacks (BEFORE=revision, AFTER=revision or the last commit)
	@$(SETUP) preview test -- python -m bench.plans "$(call said,BEFORE)" $(call said,AFTER)

docs: ## write the configuration tables anew from the models
	@$(SETUP) preview -- python -m docs.generate

lock: ## pin a chart in charts.lock (CHART=name VERSION=version, REPOSITORY=url for a new one), or those of a FOLDER=path
	@$(SETUP) preview -- python -m toolchain.lock_chart "$(call said,CHART)" "$(call said,VERSION)" \
	  --repository "$(call said,REPOSITORY)" --lock "$(call said,LOCK)" --folder "$(call said,FOLDER)"

refresh: ## decide again what to use, download or build; tries official downloads again
	@$(SETUP) preview --refresh

clean: ## remove .cache: environments, local state and links, not the shared tools cache nor records of first use
	@[ ! -d .cache/rehearsal ] || $(MAKE) --no-print-directory rehearse-stop
	@[ ! -d .cache ] || find .cache -mindepth 1 -maxdepth 1 ! -name first-use -exec rm -rf {} +

# Runs inside the environment that `make test` prepares.
checks:
	ruff format --check .
	ruff check .
	mypy
	python -m pytest $(PARALLEL)
