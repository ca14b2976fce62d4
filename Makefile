# Two targets matter: `make up` (from nothing to a running endpoint) and `make test`.
# What is missing on a Debian machine is installed by the targets that need it.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:

BUN_VERSION := 1.4.5
STATE ?= /var/lib/vch
export PATH := $(CURDIR)/.tools/node_modules/.bin:$(PATH)

ASSETS := dist/assets
COMPILE := bun build --compile --minify --bytecode --format=esm \
	--no-compile-autoload-dotenv --no-compile-autoload-bunfig
COMMIT := $(shell git describe --always --dirty 2>/dev/null || echo unknown)
BUILT := $(shell git log -1 --format=%cI 2>/dev/null || echo unknown)

SOURCES := main.ts package.json $(shell find src iso-builder -name '*.ts' -not -name '*.test.ts')
TETHER_SOURCES := $(shell find tether src/link src/format -name '*.ts' -not -name '*.test.ts')

.PHONY: up down build test test-unit typecheck lint clean tools dependencies machine help

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | column -t -s $$'\t'

up: build machine ## install what is missing, build, start lab and endpoint, run a first container
	dist/vch up --state $(STATE)
	eval "$$(dist/vch env --state $(STATE))"; set -x; docker run --rm busybox uname -a

down: ## stop everything; leaves no process, bridge, tap or rule
	dist/vch down --state $(STATE)

build: dist/vch ## compile dist/vch (contains everything) and the arm64 tether

test: build ## everything; see tests/run for single stages
	tests/setup/install-packages test
	tests/run

test-unit: dependencies ## the tests that boot nothing
	bun test src iso-builder tether

typecheck: dependencies ## strict TypeScript
	bun run typecheck

lint: dependencies ## lint and format check
	bun run lint
	bun run format:check

clean: ## remove what the build made (not the state in $(STATE): use `vch down --delete`)
	rm -rf dist .tools node_modules

tools: .tools/bun-$(BUN_VERSION)

.tools/bun-$(BUN_VERSION):
	tests/setup/install-packages build
	mkdir -p .tools
	npm install --prefix .tools --no-fund --no-audit --loglevel=error --ignore-scripts bun@$(BUN_VERSION) @oven/bun-linux-x64@$(BUN_VERSION)
	ln -sf ../@oven/bun-linux-x64/bin/bun .tools/node_modules/.bin/bun
	bun --version | grep -qx '$(BUN_VERSION)'
	touch $@

dependencies: node_modules/.installed

node_modules/.installed: package.json bun.lock .tools/bun-$(BUN_VERSION)
	bun install --frozen-lockfile
	touch $@

# What running (not building) needs of this machine: QEMU, nftables, the docker CLI, boot packages.
machine:
	tests/setup/install-packages run

$(ASSETS)/init.x86_64: iso-builder/init/init.c iso-builder/init/build.sh | tools
	mkdir -p $(ASSETS)
	iso-builder/init/build.sh $(ASSETS)

$(ASSETS)/lzma2.wasm: src/format/stream/lzma2/lzma2.c src/format/stream/lzma2/build.sh | tools
	mkdir -p $(ASSETS)
	src/format/stream/lzma2/build.sh $(ASSETS)

$(ASSETS)/launcher-x64: $(wildcard tether/launcher/*.c tether/launcher/*.h) tether/launcher/build.sh | tools
	mkdir -p $(ASSETS)
	tether/launcher/build.sh $(ASSETS)

# In parts: what a container does not need before its process runs is not even looked at before.
$(ASSETS)/tether-x64: $(TETHER_SOURCES) node_modules/.installed
	mkdir -p $(ASSETS)
	$(COMPILE) --splitting --target=bun-linux-x64 tether/main.ts --outfile $@

$(ASSETS)/tether-arm64: $(TETHER_SOURCES) node_modules/.installed
	mkdir -p $(ASSETS)
	$(COMPILE) --splitting --target=bun-linux-arm64 tether/main.ts --outfile $@

$(ASSETS)/%.zst: $(ASSETS)/%
	zstd -q -f -10 -T0 $< -o $@

dist/vch: $(SOURCES) $(ASSETS)/tether-x64.zst $(ASSETS)/tether-arm64 $(ASSETS)/init.x86_64 $(ASSETS)/launcher-x64 $(ASSETS)/lzma2.wasm
	$(COMPILE) --define VCH_COMMIT='"$(COMMIT)"' --define VCH_BUILT='"$(BUILT)"' main.ts iso-builder/inflate-worker.ts --outfile $@
