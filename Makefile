# reachabilitycheck: what a maintainer runs. `make` alone prints this list.

CARGO  ?= cargo
PREFIX ?= /usr/local
TARGET ?= x86_64-unknown-linux-musl

# Decisions without a clock, socket, file or thread; `make lint` keeps them so.
PURE = src/wire.rs src/flight.rs src/schedule.rs src/judge.rs src/event.rs src/outbox.rs src/alerts.rs src/flags.rs src/config.rs \
       src/proxy.rs src/secret.rs src/target.rs src/manual.rs src/view/verbose.rs src/view/summary.rs src/view/json.rs \
       src/view/metrics.rs src/view/terminal.rs src/view/page.rs src/history.rs src/seal.rs
IMPURE = Instant|SystemTime::now|std::(fs|thread|env|process|os)|thread::|UdpSocket|Tcp(Stream|Listener)|socket2|to_socket_addrs|libc::

SECONDS ?= 120
SOAK    ?= 1800

OUT   = $(or $(CARGO_TARGET_DIR),target)
BUILT = $(OUT)/$(TARGET)/release
# What `make install` installs; one that is named is taken as it is, such as that of `make static TARGET=...`.
PROGRAM ?= $(OUT)/release/reachabilitycheck
INSTALLED = bin/reachabilitycheck share/man/man8/reachabilitycheck.8 \
            share/bash-completion/completions/reachabilitycheck share/zsh/site-functions/_reachabilitycheck \
            share/fish/vendor_completions.d/reachabilitycheck.fish lib/systemd/system/reachabilitycheck.service

.PHONY: help build test lint static foreign bench soak fuzz install uninstall clean

help:
	@echo "make build    the program, target/release/reachabilitycheck"
	@echo "make test     all tests (network faults in namespaces of their own; says what it skips, and why)"
	@echo "make lint     formatting, clippy, and that pure files stay pure"
	@echo "make static   a static binary for TARGET=$(TARGET), or i686-, aarch64-, armv7-, mipsel-, riscv64gc-..."
	@echo "make foreign  the same, tried under QEMU=qemu-ARCH"
	@echo "make bench    cost and accuracy beside ping and fping, as one table"
	@echo "make soak     100 targets at 10 ms with faults coming and going, for SOAK=$(SOAK) seconds"
	@echo "make fuzz     random input for the parsers, for SECONDS=$(SECONDS) each"
	@echo "make install  binary, manual page, completions and systemd unit into DESTDIR and PREFIX=$(PREFIX);"
	@echo "              with PROGRAM=file that binary. make uninstall takes them away"
	@echo "make clean    remove what was built"

build:
	$(CARGO) build --release --locked

test:
	$(CARGO) test --locked -- --test-threads=4

lint:
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	$(CARGO) clippy --locked --no-default-features -- -D warnings
	@for file in $(PURE); do \
		awk '/#\[cfg\(test\)\]/ { exit } !/^ *\/\// && /$(IMPURE)/ { print FILENAME ":" NR ": not pure: " $$0; bad = 1 } \
			END { exit bad }' $$file || exit 1; \
	done; echo "pure files are pure"

static:
	contrib/cross/static.sh $(strip $(TARGET) $(FEATURES))

# What a binary for another kind of machine does under qemu-user, by the tests that suit every build.
foreign: static
	REACH_PROGRAM="$(QEMU) $(abspath $(BUILT)/reachabilitycheck)" $(CARGO) test --locked --test portable

bench:
	$(MAKE) static FEATURES=--no-default-features
	cp $(BUILT)/reachabilitycheck $(BUILT)/reachabilitycheck-http
	$(MAKE) static
	REACH_LAB_LIMIT=900 REACH_PROGRAM=$(abspath $(BUILT)/reachabilitycheck) \
		REACH_BIN_HTTP=$(abspath $(BUILT)/reachabilitycheck-http) \
		$(CARGO) test --locked --test bench -- --ignored --nocapture

soak:
	$(MAKE) static
	SOAK_SECONDS=$(SOAK) REACH_LAB_LIMIT=$$(($(SOAK) * 2 + 300)) REACH_PROGRAM=$(abspath $(BUILT)/reachabilitycheck) \
		$(CARGO) test --locked --test soak -- --ignored --nocapture

fuzz:
	FUZZ_SECONDS=$(SECONDS) $(CARGO) test --release --locked --test fuzz -- --nocapture

# So that `make build` and then `sudo make install` need no cargo for the second.
$(OUT)/release/reachabilitycheck: Cargo.toml Cargo.lock $(wildcard src/* src/*/*)
	$(CARGO) build --release --locked

# Manual page and completions come out of the program; where it cannot run (built for another machine) out of one that can.
install: $(PROGRAM)
	@set -eu; to="$(DESTDIR)$(PREFIX)"; scratch=$$(mktemp -d); trap 'rm -rf "$$scratch"' EXIT; \
	put() { install -d "$${3%/*}"; install -m "$$1" "$$2" "$$3"; echo "$$3"; }; \
	out() { if ! "$(PROGRAM)" "$$@" >"$$scratch/text" 2>/dev/null; then \
		$(CARGO) run --quiet --locked -- "$$@" >"$$scratch/text"; fi; }; \
	put 755 "$(PROGRAM)" "$$to/bin/reachabilitycheck"; \
	out --man; put 644 "$$scratch/text" "$$to/share/man/man8/reachabilitycheck.8"; \
	out --completions bash; put 644 "$$scratch/text" "$$to/share/bash-completion/completions/reachabilitycheck"; \
	out --completions zsh; put 644 "$$scratch/text" "$$to/share/zsh/site-functions/_reachabilitycheck"; \
	out --completions fish; put 644 "$$scratch/text" "$$to/share/fish/vendor_completions.d/reachabilitycheck.fish"; \
	unit=systemd/reachabilitycheck.service; [ ! -f contrib/$$unit ] || { \
		sed 's|/usr/local/bin/|$(PREFIX)/bin/|g' contrib/$$unit >"$$scratch/text"; \
		put 644 "$$scratch/text" "$$to/lib/systemd/system/$${unit##*/}"; }

uninstall:
	cd "$(DESTDIR)$(PREFIX)" && rm -f $(INSTALLED)

clean:
	$(CARGO) clean
