# Everything a newcomer needs. `make demo` and `make test` want the Rust toolchain and nothing else.

CARGO ?= cargo
BINARY := $(shell $(CARGO) metadata --format-version 1 --no-deps 2>/dev/null | sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')/release/bonafide

.DEFAULT_GOAL := help
.PHONY: help demo test e2e bench policy-test evidence lint fmt

help: ## this list
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

demo: ## the stories in a minute: registry, signing authority and webhook, all in one process
	$(CARGO) run --example demo

test: ## every test that needs only Rust
	$(CARGO) test

e2e: ## the stories on real parts: kube-apiserver, registries, Sigstore, cosign 2 and 3 (Debian, root, Go)
	$(CARGO) build --release
	tests/e2e/run.sh $(BINARY)
	CARGO=$(CARGO) tests/e2e/crosscheck.sh

bench: ## speed and memory, each figure beside its target
	$(CARGO) bench

policy-test: ## the example policies against the example Pods, offline
	$(CARGO) build
	policy/test/run.sh $(BINARY:/release/bonafide=/debug/bonafide)

evidence: ## mint policy/test/evidence anew
	rm -rf policy/test/evidence
	$(CARGO) run --quiet --example mint -- policy/test/evidence

lint: ## formatting and lints, warnings are errors
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets -- -D warnings

fmt: ## format the sources
	$(CARGO) fmt
