# SPDX-License-Identifier: Apache-2.0

GO          ?= go
BIN         ?= .build/weir
FUZZTIME    ?= 10s
STATICCHECK ?= honnef.co/go/tools/cmd/staticcheck@v0.8.2
PACKAGES    ?= ./...

# All targets compile alike, so that what one has built is there for the next; the race detector alone needs C.
# gRPC's tracing would keep every method of every type in the binary: see test/e2e/size_test.go.
flags := $(shell $(GO) env GOFLAGS)
export GOFLAGS := $(strip $(flags) $(if $(findstring -trimpath,$(flags)),,-trimpath) $(if $(findstring -tags,$(flags)),,-tags=grpcnotrace))
export CGO_ENABLED := 0

.DEFAULT_GOAL := help
.PHONY: help build check test race kube bench-control kube-up vet format lint fuzz bench update

help: ## list what can be made
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|' 2>/dev/null || \
	 sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1: \2/p' $(MAKEFILE_LIST)

build: ## the binary, static, in .build/weir
	$(GO) build -ldflags '-s -w' -o $(BIN) ./cmd/weir

check: format vet ## the inner loop, under two minutes when warm: format, vet, test/arch, short tests
	$(GO) test ./test/arch
	$(GO) test -short $(PACKAGES)

test: format build vet race kube ## everything CI runs; installs what it needs when it is root
	.ci/need nft:nftables ip:iproute2 unshare:util-linux haproxy:haproxy openssl:openssl redis-server:redis-server
	$(GO) test -timeout 15m $(PACKAGES)

race: ## tests of the packages with goroutines, under the race detector
	.ci/need gcc:gcc gcc:libc6-dev redis-server:redis-server
	CGO_ENABLED=1 $(GO) test -race -short -timeout 15m $$(.ci/concurrent)

# What was built of other modules is nothing that go test looks at before it takes a result from its cache.
kube: ## tests in a Kubernetes cluster of their own, test/kube, whose programs are built once
	.ci/need ip:iproute2 nft:nftables nsenter:util-linux
	cd test/kube && $(GO) vet ./... && $(GO) test -count=1 -p 1 -timeout 40m ./...

bench-control: ## how quickly and cheaply changes of a cluster are taken up: the scenarios of gateway-api-bench, at full size
	.ci/need ip:iproute2 nft:nftables nsenter:util-linux
	cd test/kube && WEIR_BENCH_CONTROL=full $(GO) test -count=1 -v -timeout 60m ./bench | grep -E 'RESULT|^(---|FAIL|ok)'

kube-up: ## a Kubernetes cluster to try Weir in, until its shell ends
	.ci/need ip:iproute2 nft:nftables nsenter:util-linux
	cd test/kube && $(GO) run ./kubeup

vet:
	$(GO) vet $(PACKAGES)

format:
	@bad=$$(gofmt -s -l $$(git ls-files -co --exclude-standard -- '*.go')); \
	 if [ -n "$$bad" ]; then echo "gofmt -s would change:"; echo "$$bad"; exit 1; fi

lint: format vet ## gofmt -s, go vet, staticcheck, test/arch
	GO='$(GO)' STATICCHECK='$(STATICCHECK)' .ci/staticcheck $(PACKAGES)
	$(GO) test -count=1 ./test/arch

fuzz: ## every fuzz target for FUZZTIME (10s) each
	@set -e; for dir in $$($(GO) list -f '{{.Dir}}' $(PACKAGES)); do \
	  for target in $$(cat $$dir/*_test.go 2>/dev/null | sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p'); do \
	    echo "$$dir $$target"; \
	    $(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$dir; \
	  done; \
	done

bench: ## the data path beside its peers, as a table; ARGS='-only h1-100b' for one
	$(GO) run ./test/bench $(ARGS)

update: ## rewrite golden files; review the diff like code
	@packages=$$(grep -rl --include='*_test.go' -E 'weir.dev/weir/(internal/golden|xds/ledger/ledgertest)' . | xargs -r -n1 dirname | sort -u); \
	 if [ -z "$$packages" ]; then echo "no package has golden files"; else $(GO) test $$packages -update; fi
