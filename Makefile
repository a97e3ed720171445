# Build, show, test and install porthole. Every target works as root and through sudo; what is missing on a Debian
# machine is installed, and said.

CARGO ?= cargo
DESTDIR ?=
PREFIX ?= /usr
NEXTEST_PROFILE ?= ci
FUZZ_SECONDS ?= 600

# `sudo make` as well as `make`: the toolchain is that of the person who called, where sudo would look for root's.
SUDO_HOME := $(if $(SUDO_USER),$(shell getent passwd $(SUDO_USER) | cut -d: -f6))
ifneq ($(SUDO_HOME),)
export PATH := $(PATH):$(SUDO_HOME)/.cargo/bin
ifneq ($(wildcard $(SUDO_HOME)/.rustup),)
export RUSTUP_HOME ?= $(SUDO_HOME)/.rustup
endif
endif
AS_ROOT = $(if $(filter 0,$(shell id -u)),,sudo -E env "PATH=$(PATH)" "HOME=$(HOME)" "CARGO_BUILD_TARGET=$(CARGO_BUILD_TARGET)")
# What is exported does not reach $(shell) by itself.
WITH_TOOLS = env "PATH=$(PATH)" $(if $(RUSTUP_HOME),"RUSTUP_HOME=$(RUSTUP_HOME)")
# Static binaries of this machine's architecture, with musl: docs/decisions/0031. tests/lab/install adds the target; where
# that cannot be had, with the C library of the toolchain.
MUSL = $(shell uname -m)-unknown-linux-musl
export CARGO_BUILD_TARGET ?= $(shell $(WITH_TOOLS) sh -c 'test -d "$$(rustc --print target-libdir --target $(MUSL))" && echo $(MUSL) || rustc --print host-tuple')
# Where cargo puts things, whatever CARGO_TARGET_DIR says.
OUT = $(shell $(WITH_TOOLS) $(CARGO) metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')/$(CARGO_BUILD_TARGET)
WAIVED = $(OUT)/debug/waived-tests.log

.PHONY: demo build test lint audit fuzz bench install

# A pod made by the OCI runtime inside porthole, hooked, listed, entered, gone: needs no container engine.
demo:
	tests/lab/install build
	$(CARGO) build --quiet --bin porthole --bin porthole-hook
	$(AS_ROOT) $(OUT)/debug/porthole demo

# What gets installed. Hook and wrapper are position-independent; porthole is at a fixed address: docs/decisions/0019.
build:
	tests/lab/install build
	$(CARGO) build --profile hook --package porthole-hook
	$(CARGO) rustc --release --package porthole --bin porthole -- -C relocation-model=static

# Everything that can be tested here: format, lints, all tests on nodes of their own, ten seconds of every fuzz target.
test:
	tests/lab/install
	$(MAKE) --no-print-directory lint
	$(CARGO) build --workspace --bins
	$(CARGO) nextest run --workspace --profile $(NEXTEST_PROFILE) --no-run
	@rm -f $(WAIVED)
	$(AS_ROOT) $(CARGO) nextest run --workspace --profile $(NEXTEST_PROFILE)
	@cat $(WAIVED) 2>/dev/null || true
	tests/fuzz/run 10

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings

# Known vulnerabilities, licences, bans and sources of every crate. Needs a network: not part of `make test`.
audit:
	$(CARGO) deny --version >/dev/null 2>&1 || $(CARGO) install cargo-deny --locked --target "$$(rustc --print host-tuple)"
	$(CARGO) deny check

fuzz:
	tests/lab/install
	tests/fuzz/run $(FUZZ_SECONDS)

# Writes docs/benchmarks.md.
bench:
	tests/lab/install
	$(MAKE) --no-print-directory build
	$(CARGO) build --release --package porthole-tests --bin porthole-bench
	$(AS_ROOT) $(OUT)/release/porthole-bench

install: build
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/libexec/porthole $(DESTDIR)$(PREFIX)/share/man/man1
	install -d $(DESTDIR)$(PREFIX)/share/bash-completion/completions $(DESTDIR)$(PREFIX)/share/zsh/vendor-completions
	install -d $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d $(DESTDIR)$(PREFIX)/share/porthole
	install -m 0755 $(OUT)/hook/porthole-hook $(OUT)/hook/porthole-runtime $(DESTDIR)$(PREFIX)/libexec/porthole/
	install -m 0755 $(OUT)/release/porthole $(DESTDIR)$(PREFIX)/bin/porthole
	install -d $(DESTDIR)$(PREFIX)/lib/systemd/system
	for unit in service timer path; do sed 's#/usr/bin/porthole#$(PREFIX)/bin/porthole#' \
		config/systemd/porthole-reconcile.$$unit >$(DESTDIR)$(PREFIX)/lib/systemd/system/porthole-reconcile.$$unit || exit; done
	$(OUT)/release/porthole __man $(DESTDIR)$(PREFIX)/share/man/man1
	$(OUT)/release/porthole completions bash >$(DESTDIR)$(PREFIX)/share/bash-completion/completions/porthole
	$(OUT)/release/porthole completions zsh >$(DESTDIR)$(PREFIX)/share/zsh/vendor-completions/_porthole
	$(OUT)/release/porthole completions fish >$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/porthole.fish
	cp -R config/. $(DESTDIR)$(PREFIX)/share/porthole/
