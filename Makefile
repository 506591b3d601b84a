# What one does with Tapline. `make` alone says what there is.
#
# Needed beforehand: make, git, and Swift 6.3 or newer in PATH. The rest is installed from cross/needs.txt, once.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

export PYTHONDONTWRITEBYTECODE := 1

# The build refuses an import that Package.swift does not declare.
IMPORTS := --explicit-target-dependency-import-check error
SIMULATED := board/simulated.yaml
TAPLINE := $(CURDIR)/.build/release/tapline
EMBEDDED := $(CURDIR)/.build/embedded/release/tapline
EXAMPLE := $(CURDIR)/.build/release/TaplineExample
PYTEST := .build/venv/bin/pytest -q -n 4 -p no:cacheprovider Tests/integration
# Directories too, so that a file removed is noticed.
SOURCES := Package.swift $(shell find Sources)
DEVICE_SOURCES := $(SOURCES) cross/sdk cross/build-device cross/needs.txt
MAKEFLAGS += --no-print-directory

.PHONY: help
help:
	@sed -n 's/^#: \{0,1\}//p' Makefile

#: Use it
#:   make run          serve a simulated board on 127.0.0.1, port 1883
#:   make build        the release binary for this machine, .build/release/tapline
#:   make device       the aarch64 binaries for boards, with a report of their size and needs
#:   make deb          the Debian package for boards, .build/deb/tapline_arm64.deb (docs/install.md)
#:   make tarball      the same as a tarball, the binary static, .build/deb/tapline-aarch64.tar.gz
#:   make image        the SD-card image for Raspberry Pi Zero 2 W, 3 and 4 (docs/flashing.md)

.PHONY: run build example embedded device deb tarball image

run: .build/needs/build .build/needs/run $(TAPLINE).built
	@base=$$(sed -n 's/^ *base: *\([^ #]*\).*/\1/p' $(SIMULATED)); \
	echo "see every topic:    mosquitto_sub -v -t '#'"; \
	echo "switch the relay:   mosquitto_pub -q 1 -t $$base/relay/set -m TOGGLE"; \
	echo "stop:               Ctrl-C"; \
	exec $(TAPLINE) run -c $(SIMULATED)

build: .build/needs/build $(TAPLINE).built
	@echo '.build/release/tapline is ready'

# Beside the binary, so that whatever removes the one removes the other.
$(TAPLINE).built: $(SOURCES)
	swift build --configuration release --product tapline $(IMPORTS)
	@touch $@

# A program with the broker inside, for the tests of handlers.
example: .build/needs/build $(EXAMPLE).built
	@echo '.build/release/TaplineExample is ready'

$(EXAMPLE).built: $(SOURCES)
	swift build --configuration release --product TaplineExample $(IMPORTS)
	@touch $@

# For this machine, made as the device binary is: for tests of memory, benchmarks and counts.
embedded: .build/needs/build .build/needs/device $(EMBEDDED).built
	@echo '.build/embedded/release/tapline is ready'

$(EMBEDDED).built: $(DEVICE_SOURCES) cross/build-embedded
	cross/build-embedded
	@touch $@

device: .build/needs/device .build/device/built
	@echo '.build/device/tapline-gpiod2 and tapline-gpiod1 are ready'

.build/device/built: $(DEVICE_SOURCES)
	cross/build-device gpiod2 gpiod1
	@touch $@

deb: device .build/needs/deb
	@cross/build-deb

tarball: .build/needs/device .build/needs/deb
	@cross/build-device static
	@cross/build-deb --tarball

image: device .build/needs/image
	@board/image/build

#:
#: Check a change
#:   make unit         all unit tests; ROOM=MQTTBroker those of one module, FILTER=name those whose name matches
#:   make format       write Package.swift, Sources and Tests in the format that `make check` wants
#:   make check        format, static checks, and a build in which warnings are errors

.PHONY: unit format check

ROOM ?=
FILTER ?=
unit: .build/needs/build .build/needs/unit
	@Tests/unit $(if $(ROOM),--room '$(ROOM)') $(if $(FILTER),--filter '$(FILTER)')

format: .build/needs/build
	@swift format --in-place --parallel --recursive Package.swift Sources Tests
	@git diff --stat -- Package.swift Sources Tests

check: .build/needs/check .build/needs/build
	@cross/check-sources
	@$(MAKE) build
	@echo 'check: passed'

#:
#: Parts of the tests, each with what it needs
#:   make client-test  the binary for this machine with real clients
#:   make device-test  the aarch64 binaries under qemu-user with real clients
#:   make board-test   boot the device binaries on a QEMU board and test them there
#:   make package-test the Debian package, without installing it
#:   make image-test   the SD-card image, in short
#:   make fuzz         packets, topics, the broker, WebSocket, PROXY headers, configuration, ACL, passwords; SECONDS=60 each
#:   make simulate     the broker and the gateway against their models, SEEDS=100 days of STEPS=10000 steps each
#:   make tsan         threads, lanes and the loop under ThreadSanitizer
#:   make asan         the unit tests and the daemon under AddressSanitizer
#:   make coverage     which lines the tests run, by module, and those that handle a peer's bytes and are not run

.PHONY: client-test device-test device-client-test device-smoke-test board-test package-test image-test commands-test
.PHONY: fuzz fuzz-briefly simulate tsan asan coverage

client-test: .build/needs/test build example embedded
	@TAPLINE_EMBEDDED=$(EMBEDDED) TAPLINE_EXAMPLE=$(EXAMPLE) $(PYTEST) --tapline $(TAPLINE)

device-test: device-client-test device-smoke-test

device-client-test: .build/needs/test device
	@cross/under-qemu gpiod2 $(PYTEST)

# It differs from the other one in libgpiod only.
device-smoke-test: .build/needs/test device
	@cross/under-qemu gpiod1 $(PYTEST) -m smoke

board-test: .build/needs/test .build/needs/board device
	@board/test

package-test: .build/needs/deb .build/needs/test device
	@cross/check-deb

image-test: .build/needs/test .build/needs/board .build/needs/image device
	@board/image/test --quick

# Every command that the documents name is known, and those that take seconds are run.
commands-test: .build/needs/test build
	@Tests/commands --quick
	@Tests/planted --check

tsan: .build/needs/build .build/needs/test
	@Tests/Sanitizers/tsan

asan: .build/needs/build .build/needs/test
	@Tests/Sanitizers/asan

coverage: .build/needs/build .build/needs/test
	@Tests/Sanitizers/coverage

SECONDS ?= 60
fuzz: .build/needs/build
	@Tests/Fuzz/run --seconds $(SECONDS)

fuzz-briefly: .build/needs/build
	@Tests/Fuzz/run --seconds 5

# Days of a broker and its clients, then of a board, drawn from seeds (docs/simulation.md).
SEEDS ?= 100
STEPS ?= 10000
simulate: .build/needs/build
	@for room in MQTTBroker Gateway; do \
	  TAPLINE_ROOM=$$room TAPLINE_SEEDS=$(SEEDS) TAPLINE_STEPS=$(STEPS) swift test -c release -Xswiftc -enable-testing \
	    --scratch-path .build/simulate-$$room --filter Simulation; done

#:
#: All tests (docs/testing.md)
#:   make test         every part above, several at a time, in a form that takes minutes
#:   make test-full    the same, and what is long by nature: hours
#:   make board-test-full  of that, the parts with booted boards
#:   make test-soak STAGE=board-test TIMES=20   one stage again and again, while other work keeps all processors busy;
#:                     AT_ONCE=4 runs at a time

.PHONY: test test-full test-soak board-test-full

NEEDS := $(addprefix .build/needs/,build unit test device deb board image)
# Those that compile, and those that mostly wait for a daemon or a booted board: the second kind runs beside the first.
COMPILING := device build example embedded unit fuzz-briefly
WAITING := device-client-test board-test image-test device-smoke-test package-test client-test commands-test
STAGES := $(COMPILING) $(WAITING)
# What is long by nature, and short forms of what needs builds of its own or measures.
LONG_BOARD := board-test-long raspi-test image-test-long deb-test
LONG_COMPUTING := planted-test tls-test-long tsan-briefly asan-briefly coverage-briefly simulate fuzz
LONG_WAITING := $(LONG_BOARD) device-test-long client-test-long
LONG_MEASURING := commands-test-long bench-briefly bench-gpio-briefly
LONG := $(LONG_COMPUTING) $(LONG_WAITING) $(LONG_MEASURING)

.PHONY: $(addprefix stage/,$(STAGES) $(LONG)) $(LONG)

# The first failure keeps nothing else from being run.
test: $(NEEDS)
	@cross/stage --begin
	@$(MAKE) --jobs=4 --keep-going $(addprefix stage/,$(STAGES)) || true
	@cross/stage --end $(STAGES)

# Tests go before compilers.
$(addprefix stage/,$(COMPILING)): stage/%:
	@nice -n 5 cross/stage $* $(MAKE) $*

$(addprefix stage/,$(WAITING)): stage/%:
	@cross/stage $* $(MAKE) $*

# What a stage needs of another one; and an order in which two compile at a time, and the first ones have others waiting.
stage/device-client-test stage/device-smoke-test stage/board-test stage/package-test stage/image-test: stage/device
stage/client-test: stage/build stage/example stage/embedded
stage/commands-test: stage/build
stage/example: stage/build
stage/unit: stage/example stage/device
stage/embedded: stage/build
stage/fuzz-briefly: stage/embedded

LONG_NEEDS := $(addprefix .build/needs/,debianroot bench count browser)

# What waits runs beside what keeps a processor busy, each kind one after the other; what measures runs alone.
test-full: $(NEEDS) $(LONG_NEEDS)
	@$(MAKE) test || true
	@$(MAKE) --jobs=2 --keep-going long/computing long/waiting || true
	@$(MAKE) --jobs=1 --keep-going $(addprefix stage/,$(LONG_MEASURING)) || true
	@cross/stage --end $(STAGES) $(LONG)

.PHONY: long/computing long/waiting
long/computing:
	@nice -n 5 $(MAKE) --jobs=1 --keep-going $(addprefix stage/,$(LONG_COMPUTING))
long/waiting:
	@$(MAKE) --jobs=1 --keep-going $(addprefix stage/,$(LONG_WAITING))

board-test-full: $(NEEDS) $(LONG_NEEDS) device
	@$(MAKE) $(LONG_BOARD)

$(addprefix stage/,$(LONG)): stage/%:
	@cross/stage $* $(MAKE) $*

board-test-long: device
	@board/test --long

# A Raspberry Pi 3 with its own pins.
raspi-test: device
	@board/test --machine raspi3b

# Both boards, both watchdogs, twenty power cuts.
image-test-long: device
	@board/image/test

# The package on booted Debians 12 and 13.
deb-test: device
	@cross/build-deb
	@board/test-deb

client-test-long: build example embedded .build/needs/browser
	@TAPLINE_EMBEDDED=$(EMBEDDED) TAPLINE_EXAMPLE=$(EXAMPLE) $(PYTEST) --long --tapline $(TAPLINE)

device-test-long: device
	@cross/under-qemu gpiod1 $(PYTEST) --long

commands-test-long: build embedded device
	@Tests/commands

# That the unit tests of each module find a fault planted in it (docs/testing.md).
planted-test: .build/needs/build
	@Tests/planted --quick

# Each allocation of OpenSSL is refused in turn.
tls-test-long: .build/needs/build .build/needs/unit
	@TAPLINE_EVERY_REFUSAL=1 Tests/unit --room TLS

tsan-briefly:
	@Tests/Sanitizers/tsan --short

asan-briefly:
	@Tests/Sanitizers/asan --short

coverage-briefly:
	@Tests/Sanitizers/coverage --short

bench-briefly:
	@Tests/Bench/run --rounds 1 --seconds 1

bench-gpio-briefly: build device
	@board/latency/run --short

STAGE ?=
TIMES ?= 20
AT_ONCE ?= 1
test-soak: $(NEEDS)
	@cross/soak '$(STAGE)' $(TIMES) $(AT_ONCE)

#:
#: Measure
#:   make bench        Tapline beside mosquitto and a bare forwarder, ROUNDS=5 rounds (docs/speed.md)
#:   make bench-gpio   commands to a line and edges to a subscriber beside mqtt-io, ROUNDS=5 (docs/gpio-latency.md)
#:   make bench-instructions   instructions a delivered message takes; over 5 % more than stored fails

.PHONY: bench bench-gpio bench-instructions

# On a machine that does nothing else meanwhile; `Tests/Bench/run --help` says what else it can do.
ROUNDS ?= 5
bench: .build/needs/build .build/needs/device .build/needs/bench
	@Tests/Bench/run --rounds $(ROUNDS)

# On a quiet machine too; `board/latency/run --help` says what else it can do.
bench-gpio: .build/needs/test .build/needs/board build device
	@board/latency/run --rounds $(ROUNDS)

# `Tests/Bench/instructions --profile` tells where they go, `--store` keeps what was counted as the new baseline.
bench-instructions: .build/needs/build .build/needs/device .build/needs/count
	@Tests/Bench/instructions

#:
#:   make clean        remove .build; what was downloaded stays in ~/.cache/tapline

.PHONY: clean
clean:
	rm -rf .build

.build/needs/%: cross/needs.txt cross/install-needs
	@cross/install-needs $*
	@mkdir -p $(@D) && touch $@
