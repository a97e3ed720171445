# Build and test porthole. Tests need root: as root, or through sudo.

CARGO ?= cargo
NEXTEST_PROFILE ?= ci
# With the toolchain of the person who called, where sudo would look for root's.
AS_ROOT := $(if $(filter 0,$(shell id -u)),,sudo -E env "PATH=$(PATH)" "HOME=$(HOME)")
WAIVED = $(shell $(CARGO) metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')/*/debug/waived-tests.log

.PHONY: build test

build:
	$(CARGO) build --workspace --bins

# Everything that can be tested here: format, lints, then all tests on nodes of their own.
test:
	tests/lab/install
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	$(CARGO) build --workspace --bins
	$(CARGO) nextest run --workspace --profile $(NEXTEST_PROFILE) --no-run
	@rm -f $(WAIVED)
	$(AS_ROOT) $(CARGO) nextest run --workspace --profile $(NEXTEST_PROFILE)
	@cat $(WAIVED) 2>/dev/null || true
