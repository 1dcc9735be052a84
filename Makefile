# Thin targets; the logic lives in xtask, the tests and the binary.
# Build output lives outside the clone, so that clones and CI share compiled dependencies.
export CARGO_TARGET_DIR ?= $(HOME)/.cache/lacus/target

.PHONY: demo test check bench prove install clean-demo

demo:      ## Build lacus, send it clickstream events, show the answers. Ctrl-C stops; run it again to continue.
	cargo build --workspace
	$(CARGO_TARGET_DIR)/debug/lacus demo examples/clickstream

check:     ## Format, lints and the fast tests: minutes.
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- --deny warnings
	cargo nextest run --workspace --no-fail-fast --lib --bins -E 'not binary(it)'

test:      ## Install what the tests need, then run all that guard data and contracts.
	tests/install.sh
	cargo nextest run --workspace --no-fail-fast
	cargo test --workspace --doc --quiet

prove:     ## The long proofs, on the optimised binary: hundreds of kills, a fault at every I/O operation, Superset. For docs/bench/.
	tests/install.sh prove
	LACUS_PROVE=1 cargo nextest run --workspace --release --profile prove --run-ignored all --test it --test faults --test full_disk --test month

bench:     ## Measure side by side with peers on this machine and write docs/bench/.
	tests/install.sh bench
	cargo build --workspace --release
	$(CARGO_TARGET_DIR)/release/xtask bench

install:   ## Build the optimised binary and put it where cargo puts programs: ~/.cargo/bin.
	cargo build --workspace --release --locked
	install -D -m 755 $(CARGO_TARGET_DIR)/release/lacus $(or $(CARGO_HOME),$(HOME)/.cargo)/bin/lacus

clean-demo: ## Forget the demo's data.
	rm -rf examples/clickstream/.lacus
