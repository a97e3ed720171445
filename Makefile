# Build, show, test and install porthole. Every target works as root and through sudo; what is missing on a Debian
# machine is installed, and said.

CARGO ?= cargo
DESTDIR ?=
PREFIX ?= /usr
NEXTEST_PROFILE ?= ci
FUZZ_SECONDS ?= 600

.PHONY: demo build test programs lint audit fuzz bench install
.NOTPARALLEL:

ifndef NEEDS_ARE_MET
# make expands its variables before it runs anything, and what is built for depends on what is installed. So a second make
# does the work.
demo build programs lint audit install: NEEDS := build
demo build test programs lint audit fuzz bench install:
	@tests/lab/install $(NEEDS)
	@$(MAKE) --no-print-directory NEEDS_ARE_MET=yes $@
else

# Cargo runs as the user that owns the build, for every caller of make: everything is compiled once.
BUILDER := tests/lab/as-builder
AS_ROOT := $(if $(filter 0,$(shell id -u)),,sudo -E env "PATH=$(PATH)" "HOME=$(HOME)")
# Static binaries of this machine's architecture, with musl: docs/decisions/0031. tests/lab/install adds the target; where
# that cannot be had, with the C library of the toolchain.
ifndef CARGO_BUILD_TARGET
MUSL := $(shell uname -m)-unknown-linux-musl
CARGO_BUILD_TARGET := $(shell $(BUILDER) sh -c 'test -d "$$(rustc --print target-libdir --target $(MUSL))" && echo $(MUSL) || rustc --print host-tuple')
endif
export CARGO_BUILD_TARGET
# Where cargo puts things, whatever CARGO_TARGET_DIR says.
OUT := $(shell $(BUILDER) $(CARGO) metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')/$(CARGO_BUILD_TARGET)
WAIVED := $(OUT)/debug/waived-tests.log
TESTS := $(OUT)/debug/tests.json
WORKSPACE := $(OUT)/debug/workspace.json

# A pod made by the OCI runtime inside porthole, hooked, listed, entered, gone: needs no container engine.
demo:
	@echo "building porthole: the first time takes a few minutes"
	$(BUILDER) $(CARGO) build --bin porthole --bin porthole-hook
	$(AS_ROOT) "$(OUT)/debug/porthole" demo

# What gets installed. Hook and wrapper are position-independent; porthole is at a fixed address: docs/decisions/0019.
build:
	$(BUILDER) $(CARGO) build --profile hook --package porthole-hook
	$(BUILDER) $(CARGO) rustc --release --package porthole --bin porthole -- -C relocation-model=static

# Everything that can be tested here: format, lints, all tests on nodes of their own, ten seconds of every fuzz target.
# Root runs the tests that the builder has built, and no cargo; they can write to nothing of the machine. Where no
# terminal shows how far it is, each test that passes is a line with its number.
test: lint programs
	@rm -f "$(WAIVED)"
	$(AS_ROOT) "$(OUT)/debug/porthole-test-guard" "$$($(BUILDER) sh -c 'command -v cargo-nextest')" nextest run \
		--profile $(NEXTEST_PROFILE) $$([ -t 2 ] || echo --status-level pass) --binaries-metadata "$(TESTS)" --cargo-metadata "$(WORKSPACE)"
	@cat "$(WAIVED)" 2>/dev/null || true
	$(BUILDER) tests/fuzz/run 10

# The tests, the programs that they call, and the two files by which nextest finds them.
programs:
	$(BUILDER) $(CARGO) build --workspace --bins
	$(BUILDER) sh -c '$(CARGO) nextest list --workspace --list-type binaries-only --message-format json >"$$0" && \
		$(CARGO) metadata --format-version 1 --filter-platform $(CARGO_BUILD_TARGET) >"$$1"' "$(TESTS)" "$(WORKSPACE)"

lint:
	$(BUILDER) $(CARGO) fmt --all --check
	$(BUILDER) $(CARGO) clippy --workspace --all-targets -- -D warnings

# Known vulnerabilities, licences, bans and sources of every crate. Needs a network: not part of `make test`.
audit:
	$(BUILDER) sh -c '$(CARGO) deny --version >/dev/null 2>&1 || \
		$(CARGO) install cargo-deny --locked --target "$$(rustc --print host-tuple)"'
	$(BUILDER) $(CARGO) deny check

fuzz:
	$(BUILDER) tests/fuzz/run $(FUZZ_SECONDS)

# Writes docs/benchmarks.md. Both packages are named, so that crates have the features that `build` gave them.
bench: build
	$(BUILDER) $(CARGO) build --release --package porthole --package porthole-tests --bin porthole-bench
	$(AS_ROOT) "$(OUT)/release/porthole-bench"

install: build
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/libexec/porthole $(DESTDIR)$(PREFIX)/share/man/man1
	install -d $(DESTDIR)$(PREFIX)/share/bash-completion/completions $(DESTDIR)$(PREFIX)/share/zsh/vendor-completions
	install -d $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d $(DESTDIR)$(PREFIX)/share/porthole
	install -m 0755 "$(OUT)/hook/porthole-hook" "$(OUT)/hook/porthole-runtime" $(DESTDIR)$(PREFIX)/libexec/porthole/
	install -m 0755 "$(OUT)/release/porthole" $(DESTDIR)$(PREFIX)/bin/porthole
	install -d $(DESTDIR)$(PREFIX)/lib/systemd/system
	for unit in service timer path; do sed 's#/usr/bin/porthole#$(PREFIX)/bin/porthole#' \
		config/systemd/porthole-reconcile.$$unit >$(DESTDIR)$(PREFIX)/lib/systemd/system/porthole-reconcile.$$unit || exit; done
	"$(OUT)/release/porthole" __man $(DESTDIR)$(PREFIX)/share/man/man1
	"$(OUT)/release/porthole" completions bash >$(DESTDIR)$(PREFIX)/share/bash-completion/completions/porthole
	"$(OUT)/release/porthole" completions zsh >$(DESTDIR)$(PREFIX)/share/zsh/vendor-completions/_porthole
	"$(OUT)/release/porthole" completions fish >$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/porthole.fish
	cp -R config/. $(DESTDIR)$(PREFIX)/share/porthole/
endif
