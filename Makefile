# Banyan's make targets. `make help` lists them.
GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
PKGS    := ./...

.DEFAULT_GOAL := help
.PHONY: help build demo demo-rollout demo-truth test race lint vuln fuzz bench sim same same-update simfuzz simweek bodies calibrate soak vectors docs clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## build bin/banyan
	$(GO) build -trimpath -ldflags "-X main.version=$(VERSION)" -o bin/banyan ./cmd/banyan

demo: build ## run a two-region fleet through publish, change, rollback and attacks
	./bin/banyan demo

demo-rollout: build ## a bad version that is caught in its canary wave and taken back by itself
	./bin/banyan demo rollout

demo-truth: build ## five mishaps of which an earlier build told lies, and what is said now
	./bin/banyan demo truth

test: ## run the tests
	$(GO) test -timeout 10m $(PKGS)

race: ## run the tests with the race detector
	$(GO) test -race -timeout 20m $(PKGS)

lint: ## vet, staticcheck, gofmt
	$(GO) vet $(PKGS)
	$(GO) tool staticcheck $(PKGS)
	@test -z "$$(gofmt -l .)" || { gofmt -l .; echo 'run gofmt -w on these'; exit 1; }

vuln: ## known vulnerabilities in dependencies; needs the open internet
	$(GO) tool govulncheck $(PKGS)

# A number of inputs, as '20000x', ends every target the same way; a time, as '10s', can
# run out while an input is being made smaller, which Go reports as a failure.
FUZZTIME ?= 50000x
fuzz: ## run every fuzz target for FUZZTIME, inputs or a duration
	@for pkg in $$($(GO) list $(PKGS)); do \
	  for f in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz'); do \
	    echo "$$pkg $$f"; $(GO) test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 100x $$pkg || exit 1; \
	  done; \
	done

bench: build ## measure on this machine
	$(GO) test -run '^$$' -bench . -benchtime 200ms ./record ./fec ./forms ./mesh
	./bin/banyan bench fanout

sim: build ## every scenario of the library, at full size
	@for s in $$(./bin/banyan simulate scenarios | cut -d' ' -f1); do ./bin/banyan simulate run $$s || exit 1; echo; done

same: ## every history and golden file is what simulator/testdata/histories.txt records
	$(GO) test ./simulator -run TestHistoriesAreUnchanged -count 1 -timeout 60m -same

same-update: ## record the histories and golden files anew, after a change that is meant to alter them
	$(GO) test ./simulator -run TestHistoriesAreUnchanged -count 1 -timeout 60m -same -update

SEEDS ?= 20000
simfuzz: build ## SEEDS hostile histories against every invariant
	./bin/banyan simulate fuzz --seeds $(SEEDS)

WEEKS ?= 20
simweek: build ## WEEKS hostile histories of a week of virtual time each
	./bin/banyan simulate fuzz --days 7 --seeds $(WEEKS)

NODES  ?= 1000
AGENTS ?= 64
bodies: build ## how a large body spreads: NODES simulated hosts, and AGENTS real ones behind slow links
	./bin/banyan simulate bodies --nodes $(NODES)
	./bin/banyan bench body --agents $(AGENTS)

JOINS ?= 10000
soak: ## JOINS joins and leaves, and what they leave behind
	$(GO) test -count 1 -timeout 30m -v -run 'LeaveNothingBehind' ./internal/fleet -joins $(JOINS)

calibrate: build ## this machine's costs, and predicted beside measured on real agents
	./bin/banyan bench calibrate --agents 1000 --costs costs.json

vectors: ## check the test vectors with a COSE library in another language; needs npm
	cd testdata/verify && npm install --no-save --ignore-scripts --omit=optional --no-audit --no-fund --loglevel=error && node verify.mjs ../vectors.json

docs: ## show the packages' documentation
	@for p in $$($(GO) list $(PKGS)); do $(GO) doc $$p | head -12; echo; done

clean: ## remove what was built
	rm -rf bin testdata/verify/node_modules
