# weir: `make up` and `make test` do everything on a fresh machine; the rest is for people who work on it.
# Both can be typed again at any time: what is there already is not done twice.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
export CARGO_TERM_COLOR ?= auto

# What `make test` builds and runs: all but benchmarks and examples, which clippy alone compiles, and the one example that a test starts.
# No package is chosen, nor a feature: each crate is then built once, for `make up`, for clippy's build scripts and for the tests.
TESTED := --workspace --lib --bins --tests

help: ## What can be typed here
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

up: ## Build weir and start all of it: this machine's containers, logs and metrics on http://127.0.0.1:9640
	@tests/setup/packages build
	@echo "== building weir (a few minutes the first time)"
	cargo build --release --locked -p weir
	@echo "== starting weir on http://127.0.0.1:9640 (data in .weir, Ctrl-C stops it)"
	exec target/release/weir up --data .weir

cluster: ## Build weir and start a cluster of it here: three brokers, two aggregators, two query nodes, a collector
	@tests/setup/packages build cluster
	@echo "== building weir (a few minutes the first time)"
	cargo build --release --locked -p weir
	@tests/kafka/fetch
	@deploy/cluster/cluster up

cluster-down: ## Stop that cluster; what it stored stays in .cluster
	@deploy/cluster/cluster down

test: ## Install what the tests need and run all of them
	@tests/setup/packages build
	@echo "== installing what the tests need beside the build, which target/tools.log follows"
	@mkdir -p target; tests/setup/tools > target/tools.log 2>&1 & tools=$$!; trap "kill $$tools 2>/dev/null || true" EXIT; \
	  $(MAKE) --no-print-directory lint built; \
	  wait "$$tools" || { cat target/tools.log >&2; exit 1; }
	@echo "== tests"
	@WEIR_FUZZ_SECONDS=$${WEIR_FUZZ_SECONDS:-3} tests/setup/node tests/setup/all $(TESTED)
	@echo "== page"
	@tests/setup/node tests/setup/page

built:
	@echo "== building weir and its tests"
	cargo build --release --locked $(TESTED) --example monitor

fresh: ## Do all of this on a machine that has nothing: a root made with debootstrap, `make up` and `make test` in it
	@tests/fresh/run note up test

check: ## For the work between: format, clippy, and the unit tests of what changed since the last commit (SINCE=HEAD)
	@tests/setup/check "$${SINCE:-HEAD}"

lint: ## Formatting, clippy, licences and advisories, the built page
	@echo "== lint"
	cargo fmt --all --check
	cargo clippy --release --locked --workspace --all-targets --features weir-tests/kubernetes -- -D warnings
	@tests/setup/deny
	cargo fetch --locked
	cargo deny --offline --all-features check licenses bans sources

advisories: ## Known faults of the crates in use; asks the network
	@tests/setup/deny
	cargo deny --all-features check advisories

bench: ## The benchmarks, one line each with the limit beside it
	@tests/setup/packages build test
	@tests/kafka/fetch
	cargo build --release --locked -p weir
	cargo bench --locked -p weir-tests

ledger: ## The long loop of kills with the ledger running (MINUTES=30)
	cargo build --release --locked -p weir
	WEIR_LEDGER_MINUTES=$${MINUTES:-30} cargo test --release --locked -p weir-tests --lib ledger::single -- --nocapture

cluster-ledger: ## The same over a cluster: every fault alone and in pairs, then kills (KILLS=1000)
	cargo build --release --locked -p weir
	@tests/kafka/fetch
	@tests/setup/node tests/s3/fetch
	tests/setup/node env WEIR_LEDGER_KILLS=$${KILLS:-1000} cargo test --release --locked -p weir-tests --lib ledger::cluster -- --nocapture

fuzz: ## Every parser and decoder under mutated input, each for so long (EACH=600 seconds); WEIR_FUZZ_SEED repeats a run
	WEIR_FUZZ_SECONDS=$${EACH:-600} cargo test --release --locked --workspace fuzz -- --nocapture

storm: ## Hostile requests to every listener beside the ledger (REQUESTS=100000)
	cargo build --release --locked -p weir
	WEIR_STORM_REQUESTS=$${REQUESTS:-100000} cargo test --release --locked -p weir-tests --lib ledger::storm -- --nocapture

soak: ## Memory of weir under a node's steady load; draws target/soak.svg (MINUTES=15)
	cargo build --release --locked -p weir
	WEIR_SOAK_MINUTES=$${MINUTES:-15} cargo bench --locked -p weir-tests --bench soak

slow: ## All tests with a disk and a network that wait at random and a slow page (after `make test`): finds what hangs on timing
	@tests/slow/run

simulate: ## Many schedules of the seeded simulation (SCHEDULES=100000)
	WEIR_SIM_SCHEDULES=$${SCHEDULES:-100000} cargo test --release --locked -p weir-aggregator simulation -- --nocapture

kubernetes: ## Pods of a real Kubernetes node, deleted the moment they complete, leave every line (builds Kubernetes, once)
	@tests/setup/packages build kubernetes
	@tests/kubernetes/fetch --node
	cargo build --release --locked -p weir
	cargo test --release --locked -p weir-tests --features kubernetes --lib --no-run
	tests/kubernetes/cluster cargo test --release --locked --offline -p weir-tests --features kubernetes --lib kubernetes:: -- --nocapture

ui: ## Build the page's assets into dashboards/dist
	cd dashboards/ui && ../../tests/setup/node npm ci --no-audit --no-fund && ../../tests/setup/node npm run build

clean: ## Remove what was built and fetched
	rm -rf target .cache .cluster dashboards/ui/node_modules tests/page/node_modules

.PHONY: help up cluster cluster-down test built fresh check lint advisories bench ledger cluster-ledger fuzz storm soak slow simulate kubernetes ui clean
