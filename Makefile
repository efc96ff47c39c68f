# The commands of this repository. `make` alone lists them.

.DEFAULT_GOAL := help
.PHONY: help run test event crowd bench fuzz fmt lint web chart picture clean

SHELL := bash
.SHELLFLAGS := -euo pipefail -c

ARGS ?=
SECONDS ?= 60

help: ## list these commands
	@echo "Freshet: make COMMAND"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r name text; do printf '  %-7s %s\n' "$$name" "$$text"; done

run: ## install what is missing, build in release, start `freshet dev` and print its URL (ARGS="--nodes 3")
	@scripts/run.sh $(ARGS)

test: ## install what the tests need and run all of them: format, lints, Rust, web, browser, chart, fuzz
	@scripts/test.sh $(ARGS)

event: ## the event scenario on a cluster of this machine's own, and a report in target/event (ARGS="--viewers 300")
	@scripts/event.sh $(ARGS)

crowd: ## 2,000 viewers and their server on this machine, and what a viewer costs the harness; reports in target/crowd
	@scripts/crowd.sh $(ARGS)

bench: ## measure the media plane against what it must cost, and print the ratios (ARGS go to cargo bench)
	@scripts/bench.sh $(ARGS)

fuzz: ## fuzz each target of the relay's protocol (SECONDS=60 each)
	@scripts/fuzz.sh --seconds $(SECONDS) $(ARGS)

fmt: ## format all Rust code
	@. scripts/lib.sh; cargo fmt --all; if [ -f relay-proto/fuzz/Cargo.toml ]; then cargo fmt --manifest-path relay-proto/fuzz/Cargo.toml; fi

lint: ## formatter check, clippy and TypeScript checks, nothing built or run
	@scripts/test.sh --only fmt,web-install,web-check,clippy,licences

web: ## install npm packages by the lock file and build the pages into web/dist
	@scripts/install.sh --for run && . scripts/lib.sh && build_web

chart: ## lint and render the Helm chart, and check every manifest against the schemas of Kubernetes
	@scripts/install.sh --for chart && scripts/chart.sh

picture: ## take the picture of the README from a real run
	@scripts/picture.sh

clean: ## remove everything that was built (helpers such as helm stay in the user's cache)
	@. scripts/lib.sh; cargo clean; rm -rf web/dist web/node_modules tests/browser/node_modules relay-proto/fuzz/target
