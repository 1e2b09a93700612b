# Everything a developer types. `make setup` installs what the system lacks; the other targets call it for what they need.
SHELL := /bin/bash
BUILD := .build/release
# Exclusive access is checked in the tests, which are built for debugging; checking it here costs 6 % and finds nothing new.
SWIFT_BUILD := swift build -c release -Xswiftc -enforce-exclusivity=unchecked -Xswiftc -cross-module-optimization

.PHONY: help build setup demo test rot bench bars lint format clean

help:
	@echo "make demo         three nodes on this machine, clients, faults, and the account (STAY=1 leaves them up)"
	@echo "make test         everything that can be tested, from a clean clone"
	@echo "make rot          100 times a node's files rot while it is stopped: it heals, and nothing is lost"
	@echo "make bench        throughput and latency, beside Redis and the machine's limit"
	@echo "make bars         every figure in docs/performance.md, measured anew"
	@echo "make lint format  the code's form: checked, mended"

build:
	@echo "building (the first time takes some minutes)"
	@$(SWIFT_BUILD) --product kintsugi
	@git describe --always --dirty --abbrev=12 > $(BUILD)/kintsugi.commit 2> /dev/null || rm -f $(BUILD)/kintsugi.commit

setup:
	@tools/setup.sh

demo: build
	@$(BUILD)/kintsugi demo $(if $(STAY),--stay)

# Built for debugging: every check is on. The process tests run the program that was built with them.
test: setup
	swift build --build-tests
	swift test --skip-build --skip KintsugiCommandTests
	swift test --skip-build --no-parallel --filter KintsugiCommandTests

# Some three minutes; each run is bounded by its own patience for each round.
rot: build
	@timeout 1200 $(BUILD)/kintsugi drill rot --rounds 50
	@timeout 1200 $(BUILD)/kintsugi drill rot --rounds 50 --mode sectors

bench: build
	@Benchmarks/bench.py

bars: build
	@Benchmarks/bars.py

lint:
	@swift format lint --strict --parallel --recursive Package.swift Sources Tests

format:
	@swift format --in-place --parallel --recursive Package.swift Sources Tests

clean:
	rm -rf .build
