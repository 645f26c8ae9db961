# make demo    shows a purge by the official client at work, and ends by itself (DEMO_STAY=1 keeps it running)
# make test    checks everything: format, lints, every crate, scenarios with real parts
# make bench   compares hits, purges and memory with nginx, Varnish and HAProxy, in one run (BENCH_QUICK=1: a minute)
# make fuzz    looks for bytes that make a reader of outside bytes break its promise (FUZZ_SECONDS=60, for all of them)
# make model   explores the protocol as far as minutes go: every rule dropped in turn, larger worlds (MODEL_STATES=5, million each)
# make soak    simulates the whole network from seeds that nobody chose, with faults (SOAK_SECONDS=3600)
# make cluster-test   three control planes, PostgreSQL and ten edges on hosts of their own; each part is killed in turn (needs root)
# make trial   crawls a documentation tree and a large file through an edge that is killed and purged meanwhile
# make bench-control   measures how many purges a second a control plane takes, on SQLite and on PostgreSQL
# make bench-purge   measures lookups and purges by marks outstanding and objects cached
#
# Needs Rust and a Debian (12 or later). What is missing of python3-venv, a C compiler and, for the tests, nginx and
# PostgreSQL is installed with apt-get, as root or through sudo; the official clients go into .venv, from PyPI.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

# Debian's own, whatever else comes first on the PATH: python3-venv belongs to this one.
PYTHON ?= /usr/bin/python3
VENV := .venv
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

.PHONY: help
help:
	@sed -n '/^#/!q; s/^# \{0,1\}//p' Makefile

.PHONY: test
test: packages nginx postgresql $(VENV)/ready deploy-lint
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	EVERFRESH_TEST_VENV='$(CURDIR)/$(VENV)' cargo test --locked --workspace
	@$(MAKE) --no-print-directory cluster-test

LINT_VENV := .venv-lint

# Units are looked at with a program in place of everfresh, which need not be installed.
.PHONY: deploy-lint
deploy-lint: systemd $(LINT_VENV)/ready
	$(LINT_VENV)/bin/hadolint deploy/Dockerfile
	$(LINT_VENV)/bin/check-jsonschema --builtin-schema vendor.compose-spec deploy/compose.yaml
	@units=$$(mktemp -d); trap 'rm -rf "$$units"' EXIT; \
	sed 's|/usr/local/bin/everfresh|/bin/true|' deploy/systemd/everfresh-control.service > "$$units/everfresh-control.service"; \
	sed 's|/usr/local/bin/everfresh|/bin/true|' deploy/systemd/everfresh-edge@.service > "$$units/everfresh-edge@a.service"; \
	systemd-analyze verify --man=no "$$units"/*.service

$(LINT_VENV)/ready: deploy/requirements.txt | packages
	@rm -rf $(LINT_VENV)
	@$(PYTHON) -m venv $(LINT_VENV)
	@$(LINT_VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r deploy/requirements.txt
	@touch $@

.PHONY: systemd
systemd:
	@missing=(); \
	command -v systemd-analyze >/dev/null || missing+=(systemd); \
	$(install)

# Hosts are network namespaces, which only root can make.
.PHONY: cluster-test
cluster-test: packages postgresql iproute
	cargo clippy --locked -p everfresh --test cluster -- -D warnings
	@runner=CARGO_TARGET_$$(rustc -vV | sed -n 's/^host: //p' | tr a-z- A-Z_)_RUNNER; \
	env "$$runner=$(if $(SUDO),$(SUDO) -E,env)" cargo test --locked -p everfresh --test cluster -- --nocapture

.PHONY: iproute
iproute:
	@missing=(); \
	PATH="$$PATH:/usr/sbin:/sbin" command -v ip >/dev/null || missing+=(iproute2); \
	$(install)

.PHONY: demo
demo: packages $(VENV)/ready
	@echo 'Building Everfresh; the first time takes some minutes.'
	cargo build --locked -p everfresh
	@cargo run --locked --quiet -p everfresh -- demo --tccli $(VENV)/bin/tccli $(if $(filter-out 0,$(DEMO_STAY)),--stay)

.PHONY: bench
bench: compared
	cargo build --locked --release -p everfresh -p bench
	@cargo run --locked --release --quiet -p bench -- $(if $(filter-out 0,$(BENCH_QUICK)),--quick)

MODEL_STATES ?= 5

.PHONY: model
model:
	cargo build --locked --release -p model
	@cargo run --locked --release --quiet -p model -- whole
	@cargo run --locked --release --quiet -p model -- mutants
	@cargo run --locked --release --quiet -p model -- large $(MODEL_STATES)

.PHONY: bench-control
bench-control: packages postgresql
	cargo build --locked --release -p everfresh -p bench
	@cargo run --locked --release --quiet -p bench -- control $(if $(filter-out 0,$(BENCH_QUICK)),--quick)

.PHONY: bench-purge
bench-purge:
	cargo bench --locked -p purge

# What libFuzzer needs to see which code an input reaches. All of it is in stable Rust; a target must be named, so that
# build scripts are built without it.
FUZZ_FLAGS := -Cpasses=sancov-module -Ccodegen-units=1 $(addprefix -Cllvm-args=-sanitizer-coverage-, \
	level=4 inline-8bit-counters pc-table trace-compares)
FUZZ_SECONDS ?= 60
# From its manifest, which a test holds against the readers that there are.
FUZZERS := $(shell sed -n 's|^path = "fuzz_targets/\(.*\)\.rs"$$|\1|p' fuzz/Cargo.toml)

# An input that breaks something is kept in fuzz/artifacts; what reached new code, in fuzz/corpus, for the next run.
.PHONY: fuzz
fuzz: cxx
	@host=$$(rustc -vV | sed -n 's/^host: //p'); \
	seconds=$$(( ($(FUZZ_SECONDS) + $(words $(FUZZERS)) - 1) / $(words $(FUZZERS)) )); \
	export RUSTFLAGS='$(FUZZ_FLAGS)'; \
	cargo="--locked --release --manifest-path fuzz/Cargo.toml --target $$host"; \
	cargo build $$cargo --bins; \
	for fuzzer in $(FUZZERS); do \
		echo "$$fuzzer, $$seconds s"; \
		mkdir -p "fuzz/corpus/$$fuzzer" "fuzz/artifacts/$$fuzzer"; \
		cargo run --quiet $$cargo --bin "$$fuzzer" -- -max_total_time="$$seconds" -max_len=4096 -timeout=10 \
			-verbosity=0 -print_final_stats=1 -dict="fuzz/words/$$fuzzer.dict" \
			-artifact_prefix="fuzz/artifacts/$$fuzzer/" "fuzz/corpus/$$fuzzer" "fuzz/seeds/$$fuzzer"; \
	done

# libFuzzer is written in C++.
.PHONY: cxx
cxx: packages
	@missing=(); \
	printf '#include <vector>\nint main() { return 0; }\n' | c++ -x c++ -o /dev/null - 2>/dev/null || missing+=(g++); \
	$(install)

SOAK_SECONDS ?= 3600

.PHONY: soak
soak: packages
	cargo run --locked --release --quiet -p sim -- --seconds $(SOAK_SECONDS)

.PHONY: trial
trial: packages nginx crawlers
	cargo build --locked --release -p everfresh
	@docs/trial/run.sh

# Installs Debian packages: the names in the array `missing`, if there are any.
define install
	if (( $${#missing[@]} )); then \
		echo "Installing $${missing[*]}"; \
		$(SUDO) apt-get update -qq; \
		$(SUDO) env DEBIAN_FRONTEND=noninteractive \
			apt-get install -y -qq --no-install-recommends "$${missing[@]}"; \
	fi
endef

.PHONY: packages
packages:
	@missing=(); \
	$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv); \
	printf '#include <stdlib.h>\nint main(void) { return 0; }\n' | cc -x c -o /dev/null - 2>/dev/null \
		|| missing+=(gcc libc6-dev); \
	$(install)

# The tests run it with a configuration of their own. The one that Debian starts along with it is not used.
.PHONY: nginx
nginx:
	@missing=(); \
	PATH="$$PATH:/usr/sbin:/sbin" command -v nginx >/dev/null || missing+=(nginx); \
	$(install)

# The tests run servers of their own. The one that Debian starts along with it is not used.
.PHONY: postgresql
postgresql:
	@missing=(); \
	PATH="$$PATH:$$(echo /usr/lib/postgresql/*/bin | tr ' ' ':')" command -v initdb >/dev/null || missing+=(postgresql); \
	$(install)

# What `make trial` asks with.
.PHONY: crawlers
crawlers:
	@missing=(); \
	for program in wget curl openssl; do \
		command -v "$$program" >/dev/null || missing+=("$$program"); \
	done; \
	$(install)

# What `make bench` compares with, and what it asks with. Varnish compiles its configuration.
.PHONY: compared
compared: packages nginx
	@missing=(); \
	for program in varnishd:varnish haproxy:haproxy wrk:wrk taskset:util-linux; do \
		PATH="$$PATH:/usr/sbin:/sbin" command -v "$${program%%:*}" >/dev/null || missing+=("$${program##*:}"); \
	done; \
	dpkg -s varnish-modules >/dev/null 2>&1 || missing+=(varnish-modules); \
	$(install)

# Only what the tests import is compiled ahead: the SDK holds some hundred products.
$(VENV)/ready: requirements.txt | packages
	@echo 'Installing the official clients into $(VENV)'
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV)
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-compile --use-pep517 \
		-r requirements.txt
	@$(VENV)/bin/python -m compileall -q \
		-x '/tencentcloud/(?!common/|teo/)|/tccli/services/(?!teo/)' $(VENV)/lib >/dev/null || true
	@touch $@

.PHONY: clean-venv
clean-venv:
	rm -rf $(VENV) $(LINT_VENV)
