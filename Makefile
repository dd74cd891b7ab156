# Every target works on all modules of the workspace. GO may name another
# toolchain: make test GO=go1.27.1
GO      ?= go
MODULES := $(shell $(GO) list -m -f '{{.Dir}}')
FUZZTIME ?= 2m
# The race detector needs a C compiler.
RACE    ?= $(if $(shell command -v $$($(GO) env CC)),-race)

STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2

.PHONY: demo test test-matrix soak check bench fuzz release-check

# Shows the three patterns on real data, on a server of its own.
demo:
	$(GO) run ./cmd/pgdbm demo

# All tests, with the race detector, on a private PostgreSQL server or on the
# one of PGDBM_TEST_URL. PostgreSQL is fetched where there is none; when that
# cannot be, the first test says what is missing.
test:
	@test -n "$(RACE)" || echo "without the race detector: no C compiler"
	@test -n "$$PGDBM_TEST_URL" || CI=true $(GO) test -count=1 -run '^TestAServerCanBeStarted$$' ./localpg
	@set -e; for m in $(MODULES); do echo "== test $$m"; (cd $$m && $(GO) test $(RACE) -timeout 12m ./...); done

# The tests on every major version of PostgreSQL that pgdbm supports, which are
# fetched. VERSIONS="14 18" limits it.
VERSIONS ?= 14 15 16 17 18
test-matrix:
	@set -e; for v in $(VERSIONS); do bin=$$($(GO) run ./cmd/pgdbm server fetch $$v); \
		echo "==== PostgreSQL $$v: $$bin"; PGDBM_POSTGRES_BIN=$$bin $(MAKE) --no-print-directory test; done

# Random statements in many schemas, while tables change, calls are cancelled and
# server processes killed, five minutes directly and five through PgBouncer; then
# deploys that race each other, both ways, with 50 processes of each kind killed.
soak:
	$(GO) test $(RACE) -count=1 -timeout 20m -v -run '^TestNothingGoesWrongUnderRandomChangesAndFailures$$' . -soak 5m
	$(GO) test $(RACE) -count=1 -timeout 60m -v -run '^TestDeployRaces$$' ./internal/engine -kills 50

check:
	@test -z "$$(gofmt -l .)" || { echo "not gofmt-ed:"; gofmt -l .; exit 1; }
	@set -e; for m in $(MODULES); do echo "== check $$m"; \
		(cd $$m && $(GO) vet ./... && $(GO) run $(STATICCHECK) ./... && $(GO) mod tidy -diff && GOWORK=off $(GO) build -o /dev/null ./...); done
	GOOS=darwin $(GO) vet ./...
	GOOS=windows $(GO) vet ./...

bench:
	@set -e; for b in $$($(GO) run ./bench | cut -d' ' -f1); do echo "== bench $$b"; $(GO) run ./bench $$b; done

# Runs each fuzz target for FUZZTIME; what it finds goes to testdata/fuzz.
fuzz:
	@set -e; for m in $(MODULES); do cd $$m; for p in $$($(GO) list ./...); do \
		for f in $$($(GO) test -list '^Fuzz' $$p | grep '^Fuzz' || true); do \
			echo "== fuzz $$p $$f"; $(GO) test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) $$p; done; done; done

# Lists what must go before modules can be tagged: replace directives, which
# make "go install module@version" refuse.
release-check:
	@! grep -n -A4 '^replace' $(addsuffix /go.mod,$(MODULES))
