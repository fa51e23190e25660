# reachabilitycheck: what a maintainer runs. `make` alone prints this list.

CARGO  ?= cargo
PREFIX ?= /usr/local
TARGET ?= x86_64-unknown-linux-musl

# Decisions without a clock, socket, file or thread; `make lint` keeps them so.
PURE = src/wire.rs src/flight.rs src/schedule.rs src/judge.rs src/event.rs src/outbox.rs src/flags.rs src/config.rs \
       src/proxy.rs src/secret.rs src/target.rs src/manual.rs src/view/verbose.rs src/view/summary.rs src/view/json.rs \
       src/view/metrics.rs
IMPURE = Instant|SystemTime::now|std::(fs|thread|env|process|os)|thread::|UdpSocket|Tcp(Stream|Listener)|socket2|to_socket_addrs|libc::

SECONDS ?= 120

.PHONY: help build test lint static bench fuzz install clean

help:
	@echo "make build    the program, target/release/reachabilitycheck"
	@echo "make test     all tests (network faults in namespaces of their own; says what it skips, and why)"
	@echo "make lint     formatting, clippy, and that pure files stay pure"
	@echo "make static   a static binary for TARGET=$(TARGET)"
	@echo "make bench    cost and accuracy beside ping and fping, as one table"
	@echo "make fuzz     random input for the parsers, for SECONDS=$(SECONDS) each"
	@echo "make install  the binary into DESTDIR and PREFIX=$(PREFIX)"
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
	$(CARGO) build --release --locked --target $(TARGET)
	@ls -l target/$(TARGET)/release/reachabilitycheck

bench:
	$(CARGO) build --release --locked
	$(CARGO) test --release --locked --test bench -- --ignored --nocapture --test-threads=1

fuzz:
	FUZZ_SECONDS=$(SECONDS) $(CARGO) test --release --locked --test fuzz -- --nocapture

install: build
	install -d $(DESTDIR)$(PREFIX)/bin
	install -m 755 target/release/reachabilitycheck $(DESTDIR)$(PREFIX)/bin/reachabilitycheck

clean:
	$(CARGO) clean
