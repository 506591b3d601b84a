# What one does with Tapline. `make` alone says what there is.
#
# Needed beforehand: make, git, and Swift 6.3 or newer in PATH. The rest is installed from cross/needs.txt, once.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:

export PYTHONDONTWRITEBYTECODE := 1

# The build refuses an import that Package.swift does not declare.
IMPORTS := --explicit-target-dependency-import-check error
SIMULATED := board/simulated.yaml
TAPLINE := $(CURDIR)/.build/release/tapline
EMBEDDED := $(CURDIR)/.build/embedded/release/tapline
PYTEST := .build/venv/bin/pytest -q -o cache_dir=.build/pytest-cache Tests/integration
# Directories too, so that a file removed is noticed.
SOURCES := Package.swift $(shell find Sources)

.PHONY: help run build test device deb tarball image board-test board-test-full fuzz simulate bench bench-gpio bench-instructions check clean

help:
	@echo 'make run         serve a simulated board on 127.0.0.1, port 1883'
	@echo 'make build       the release binary for this machine, .build/release/tapline'
	@echo 'make test        every test: units, real clients, the device binary under qemu, the QEMU board'
	@echo 'make simulate    run the broker against its model, SEEDS=100 days of STEPS=10000 steps each'
	@echo 'make check       format, static checks, and a build in which warnings are errors'
	@echo 'make device      the aarch64 binary for boards, with a report of its size and needs'
	@echo 'make deb         the Debian package for boards, .build/deb/tapline_arm64.deb (docs/install.md)'
	@echo 'make tarball     the same as a tarball, the binary static, .build/deb/tapline-aarch64.tar.gz'
	@echo 'make image       the SD-card image for Raspberry Pi Zero 2 W, 3 and 4 (docs/flashing.md)'
	@echo 'make board-test  boot the device binary on a QEMU board and test it there'
	@echo 'make board-test-full  the same, on a Raspberry Pi 3 under QEMU with its own pins, the SD-card image on a 3 and a 4, and the package on Debian 12 and 13'
	@echo 'make fuzz        fuzz the framer, the decoders, topics, the broker and the configuration, SECONDS=60 each'
	@echo 'make bench       measure Tapline beside mosquitto and a bare forwarder, ROUNDS=5 rounds (docs/speed.md)'
	@echo 'make bench-gpio  measure commands to a line and edges to a subscriber beside mqtt-io, ROUNDS=5 (docs/gpio-latency.md)'
	@echo 'make bench-instructions   count instructions a delivered message; over 5 % more than stored fails'
	@echo 'make clean       remove .build; what was downloaded stays in ~/.cache/tapline'

run: .build/needs/build .build/needs/run $(TAPLINE).built
	@base=$$(sed -n 's/^ *base: *\([^ #]*\).*/\1/p' $(SIMULATED)); \
	echo "see every topic:    mosquitto_sub -v -t '#'"; \
	echo "switch the relay:   mosquitto_pub -q 1 -t $$base/relay/set -m TOGGLE"; \
	echo "stop:               Ctrl-C"; \
	exec $(TAPLINE) run -c $(SIMULATED)

build: .build/needs/build $(TAPLINE).built
	@echo '.build/release/tapline is ready'

test: .build/needs/build .build/needs/test .build/needs/device .build/needs/deb .build/needs/board .build/needs/image
	@cross/stage --begin
	@cross/stage 'unit tests' swift test $(IMPORTS)
	@cross/stage 'host build' $(MAKE) --no-print-directory build
	@cross/stage 'Embedded build' cross/build-embedded
	@cross/stage 'host with real clients' env TAPLINE_EMBEDDED=$(EMBEDDED) $(PYTEST) --tapline $(TAPLINE)
	@cross/stage 'device build' cross/build-device gpiod2 gpiod1
	@cross/stage 'device gpiod2 with real clients' cross/under-qemu gpiod2 $(PYTEST)
	@cross/stage 'device gpiod1 with real clients' cross/under-qemu gpiod1 $(PYTEST)
	@cross/stage 'Debian package' cross/check-deb
	@cross/stage 'QEMU board' board/test
	@cross/stage 'SD-card image' board/image/test --quick
	@cross/stage 'fuzz targets, briefly' Tests/Fuzz/run --seconds 5
	@cross/stage --end

device: .build/needs/device
	@cross/build-device gpiod2 gpiod1

deb: .build/needs/device .build/needs/deb
	@cross/build-device gpiod2
	@cross/build-deb

tarball: .build/needs/device .build/needs/deb
	@cross/build-device static
	@cross/build-deb --tarball

image: .build/needs/device .build/needs/image
	@cross/build-device gpiod2
	@board/image/build

board-test: .build/needs/test .build/needs/device .build/needs/board
	@cross/build-device gpiod2 gpiod1
	@board/test

# The Raspberry Pi takes a minute or two, so it is no part of `make test`.
board-test-full: board-test .build/needs/image .build/needs/deb .build/needs/debianroot
	@board/test --machine raspi3b
	@board/image/test
	@board/test-deb

# Each target for SECONDS; `make test` builds and runs them briefly.
SECONDS ?= 60
fuzz: .build/needs/build
	@Tests/Fuzz/run --seconds $(SECONDS)

# Days of a broker, its clients and their network, drawn from seeds (docs/simulation.md).
SEEDS ?= 100
STEPS ?= 10000
simulate: .build/needs/build
	@TAPLINE_SEEDS=$(SEEDS) TAPLINE_STEPS=$(STEPS) swift test -c release -Xswiftc -enable-testing \
	  --scratch-path .build/simulate --filter Simulation

# On a machine that does nothing else meanwhile; `Tests/Bench/run --help` says what else it can do.
ROUNDS ?= 5
bench: .build/needs/build .build/needs/device .build/needs/bench
	@Tests/Bench/run --rounds $(ROUNDS)

# On a quiet machine too; `board/latency/run --help` says what else it can do.
bench-gpio: .build/needs/test .build/needs/device .build/needs/board build
	@cross/build-device gpiod2
	@board/latency/run --rounds $(ROUNDS)

# `Tests/Bench/instructions --profile` tells where they go, `--store` keeps what was counted as the new baseline.
bench-instructions: .build/needs/build .build/needs/device .build/needs/count
	@Tests/Bench/instructions

check: .build/needs/check .build/needs/build
	@cross/check-sources
	@$(MAKE) --no-print-directory build
	@echo 'check: passed'

clean:
	rm -rf .build

# Beside the binary, so that whatever removes the one removes the other.
$(TAPLINE).built: $(SOURCES)
	swift build --configuration release --product tapline $(IMPORTS)
	@touch $@

.build/needs/%: cross/needs.txt cross/install-needs
	@cross/install-needs $*
	@mkdir -p $(@D) && touch $@
