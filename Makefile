# Needs Go (see go.mod), a C compiler (for the race detector), make and git; everything else is fetched, pinned, into bin/tools.
#
#   make run      build, then start a whole cluster on this machine
#   make build    bin/kring
#   make test     every test              make race    the concurrent packages under the race detector
#   make sim      a million simulated runs of the replication protocol (SEEDS=, FIRST=)
#   make lint     golangci-lint (the peers' module too), buf, the protocol still compatible, generated code up to date
#   make proto    generate the protocol's Go code anew
#   make soak     hours of faults under load: DURATION=1h SEED=7; reports go to reports/
#   make figures  what docs/guarantees.md and docs/operations.md say of times, gaps and moves, measured: RUN=Kill for one of them
#   make scale    1,000 simulated nodes and 16,384 partitions under real coordinators: SCALE=patient on a busy machine,
#                 SCALE=masters for the failover of coordinators alone
#   make bench-peers    etcd, NATS and what measures them, into bin/peers, for `kring bench compare`; Redis is looked for in PATH
#   make bench-compare  Kring beside them, into docs/benchmarks.md's table: ROUNDS=3    make bench-peers-test  its tests with all servers
#   make bench    the standard set, in about 5 minutes, into docs/benchmarks.md's tables: ROUNDS=3    make bench-micro  the micro-benchmarks
#   make clean   remove what was built (tools stay; clean-tools removes those)

GO      ?= go
BIN     := $(CURDIR)/bin
TOOLS   := $(BIN)/tools
STAMPS  := $(TOOLS)/.stamps
SCRATCH := $(BIN)/proto-check
BEFORE  := $(BIN)/proto-before
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)

# Budgets: the whole of `make lint test` has to fit in 15 minutes on 2 cores.
TEST_FLAGS  ?=
TEST_TIMEOUT ?= 10m
RACE_TIMEOUT ?= 15m
RACE_PACKAGES ?= ./bench/... ./coordinator/... ./gateway/... ./node/... ./ring/... ./cmd/internal/...
BENCH       ?= .
BENCH_FLAGS ?= -benchtime=1s -benchmem

.DEFAULT_GOAL := build
# Tools compile for a minute each: one by one, even under -j.
.NOTPARALLEL:

.PHONY: run build test sim race soak figures scale lint golangci proto proto-lint proto-breaking proto-check bench bench-micro bench-peers bench-peers-test bench-compare tidy tidy-check clean clean-tools tools

run: build
	$(BIN)/kring dev

build:
	$(GO) build -trimpath -ldflags '-X main.version=$(VERSION)' -o $(BIN)/kring ./cmd/kring

# The replication protocol's simulator: 20,000 seeds with the tests, a million at leisure (`make sim`, from seed FIRST on). What
# fails is printed with the command that replays it.
SIM   := $(GO) test ./node/replica -run 'TestSimulator$$' -v
SEEDS ?= 1000000
FIRST ?= 1

test:
	$(GO) test -timeout $(TEST_TIMEOUT) $(TEST_FLAGS) ./...
	cd $(PEERS) && $(GO) test -timeout $(TEST_TIMEOUT) $(TEST_FLAGS) ./...
	$(SIM) -timeout $(TEST_TIMEOUT) -seeds 20000 -first 1000000

sim:
	$(SIM) -timeout 0 -seeds $(SEEDS) -first $(FIRST)

race:
	CGO_ENABLED=1 $(GO) test -race -timeout $(RACE_TIMEOUT) $(TEST_FLAGS) $(RACE_PACKAGES)
	CGO_ENABLED=1 $(GO) test -race -timeout $(RACE_TIMEOUT) $(TEST_FLAGS) -run TestOneProcess ./cmd/e2e

# As root, links are cut and disks filled too. SEED empty: another one each time; the report names it.
DURATION ?= 1h
SEED     ?=
REPORTS  ?= $(CURDIR)/reports

soak:
	KRING_E2E_SOAK=$(DURATION) KRING_E2E_SEED=$(SEED) KRING_E2E_REPORTS=$(REPORTS) \
		$(GO) test -timeout 0 $(TEST_FLAGS) -count=1 -v -run '^TestSoak$$' ./cmd/e2e

RUN ?= .

figures:
	KRING_E2E_FIGURES=1 KRING_E2E_REPORTS=$(REPORTS) $(GO) test -timeout 0 $(TEST_FLAGS) -count=1 -v -run '^TestFigures$$/$(RUN)' ./cmd/e2e

# Plans and costs first, each in one process, then the whole cluster. SCALE=patient waits longer for nodes and elections, for a machine
# that is busy with other things; SCALE=masters is only the deaths of leaders and of a node, at the default times, SCALE=masters-patient with
# more patience; NODES for fewer than 1,000.
SCALE ?= 1
NODES ?=

scale:
	KRING_TEST_SCALE=$(SCALE) KRING_TEST_SCALE_NODES=$(NODES) \
		$(GO) test -timeout 0 $(TEST_FLAGS) -count=1 -parallel 1 -v -run '^TestScale' ./coordinator

ROUNDS ?= 3

bench: build
	$(BIN)/kring bench standard --rounds $(ROUNDS) --json $(BIN)/standard.json --markdown docs/benchmarks.md

bench-micro:
	$(GO) test -run '^$$' -bench '$(BENCH)' $(BENCH_FLAGS) -timeout 30m ./...

# The peers' clients and servers are modules of their own, so that Kring's has none of their dependencies.
PEERS := bench/peers
MODULES := . $(PEERS) $(PEERS)/servers/etcd $(PEERS)/servers/nats

bench-peers:
	cd $(PEERS) && $(GO) build -trimpath -o $(BIN)/peers/kring-bench-peer .
	cd $(PEERS)/servers/etcd && $(GO) build -trimpath -o $(BIN)/peers/etcd go.etcd.io/etcd/server/v3
	cd $(PEERS)/servers/nats && $(GO) build -trimpath -o $(BIN)/peers/nats-server github.com/nats-io/nats-server/v2
	-@$(BIN)/peers/kring-bench-peer check --binaries $(BIN)/peers etcd redis nats

bench-peers-test: build bench-peers
	cd $(PEERS) && KRINGTEST_BINARIES=$(BIN) $(GO) test -count=1 -timeout 20m $(TEST_FLAGS) ./...

bench-compare: build bench-peers
	$(BIN)/kring bench compare --peers etcd,redis,nats --rounds $(ROUNDS) --json $(BIN)/compare.json --markdown docs/benchmarks.md

tidy:
	for module in $(MODULES); do (cd $$module && $(GO) mod tidy) || exit 1; done

# A change of Kring's own dependencies changes those of the peers' module, which requires Kring.
tidy-check:
	cd $(PEERS) && $(GO) mod tidy -diff

lint: tidy-check golangci proto-lint proto-breaking proto-check

golangci: $(TOOLS)/golangci-lint
	$(TOOLS)/golangci-lint run --allow-parallel-runners ./...
	cd $(PEERS) && $(TOOLS)/golangci-lint run --allow-parallel-runners ./...

# --- The protocol ---------------------------------------------------------------------------------------------------

GENERATORS := $(TOOLS)/buf $(TOOLS)/protoc-gen-go $(TOOLS)/protoc-gen-go-grpc $(TOOLS)/protoc-gen-go-vtproto

proto: $(GENERATORS)
	cd proto && $(TOOLS)/buf format -w && $(TOOLS)/buf lint && $(TOOLS)/buf generate

proto-lint: $(TOOLS)/buf
	cd proto && $(TOOLS)/buf lint && $(TOOLS)/buf format -d --exit-code

# What the protocol must stay compatible with: the last release, before there is one the main branch, and where that is not
# known either (a clone without a remote) what was committed last. `make lint PROTO_BASE=` compares with nothing.
PROTO_BASE ?= $(shell git describe --tags --match 'v*' --abbrev=0 2>/dev/null || \
	git rev-parse -q --verify origin/main 2>/dev/null || git rev-parse -q --verify HEAD 2>/dev/null)

# A copy of the base's files, not buf's own reading of git: that wants history, which shallow clones lack.
proto-breaking: $(TOOLS)/buf
	@base='$(PROTO_BASE)'; \
	if [ -z "$$base" ] || ! git rev-parse -q --verify "$$base:proto/buf.yaml" >/dev/null 2>&1; then \
		echo 'buf breaking: skipped, there is no earlier protocol here to compare with'; exit 0; \
	fi; \
	rm -rf $(BEFORE) && mkdir -p $(BEFORE) && \
	git archive -o $(BEFORE)/proto.tar "$$base" proto && tar -xf $(BEFORE)/proto.tar -C $(BEFORE) && \
	(cd proto && $(TOOLS)/buf breaking --against $(BEFORE)/proto) && \
	rm -rf $(BEFORE)

# Generates beside the tree and compares, so that a check never changes what it checks.
proto-check: $(GENERATORS)
	@rm -rf $(SCRATCH) && mkdir -p $(SCRATCH)
	@cd proto && $(TOOLS)/buf generate -o $(SCRATCH)
	@diff -ru --exclude='*.proto' proto/kring $(SCRATCH)/kring \
		|| { echo 'generated code is out of date: run `make proto` and commit the result' >&2; exit 1; }
	@rm -rf $(SCRATCH)

# --- Tools ----------------------------------------------------------------------------------------------------------

# One tool: $(1) binary, $(2) package, $(3) version. The stamp's name holds the version, so that a new pin installs anew;
# a binary that is already of that version (it says so itself) is kept.
define tool
$(STAMPS)/$(1)@$(3):
	@mkdir -p $(STAMPS)
	@if [ ! -x $(TOOLS)/$(1) ] || ! $(GO) version -m $(TOOLS)/$(1) | grep -Eq '^[[:space:]]+mod[[:space:]].*[[:space:]]$(3)([[:space:]]|$$$$)'; then \
		echo 'installing $(1) $(3)'; \
		GOBIN=$(TOOLS) GOFLAGS= $(GO) install $(2)@$(3); \
	fi
	@rm -f $(STAMPS)/$(1)@*
	@touch $$@

# A binary that somebody removed makes its stamp worthless.
$(if $(wildcard $(TOOLS)/$(1)),,.PHONY: $(STAMPS)/$(1)@$(3))

$(TOOLS)/$(1): $(STAMPS)/$(1)@$(3) ;
TOOL_BINARIES += $(TOOLS)/$(1)
endef

PROTOBUF_VERSION := $(shell awk '$$1 == "google.golang.org/protobuf" { print $$2 }' go.mod)
VTPROTO_VERSION  := $(shell awk '$$1 == "github.com/planetscale/vtprotobuf" { print $$2 }' go.mod)

$(eval $(call tool,buf,github.com/bufbuild/buf/cmd/buf,v1.75.0))
$(eval $(call tool,golangci-lint,github.com/golangci/golangci-lint/v2/cmd/golangci-lint,v2.15.0))
$(eval $(call tool,protoc-gen-go,google.golang.org/protobuf/cmd/protoc-gen-go,$(PROTOBUF_VERSION)))
$(eval $(call tool,protoc-gen-go-grpc,google.golang.org/grpc/cmd/protoc-gen-go-grpc,v1.6.2))
$(eval $(call tool,protoc-gen-go-vtproto,github.com/planetscale/vtprotobuf/cmd/protoc-gen-go-vtproto,$(VTPROTO_VERSION)))

tools: $(TOOL_BINARIES)

clean:
	rm -rf $(BIN)/kring $(BIN)/peers $(SCRATCH) $(BEFORE)
	$(GO) clean -testcache

clean-tools:
	rm -rf $(TOOLS)
