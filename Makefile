# The verbs that people type; the work is done in tools/.
CTAU_CACHE ?= $(HOME)/.cache/ctau
PREFIX ?= /usr/local
FUZZ_SECONDS ?= 60
export CTAU_CACHE
export PATH := $(PATH):$(CTAU_CACHE)/go/bin:$(HOME)/.cargo/bin:/usr/local/go/bin

.PHONY: all dream check check-processes install bench lint format fuzz tsan clean

all:
	@tools/setup
	@tools/engine
	@tools/meshd
	@tools/build release

dream:
	@tools/setup go-warm
	@tools/engine
	@tools/meshd
	@tools/build release
	@exec out/release/dream new multiverse

check:
	@tools/setup check go-warm
	@tools/engine
	@tools/meshd
	@tools/check

check-processes:
	@tools/setup check go-warm
	@tools/engine
	@tools/meshd
	@tools/check --processes

install: all
	@mkdir -p "$(DESTDIR)$(PREFIX)/bin"
	@install -m 755 out/release/dream "$(DESTDIR)$(PREFIX)/bin/dream"
	@install -D -m 755 out/release/meshd "$(DESTDIR)$(PREFIX)/lib/ctau/meshd"
	@ln -sfn dream "$(DESTDIR)$(PREFIX)/bin/tau"
	@echo "installed $(DESTDIR)$(PREFIX)/bin/dream and tau, lib/ctau/meshd"

bench:
	@tools/setup check go-warm
	@tools/engine
	@tools/meshd
	@tools/build release
	@bench/run

chaos:
	@tools/setup check
	@tools/engine
	@tools/meshd
	@tools/build release
	@bench/chaos

lint:
	@tools/setup check lint
	@tools/engine
	@tools/lint

format:
	@tools/setup check lint
	@find src fuzz -name '*.[ch]' -exec clang-format -i {} + 2>/dev/null || true

fuzz:
	@tools/setup check
	@tools/engine
	@tools/check --fuzz $(FUZZ_SECONDS)

tsan:
	@tools/setup check
	@tools/engine
	@tools/meshd
	@tools/check --tsan

clean:
	@rm -rf out
